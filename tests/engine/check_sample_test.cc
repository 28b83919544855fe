#include <gtest/gtest.h>

#include <set>

#include "base/random.h"
#include "engine/pack_sample.h"
#include "tests/engine/fixture.h"

namespace snapstore {
namespace {

std::vector<PackPlace> SomePacks(size_t count) {
  SplitMix64 random(7);
  std::vector<PackPlace> packs(count);
  for (PackPlace& pack : packs) {
    for (uint8_t& byte : pack.id.bytes) byte = static_cast<uint8_t>(random.Next());
    pack.size = 1000 + random.Below(1000);
  }
  return packs;
}

TEST(PackSample, SameSeedChoosesTheSamePacksInTheSameOrder) {
  const std::vector<PackPlace> packs = SomePacks(100);
  const std::vector<size_t> once = ChoosePacks(packs, {.percent = 10}, 5);
  EXPECT_EQ(once.size(), 10u);
  EXPECT_EQ(ChoosePacks(packs, {.percent = 10}, 5), once);
  EXPECT_NE(ChoosePacks(packs, {.percent = 10}, 6), once);
}

TEST(PackSample, PartsCoverEveryPackOnce) {
  const std::vector<PackPlace> packs = SomePacks(200);
  std::multiset<size_t> seen;
  for (uint32_t part = 1; part <= 7; ++part) {
    const std::vector<size_t> chosen = ChoosePacks(packs, {.part = part, .parts = 7}, part);
    EXPECT_GT(chosen.size(), 10u);
    seen.insert(chosen.begin(), chosen.end());
  }
  ASSERT_EQ(seen.size(), packs.size());
  EXPECT_EQ(std::set<size_t>(seen.begin(), seen.end()).size(), packs.size());
}

TEST(PackSample, BytesAreReachedAndNotMuchMore) {
  const std::vector<PackPlace> packs = SomePacks(100);
  uint64_t bytes = 0;
  for (const size_t pack : ChoosePacks(packs, {.bytes = 20'000}, 1)) bytes += packs[pack].size;
  EXPECT_GE(bytes, 20'000u);
  EXPECT_LT(bytes, 22'000u);
  EXPECT_EQ(ChoosePacks(packs, {.bytes = 1}, 1).size(), 1u);
  EXPECT_EQ(ChoosePacks(packs, {.bytes = 1 << 30}, 1).size(), packs.size());
}

class CheckScope : public EngineFixture {
 protected:
  // Snapshots that share nothing but metadata.
  void MakeSnapshots(int count) {
    for (int i = 0; i < count; ++i) {
      WriteSource("f", RandomBytes(200 << 10, 900 + static_cast<uint64_t>(i)));
      SnapshotRequest request;
      request.paths = {source("f")};
      request.parent = i % 2 == 0 ? "none" : "auto";
      ids_.push_back(Snapshot(request));
    }
  }
  std::string NewestDataPack(const std::vector<std::string>& before) {
    for (const std::string& key : KeysBelow("data/")) {
      if (std::find(before.begin(), before.end(), key) == before.end()) return key;
    }
    return {};
  }
  std::vector<std::string> ids_;
};

TEST_F(CheckScope, OneSnapshotReadsOnlyThePacksItNeeds) {
  MakeSnapshots(6);
  const CheckReport all = Check({.read_data = true});
  const CheckReport one = Check({.read_data = true, .snapshots = {ids_[5]}});
  EXPECT_EQ(Describe(one), "");
  EXPECT_EQ(one.snapshots, 1u);
  // Its data, and what metadata takes.
  EXPECT_LE(one.packs, 2u);
  EXPECT_LT(one.bytes_read, all.bytes_read / 2);
}

TEST_F(CheckScope, DamageElsewhereIsNoProblemOfASnapshot) {
  MakeSnapshots(1);
  const std::vector<std::string> before = KeysBelow("data/");
  MakeSnapshots(3);
  const std::string& key = before.at(0);
  FlipByte(key, 100);
  EXPECT_EQ(Check({.read_data = true}).problems.size(), 1u);
  EXPECT_EQ(Describe(Check({.read_data = true, .snapshots = {ids_[3]}})), "");
  const CheckReport damaged = Check({.read_data = true, .snapshots = {ids_[0]}});
  ASSERT_EQ(damaged.problems.size(), 1u) << Describe(damaged);
  EXPECT_EQ(damaged.problems[0].object, key);
  EXPECT_EQ(damaged.problems[0].lost_paths,
            std::vector<std::string>{ids_[0] + ":" + SourceEntry("f")});
}

TEST_F(CheckScope, ChunkThatMovedIsFoundInAnotherPack) {
  MakeSnapshots(1);
  const std::vector<std::string> before = KeysBelow("data/");
  // The same content again by a node that knows nothing of the first.
  for (const std::string& key : KeysBelow("index/")) Remove(key);
  repository_.reset();
  repository_ = OpenRepository(nullptr, "other-cache");
  WriteSource("g", RandomBytes(200 << 10, 900));
  SnapshotRequest request;
  request.paths = {source("g")};
  Snapshot(request);
  ASSERT_GT(KeysBelow("data/").size(), before.size());
  Remove(before.at(0));
  EXPECT_EQ(Describe(Check({.snapshots = {ids_[0]}})), "");
}

TEST_F(CheckScope, UnknownSnapshotIsNotFound) {
  MakeSnapshots(1);
  const std::string unknown(64, 'a');
  EXPECT_TRUE(CheckRepository(repository(), {.snapshots = {unknown}}, nullptr)
                  .status()
                  .Is(StatusCode::kNotFound));
}

TEST_F(CheckScope, TimeThatIsUpEndsReadingAndNotTheCheck) {
  MakeSnapshots(3);
  const CheckReport report = Check({.read_data = true, .seconds_max = 1e-9});
  EXPECT_EQ(report.packs_read, 0u);
  EXPECT_EQ(report.packs_chosen, report.packs);
  Remove(KeysBelow("data/").at(0));
  EXPECT_EQ(Check({.read_data = true, .seconds_max = 1e-9}).problems.size(), 1u);
}

TEST_F(CheckScope, SeedIsToldAndChoosesAgain) {
  MakeSnapshots(8);
  const CheckReport once = Check({.read_data = true, .sample = {.percent = 30}});
  const CheckReport again =
      Check({.read_data = true, .sample = {.percent = 30, .seed = once.seed}});
  EXPECT_EQ(again.seed, once.seed);
  EXPECT_EQ(again.bytes_read, once.bytes_read);
  EXPECT_LT(once.packs_read, once.packs);
}

}  // namespace
}  // namespace snapstore
