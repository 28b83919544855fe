#include "snapstore/claim.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/clock.h"
#include "engine/claim.h"
#include "tests/engine/prune_fixture.h"
#include "uploader/fault_store.h"
#include "uploader/memory_store.h"

namespace snapstore {
namespace {

// Each once plain, once encrypted.
class ClaimTest : public PruneFixture, public testing::WithParamInterface<bool> {
 protected:
  ClaimTest() : PruneFixture(std::filesystem::temp_directory_path(), GetParam()) {}

  Claim Take(const std::string& name, uint64_t above = 0) {
    const auto claim = TakeClaim(repository(), {.name = name, .above = above, .instance = "i-1"});
    EXPECT_TRUE(claim.ok()) << claim.status().ToString();
    return claim.ok() ? *claim : Claim();
  }
  std::optional<Claim> Higher(const std::string& name, uint64_t epoch) {
    const auto higher = FindHigherClaim(repository(), name, epoch);
    EXPECT_TRUE(higher.ok()) << higher.status().ToString();
    return higher.ok() ? *higher : std::nullopt;
  }
  ClaimBase Base(const std::string& name, Observer* observer = nullptr) {
    const auto base = NewestClaimBase(repository(), name, observer);
    EXPECT_TRUE(base.ok()) << base.status().ToString();
    return base.ok() ? *base : ClaimBase();
  }
};

INSTANTIATE_TEST_SUITE_P(Repository, ClaimTest, testing::Bool(), EncryptedOrPlain);

TEST_P(ClaimTest, EachIsHigherThanAllBefore) {
  EXPECT_FALSE(Higher("db", 0).has_value());
  const Claim first = Take("db");
  EXPECT_EQ(first.epoch, 1u);
  EXPECT_FALSE(Higher("db", first.epoch).has_value());
  EXPECT_EQ(Take("other").epoch, 1u);
  const Claim second = Take("db");
  EXPECT_EQ(second.epoch, 2u);
  const std::optional<Claim> seen = Higher("db", first.epoch);
  ASSERT_TRUE(seen.has_value());
  EXPECT_EQ(seen->epoch, 2u);
  EXPECT_EQ(seen->id, second.id);
  EXPECT_EQ(seen->time_ns, second.time_ns);
  EXPECT_EQ(seen->host, second.host);
  EXPECT_EQ(seen->instance, "i-1");
  EXPECT_EQ(seen->process, static_cast<uint64_t>(getpid()));
  EXPECT_EQ(Take("db", 7).epoch, 8u);
  EXPECT_EQ(Describe(Check({})), "");
}

TEST_P(ClaimTest, OfManyAtOnceOneIsLeft) {
  constexpr int kThreads = 8;
  std::vector<Claim> claims(kThreads);
  std::vector<std::unique_ptr<RepositoryImpl>> nodes;
  nodes.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) nodes.push_back(Node(std::to_string(i)));
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const auto claim = TakeClaim(*nodes[i], {.name = "db"});
      EXPECT_TRUE(claim.ok()) << claim.status().ToString();
      if (claim.ok()) claims[i] = *claim;
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<uint64_t> epochs;
  for (const Claim& claim : claims) epochs.insert(claim.epoch);
  EXPECT_EQ(epochs.size(), claims.size()) << "no two hold the same";
  EXPECT_FALSE(Higher("db", *epochs.rbegin()).has_value());
}

// Another's claim of the same number comes between the two looks.
TEST_P(ClaimTest, WhoMeetsAnotherOfTheSameNumberTakesAHigherOne) {
  std::atomic<bool> done = false;
  const auto node = Node("a", [&](StoreOp op, const std::string& key) {
    if (op != StoreOp::kPut || !key.starts_with("claims/") || done.exchange(true)) return;
    EXPECT_EQ(Take("db").epoch, 1u);
  });
  const auto claim = TakeClaim(*node, {.name = "db"});
  ASSERT_TRUE(claim.ok()) << claim.status().ToString();
  EXPECT_GT(claim->epoch, 1u);
}

TEST_P(ClaimTest, ALostAnswerIsNoOtherClaim) {
  auto faults = std::make_shared<FaultStore>(store_, 1);
  faults->Add(
      {.kind = FaultKind::kClaimExisted, .op = StoreOp::kPut, .key_prefix = "claims/", .at = 1});
  const auto node = NodeOf(faults, "a");
  // Says that it was there, and it is not.
  EXPECT_EQ(TakeClaim(*node, {.name = "db"}).status().code(), StatusCode::kIo);
  faults->Clear();
  faults->Add({.kind = FaultKind::kFail, .op = StoreOp::kList, .key_prefix = "claims/"});
  EXPECT_FALSE(FindHigherClaim(*node, "db", 0).ok()) << "could not tell is not absent";
  EXPECT_FALSE(NewestClaimBase(*node, "db", nullptr).ok());
}

TEST_P(ClaimTest, TheNewestBaseCounts) {
  WriteSource("file", "1");
  const std::string one = Snapshot();
  WriteSource("file", "2");
  const std::string two = Snapshot();
  EXPECT_EQ(Base("db").epoch, 0u);
  const Claim first = Take("db");
  ASSERT_TRUE(RecordClaimBase(repository(), first, {one}).ok());
  EXPECT_EQ(Base("db").epoch, 1u);
  EXPECT_EQ(Base("db").snapshots, std::set<std::string>{one});
  const Claim second = Take("db");
  EXPECT_EQ(Base("db").epoch, 1u) << "it has not begun";
  ASSERT_TRUE(RecordClaimBase(repository(), second, {one, two}).ok());
  EXPECT_EQ(Base("db").epoch, 2u);
  EXPECT_EQ(Base("db").snapshots, (std::set<std::string>{one, two}));
  EXPECT_EQ(Base("other").epoch, 0u);
}

TEST_P(ClaimTest, DamageIsFoundAndDoesNotHideTheNumber) {
  const Claim first = Take("db");
  ASSERT_TRUE(RecordClaimBase(repository(), first, {}).ok());
  const Claim second = Take("db");
  ASSERT_TRUE(RecordClaimBase(repository(), second, {}).ok());
  const std::vector<std::string> keys = KeysBelow("claims/");
  ASSERT_EQ(keys.size(), 4u);
  for (size_t at = 0; at < Objects().at(keys[2]).size(); at += 7) {
    FlipByte(keys[2], at);
    FlipByte(keys[3], at);
    RecordingObserver observer;
    EXPECT_EQ(Base("db", &observer).epoch, 1u);
    EXPECT_EQ(observer.warnings.size(), 1u);
    EXPECT_EQ(Higher("db", 1)->epoch, 2u);
    FlipByte(keys[2], at);
    FlipByte(keys[3], at);
  }
  FlipByte(keys[3], 5);
  const std::string found = Describe(Check({}));
  EXPECT_NE(found.find(keys[3]), std::string::npos) << found;
  // One in another's place, as a hostile store may do it.
  Replace(keys[3], Objects().at(keys[1]));
  EXPECT_EQ(Base("db").epoch, 1u);
}

TEST_P(ClaimTest, NamesShowOnlyInPlainRepositories) {
  Take("application-name");
  std::string all;
  for (const auto& [key, bytes] : Objects()) all += key + std::string(AsText(bytes));
  EXPECT_EQ(all.find("application-name") == std::string::npos, GetParam());
}

TEST_P(ClaimTest, APruneTakesTheLongSuperseded) {
  const Claim first = Take("db");
  ASSERT_TRUE(RecordClaimBase(repository(), first, {}).ok());
  const Claim second = Take("db");
  ASSERT_TRUE(RecordClaimBase(repository(), second, {}).ok());
  const Claim third = Take("db");  // has not begun
  Prune();
  EXPECT_EQ(KeysBelow("claims/").size(), 5u) << "not before a day is over";
  const auto node = Node("later");
  // Each look at the clock is half a day after the one before.
  constexpr int64_t kHalfDay = int64_t{12} * 3600 * kNanosPerSecond;
  const auto now = std::make_shared<std::atomic<int64_t>>(BootNanos());
  node->lease_options() = {.life = std::chrono::seconds(100'000'000),
                           .clock = [now] { return *now += kHalfDay; }};
  ASSERT_TRUE(PruneRepository(*node, Thorough(), nullptr).ok());
  EXPECT_EQ(KeysBelow("claims/").size(), 3u);
  EXPECT_EQ(Base("db").epoch, 2u);
  EXPECT_EQ(Higher("db", 0)->epoch, third.epoch);
  EXPECT_EQ(Take("db").epoch, 4u);
}

TEST_P(ClaimTest, ForeignNamesArePassedOver) {
  Take("db");
  const std::string key = KeysBelow("claims/").front();
  for (const std::string& odd :
       {std::string("claims/x"), key + "-other", key.substr(0, key.size() - 1),
        key.substr(0, 39) + "/00000000000000000000-" + std::string(32, 'a'),
        key.substr(0, 39) + "/99999999999999999999-" + std::string(32, 'a')}) {
    Put(odd, AsBytes("x"));
  }
  EXPECT_EQ(Take("db").epoch, 2u);
  EXPECT_EQ(Describe(Check({})), "");
}

TEST_P(ClaimTest, TheHighestNumberIsRefusedInOneLine) {
  Put("claims/" + ClaimFolder(repository().config().hash_secret, "db") + "/18446744073709551615-" +
          std::string(32, 'a'),
      AsBytes("x"));
  const auto claim = TakeClaim(repository(), {.name = "db"});
  EXPECT_EQ(claim.status().code(), StatusCode::kConflict);
}

// Also what comes just before a commit.
TEST_P(ClaimTest, WhoIsAskedBeforeACommitCanPreventIt) {
  WriteSource("file", "content");
  SnapshotRequest request;
  request.paths = {source()};
  bool asked = false;
  request.before_commit = [&] {
    asked = true;
    EXPECT_FALSE(KeysBelow("data/").empty()) << "all else is stored";
    EXPECT_TRUE(KeysBelow("snapshots/").empty());
    return Status::Conflict("superseded");
  };
  const auto taken = TakeSnapshot(repository(), request, nullptr);
  EXPECT_EQ(taken.status().code(), StatusCode::kConflict);
  EXPECT_TRUE(asked);
  EXPECT_TRUE(KeysBelow("snapshots/").empty());
}

}  // namespace
}  // namespace snapstore
