#include "agent/checkpoint_keeper.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "agent/checkpoint_metadata.h"
#include "agent/checkpoint_order.h"
#include "agent/checkpoint_reader.h"
#include "base/random.h"
#include "snapstore/claim.h"
#include "snapstore/snapshot.h"
#include "tests/agent/agent_fixture.h"
#include "tests/agent/new_repository.h"

namespace snapstore::agent {
namespace {

namespace fs = std::filesystem;

class CheckpointKeeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = NewRepository(folder_.path(), 64 << 20);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    repository_ = *std::move(opened);
    fs::create_directory(Path("state"));
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  // Like a checkpoint, of bytes that nothing else has.
  std::string Take(const std::string& app = "db") {
    Bytes bytes(256 << 10);
    SecureRandom(bytes);
    return TakeOf(bytes, "none", app);
  }
  std::string TakeOf(const Bytes& bytes, const std::string& parent, const std::string& app = "db") {
    SnapshotRequest request;
    MemorySource source;
    source.name = "memory/1";
    source.size = bytes.size();
    source.extents = {{0, bytes}};
    request.images.push_back(source);
    request.tags = {{kAppTag, app}, {kKindTag, kCheckpointKind}};
    if (epoch_ > 0) request.tags[kEpochTag] = std::to_string(epoch_);
    request.parent = parent.empty() ? "none" : parent;
    const auto taken = TakeSnapshot(*repository_, request, nullptr);
    EXPECT_TRUE(taken.ok()) << taken.status().ToString();
    return taken.ok() ? taken->info.id : "";
  }
  std::set<std::string> Packs() const {
    std::set<std::string> packs;
    for (const auto& entry : fs::recursive_directory_iterator(Path("repo/data"))) {
      if (entry.is_regular_file()) packs.insert(entry.path());
    }
    return packs;
  }
  std::unique_ptr<CheckpointKeeper> KeepAndReread(size_t keep) {
    auto keeper = CheckpointKeeper::Start(repository_.get(),
                                          {.app = "db",
                                           .state_directory = Path("state"),
                                           .keep = keep,
                                           .reread_interval = std::chrono::milliseconds(0)});
    keeper->Look();
    return keeper;
  }
  static void Flip(const std::string& path) {
    fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(fs::file_size(path) / 2);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 1));
    EXPECT_TRUE(file.good());
  }
  // What it was stored in is gone.
  std::string TakeDamaged() {
    const std::set<std::string> before = Packs();
    std::string id = Take();
    for (const std::string& pack : Packs()) {
      if (!before.contains(pack)) fs::remove(pack);
    }
    return id;
  }
  std::set<std::string> Present(const std::string& app = "db") {
    std::set<std::string> ids;
    const auto listed = ListCheckpoints(repository_.get(), app);
    EXPECT_TRUE(listed.ok()) << listed.status().ToString();
    for (const SnapshotInfo& one : *listed) ids.insert(one.id);
    return ids;
  }
  std::unique_ptr<CheckpointKeeper> Keep(size_t keep, int prune_ms = 3'600'000) {
    auto keeper = CheckpointKeeper::Start(repository_.get(),
                                          {.app = "db",
                                           .state_directory = Path("state"),
                                           .keep = keep,
                                           .prune_interval = std::chrono::milliseconds(prune_ms)});
    keeper->Look();
    return keeper;
  }
  static bool Eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 1000 && !holds(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return holds();
  }

  const TempFolder folder_{"/tmp"};
  std::unique_ptr<Repository> repository_;
  uint64_t epoch_ = 0;
};

TEST_F(CheckpointKeeperTest, TheNewestThatAreVerifiedStay) {
  const std::string other = Take("other");
  std::vector<std::string> ids;
  ids.reserve(5);
  for (int i = 0; i < 4; ++i) ids.push_back(Take());
  const auto keeper = Keep(2);
  const std::set<std::string> newest(ids.begin() + 2, ids.end());
  EXPECT_TRUE(Eventually([&] { return keeper->status().verified == newest; }));
  EXPECT_TRUE(Eventually([&] { return keeper->status().forgotten == 2; }));
  EXPECT_EQ(Present(), newest);
  EXPECT_EQ(Present("other"), std::set<std::string>{other});

  ids.push_back(Take());
  keeper->Look();
  EXPECT_TRUE(Eventually([&] { return keeper->status().forgotten == 3; }));
  EXPECT_EQ(Present(), std::set<std::string>(ids.begin() + 3, ids.end()));
}

TEST_F(CheckpointKeeperTest, ADamagedOneMakesNobodyGo) {
  const std::string good = Take();
  const std::string damaged = TakeDamaged();
  const auto keeper = Keep(1);
  EXPECT_TRUE(Eventually([&] { return keeper->status().verified.contains(good); }));
  EXPECT_EQ(keeper->status().damaged, std::set<std::string>{damaged});
  EXPECT_EQ(Present(), (std::set<std::string>{good, damaged}));
  // The next good one lets both go.
  const std::string next = Take();
  keeper->Look();
  EXPECT_TRUE(Eventually([&] { return keeper->status().forgotten == 2; }));
  EXPECT_EQ(Present(), std::set<std::string>{next});
}

TEST_F(CheckpointKeeperTest, NothingGoesWhenAllAreToStay) {
  std::set<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.insert(Take());
  const auto keeper = Keep(0);
  EXPECT_TRUE(Eventually([&] { return keeper->status().verified.size() == 1; }));
  EXPECT_EQ(Present(), ids);
}

TEST_F(CheckpointKeeperTest, NoStepIsBegunWhileACheckpointIsTaken) {
  const std::string id = Take();
  const auto keeper = CheckpointKeeper::Start(
      repository_.get(), {.app = "db", .state_directory = Path("state"), .keep = 1});
  {
    const CheckpointKeeper::Hold hold(keeper.get());
    keeper->Look();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_TRUE(keeper->status().verified.empty());
  }
  EXPECT_TRUE(Eventually([&] { return keeper->status().verified.contains(id); }));
}

TEST_F(CheckpointKeeperTest, WhatWasVerifiedIsRemembered) {
  const std::string id = Take();
  {
    const auto keeper = Keep(1);
    ASSERT_TRUE(Eventually([&] { return keeper->status().verified.contains(id); }));
  }
  const auto keeper = CheckpointKeeper::Start(
      repository_.get(), {.app = "db", .state_directory = Path("state"), .keep = 1});
  EXPECT_TRUE(keeper->status().verified.contains(id));
}

TEST_F(CheckpointKeeperTest, OneThatChangedInTheStoreIsFoundDamagedAndTheNextIsWhole) {
  Bytes bytes(1 << 20);
  SecureRandom(bytes);
  const std::string first = TakeOf(bytes, "");
  const auto keeper = KeepAndReread(3);
  ASSERT_TRUE(Eventually([&] { return keeper->status().verified.contains(first); }));
  EXPECT_EQ(keeper->ParentFor(first), first);
  for (const std::string& pack : Packs()) Flip(pack);
  bytes[5] ^= 1;
  const std::string second = TakeOf(bytes, keeper->ParentFor(first));
  keeper->Look();
  // The one is as damaged as the other, though it was verified.
  const std::set<std::string> both = {first, second};
  ASSERT_TRUE(Eventually([&] { return keeper->status().damaged == both; }));
  EXPECT_TRUE(keeper->status().verified.empty());
  EXPECT_EQ(keeper->ParentFor(second), "");
  bytes[5000] ^= 1;
  const std::string third = TakeOf(bytes, keeper->ParentFor(second));
  keeper->Look();
  ASSERT_TRUE(Eventually([&] { return keeper->status().verified.contains(third); }));
  EXPECT_TRUE(Eventually([&] { return keeper->ParentFor(second) == third; }));
  EXPECT_EQ(keeper->ParentFor(third), third);
}

TEST_F(CheckpointKeeperTest, WhatIsDamagedIsRememberedToo) {
  const std::string good = Take();
  const std::string damaged = TakeDamaged();
  {
    const auto keeper = Keep(1);
    ASSERT_TRUE(Eventually([&] { return keeper->status().verified.contains(good); }));
  }
  const auto keeper = CheckpointKeeper::Start(
      repository_.get(), {.app = "db", .state_directory = Path("state"), .keep = 1});
  EXPECT_EQ(keeper->status().damaged, std::set<std::string>{damaged});
  EXPECT_EQ(keeper->status().verified, std::set<std::string>{good});
}

TEST_F(CheckpointKeeperTest, WhatWasVerifiedIsVerifiedAnewWhenSomebodyMetDamage) {
  const std::string id = Take();
  const auto keeper = Keep(1);
  ASSERT_TRUE(Eventually([&] { return keeper->status().verified.contains(id); }));
  for (const std::string& pack : Packs()) Flip(pack);
  keeper->Doubt();
  EXPECT_TRUE(keeper->status().verified.empty());
  keeper->Look();
  EXPECT_TRUE(Eventually([&] { return keeper->status().damaged.contains(id); }));
}

TEST_F(CheckpointKeeperTest, SupersededOnesGoWhenThereIsEnoughThatCounts) {
  const auto claim = TakeClaim(*repository_, {.name = "db", .above = 4});
  ASSERT_TRUE(claim.ok());
  const std::string late = Take();
  ASSERT_TRUE(RecordClaimBase(*repository_, *claim, {}).ok());
  EXPECT_TRUE(Present().empty()) << "it does not count";
  const auto keeper = Keep(1);
  EXPECT_TRUE(Eventually([&] { return keeper->status().rounds == 1; }));
  EXPECT_EQ(keeper->status().forgotten, 0u);
  epoch_ = claim->epoch;
  const std::string next = Take();
  keeper->Look();
  EXPECT_TRUE(Eventually([&] { return keeper->status().forgotten == 1; }));
  EXPECT_EQ(Present(), std::set<std::string>{next});
  EXPECT_TRUE(repository_->GetSnapshot(late).status().Is(StatusCode::kNotFound));
}

TEST_F(CheckpointKeeperTest, SpaceIsGivenBack) {
  for (int i = 0; i < 6; ++i) Take();
  const size_t before = Packs().size();
  const auto keeper = Keep(1, 0);
  EXPECT_TRUE(Eventually([&] { return keeper->status().prunes > 0; }));
  EXPECT_LT(Packs().size(), before);
  EXPECT_EQ(keeper->status().error, "");
}

}  // namespace
}  // namespace snapstore::agent
