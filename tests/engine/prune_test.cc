// Prune by itself: what it deletes and rewrites, what that costs, what it refuses.
#include <gtest/gtest.h>

#include "tests/engine/prune_fixture.h"

namespace snapstore {
namespace {

// Whether it is encrypted.
class PruneTest : public PruneFixture, public testing::WithParamInterface<bool> {
 protected:
  PruneTest() : PruneFixture(std::filesystem::temp_directory_path(), GetParam()) {}

  // `files` of about one chunk each, so that each can be garbage by itself.
  void WriteFiles(int files, size_t bytes, uint64_t seed) const {
    for (int i = 0; i < files; ++i) {
      WriteSource("f" + std::to_string(i), RandomBytes(bytes, seed + static_cast<uint64_t>(i)));
    }
  }
};

TEST_P(PruneTest, DeletesPacksThatNoSnapshotNeeds) {
  WriteSource("file", RandomBytes(6 * kMiB, 1));
  const std::string old = Snapshot();
  WriteSource("file", RandomBytes(6 * kMiB, 2));
  const std::string kept = Snapshot();
  const auto expected = ScanTree(source());
  Forget(old);
  const PruneSummary summary = Prune();
  EXPECT_TRUE(summary.finished);
  EXPECT_GE(summary.packs_deleted, 1u);
  EXPECT_GE(summary.bytes_deleted, 6 * kMiB);
  EXPECT_LT(StoredBytes(), 7 * kMiB);
  ExpectClean();
  ExpectRestores(kept, expected);
}

TEST_P(PruneTest, LeavesARepositoryWithoutGarbageAsItIs) {
  WriteFiles(20, 50'000, 1);
  Snapshot();
  const auto before = Objects();
  const PruneSummary summary = Prune();
  EXPECT_EQ(summary.packs_deleted + summary.packs_rewritten, 0u);
  EXPECT_TRUE(Objects() == before);
}

TEST_P(PruneTest, RewritesPacksThatAreNeededInPart) {
  WriteFiles(40, 100'000, 1);
  const std::string old = Snapshot();
  for (int i = 0; i < 30; ++i) std::filesystem::remove(source("f" + std::to_string(i)));
  const std::string kept = Snapshot();
  const auto expected = ScanTree(source());
  Forget(old);
  const PruneSummary summary = Prune();
  EXPECT_GE(summary.packs_rewritten, 1u);
  EXPECT_LT(StoredBytes(), 1'100'000u);
  ExpectClean();
  ExpectRestores(kept, expected);
}

TEST_P(PruneTest, RewritesNoMoreThanTheUnusedShareAsksFor) {
  WriteFiles(40, 100'000, 1);
  const std::string old = Snapshot();
  std::filesystem::remove(source("f0"));
  Snapshot();
  Forget(old);
  EXPECT_EQ(Prune({.max_unused_percent = 20}).packs_rewritten, 0u);
  PruneOptions little = Thorough();
  little.max_rewrite_bytes = 1000;
  EXPECT_EQ(Prune(little).packs_rewritten, 0u);
  EXPECT_EQ(Describe(Check({.read_data = true})), "");
}

TEST_P(PruneTest, FetchesNothingTwiceAndMovesAtMostTwiceWhatItRewrites) {
  WriteFiles(100, 100'000, 1);
  const std::string old = Snapshot();
  for (int i = 0; i < 10; ++i) std::filesystem::remove(source("f" + std::to_string(10 * i)));
  Snapshot();
  Forget(old);
  const auto before = Objects();
  const auto store = std::make_shared<HookStore>(store_);
  const auto node = NodeOf(store, "janitor");
  const Result<PruneSummary> summary = PruneRepository(*node, Thorough(), nullptr);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  ASSERT_GT(summary->plan.bytes_rewrite, 9'000'000u);
  uint64_t packs_moved = 0;
  for (const auto& [key, bytes] : store->read()) {
    if (key == "config" || !before.contains(key)) continue;
    EXPECT_LE(bytes, before.at(key).size()) << key;
    if (key.starts_with("data/") || key.starts_with("meta/")) packs_moved += bytes;
  }
  for (const auto& [key, bytes] : store->written()) {
    if (key.starts_with("data/") || key.starts_with("meta/")) packs_moved += bytes;
  }
  EXPECT_LE(packs_moved, 2 * summary->plan.bytes_rewrite);
  ExpectClean();
}

TEST_P(PruneTest, DryRunSaysWhatItWouldDoAndWritesNothing) {
  WriteSource("file", RandomBytes(3 * kMiB, 1));
  Forget(Snapshot());
  WriteSource("file", RandomBytes(3 * kMiB, 2));
  Snapshot();
  const auto before = Objects();
  PruneOptions options = Thorough();
  options.dry_run = true;
  PrunePlan plan;
  options.on_plan = [&](const PrunePlan& told) {
    plan = told;
    return Status();
  };
  Prune(options);
  EXPECT_TRUE(Objects() == before);
  EXPECT_GE(plan.packs_delete, 1u);
  EXPECT_GE(plan.bytes_freed(), 3 * kMiB);
  EXPECT_GE(plan.requests_delete, plan.packs_delete);
  const PruneSummary done = Prune();
  EXPECT_EQ(done.packs_deleted, plan.packs_delete + plan.packs_rewrite);
}

TEST_P(PruneTest, RefusesWhenASnapshotCannotBeFollowed) {
  WriteSource("file", RandomBytes(3 * kMiB, 1));
  Forget(Snapshot());
  WriteSource("file", RandomBytes(3 * kMiB, 2));
  const auto first = KeysBelow("data/");
  Snapshot("none");
  for (const std::string& key : KeysBelow("data/")) {
    if (std::find(first.begin(), first.end(), key) == first.end()) Remove(key);
  }
  const auto before = Objects();
  EXPECT_TRUE(TryPrune().status().Is(StatusCode::kCorruption));
  EXPECT_TRUE(Objects() == before);
  for (const std::string& key : KeysBelow("snapshots/")) FlipByte(key, 40);
  EXPECT_TRUE(TryPrune().status().Is(StatusCode::kCorruption));
}

TEST_P(PruneTest, ForgetsManySnapshotsAtOnceAndPutsSmallSegmentsTogether) {
  std::vector<std::string> ids;
  for (int i = 0; i < 50; ++i) {
    WriteSource("file", RandomBytes(20'000, static_cast<uint64_t>(i)));
    WriteSource("kept" + std::to_string(i % 5), RandomBytes(5'000, static_cast<uint64_t>(i)));
    ids.push_back(Snapshot());
  }
  const auto expected = ScanTree(source());
  ids.pop_back();
  const Result<uint64_t> removed = ForgetSnapshots(repository(), ids, nullptr);
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(*removed, 49u);
  EXPECT_EQ(*ForgetSnapshots(repository(), ids, nullptr), 0u);
  Prune();
  EXPECT_LE(KeysBelow("index/").size(), 3u);
  ExpectClean();
  const std::string last = KeysBelow("snapshots/").front().substr(10);
  ExpectRestores(last, expected);
}

TEST_P(PruneTest, FinishesInSeveralRunsOfLittleTime) {
  WriteFiles(40, 100'000, 1);
  const std::string old = Snapshot();
  for (int i = 0; i < 30; ++i) std::filesystem::remove(source("f" + std::to_string(i)));
  const std::string kept = Snapshot();
  const auto expected = ScanTree(source());
  Forget(old);
  PruneOptions hasty = Thorough();
  hasty.max_seconds = 1e-6;
  const PruneSummary first = Prune(hasty);
  EXPECT_FALSE(first.finished);
  EXPECT_EQ(first.packs_rewritten, 0u);
  EXPECT_TRUE(Prune().finished);
  ExpectClean();
  ExpectRestores(kept, expected);
}

TEST_P(PruneTest, WorksWithTheLeastMemoryOnManyChunks) {
  // 4 KiB blocks of memory images: as many chunks as bytes allow.
  constexpr size_t kBlock = 4096;
  const std::string content = RandomBytes(40 * kMiB, 3);
  const auto bytes = AsBytes(content);
  const auto image = [&](size_t length) {
    SnapshotRequest request;
    request.images.push_back(
        {.name = "image", .size = length, .extents = {{0, bytes.first(length)}}});
    request.parent = "none";
    return request;
  };
  const std::string old = Snapshot(image(40 * kMiB));
  Snapshot(image(20 * kMiB));
  Forget(old);
  const auto node = OpenRepository(nullptr, "cache-small", 64 << 20, 1);
  const Result<PruneSummary> summary = PruneRepository(*node, Thorough(), nullptr);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_GE(summary->bytes_deleted, 19 * kMiB);
  EXPECT_GT(content.size() / kBlock, 10'000u);
  ExpectClean();
}

INSTANTIATE_TEST_SUITE_P(Repository, PruneTest, testing::Bool(), EncryptedOrPlain);

}  // namespace
}  // namespace snapstore
