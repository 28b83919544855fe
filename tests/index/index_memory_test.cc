#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "tests/base/sanitized.h"
#include "tests/base/temp_folder.h"
#include "tests/index/index_testlib.h"

namespace snapstore {
namespace {

size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

TEST(ChunkIndexMemory, StaysNearTheBudgetWithMillionsOfChunks) {
  constexpr size_t kBudget = 32 << 20;
  // Beside the budget: allocator slack, threads, file metadata, the batch at hand.
  constexpr size_t kSlack = 24 << 20;
  constexpr size_t kChunksPerPack = 10'000;
  constexpr uint64_t kPacks = kSanitized ? 20 : 200;

  const TempFolder folder;
  const size_t before = ResidentBytes();
  size_t peak = 0;
  auto index = ChunkIndex::Open({folder.path(), kBudget});
  ASSERT_TRUE(index.ok()) << index.status().ToString();
  for (uint64_t pack = 0; pack < kPacks; ++pack) {
    const Status added = (*index)->AddPack(test::NumberedDigest(pack),
                                           test::NumberedChunks(pack, kChunksPerPack), false);
    ASSERT_TRUE(added.ok()) << added.ToString();
    peak = std::max(peak, ResidentBytes());
  }
  // Random reads all over it, every second one a miss.
  SplitMix64 random(1);
  std::vector<ChunkId> ids(4096);
  std::vector<std::optional<ChunkLocation>> found;
  size_t hits = 0;
  for (int round = 0; round < 40; ++round) {
    for (ChunkId& id : ids) id = test::NumberedChunk(random.Below(2 * kPacks * kChunksPerPack));
    ASSERT_TRUE((*index)->FindMany(ids, &found).ok());
    for (const auto& location : found) hits += location.has_value() ? 1 : 0;
    peak = std::max(peak, ResidentBytes());
  }
  EXPECT_NEAR(static_cast<double>(hits) / (40.0 * 4096), 0.5, 0.02);
  EXPECT_NEAR(static_cast<double>((*index)->ApproximateChunkCount()),
              static_cast<double>(kPacks * kChunksPerPack), kPacks * kChunksPerPack * 0.05);
  std::printf("resident before %zu MiB, peak growth %zu MiB\n", before >> 20,
              (peak - before) >> 20);
  if (!kSanitized) {
    EXPECT_LE(peak - before, kBudget + kSlack);
  }
}

TEST(ChunkIndexMemory, LoadStaysNearTheBudget) {
  constexpr size_t kBudget = 32 << 20;
  constexpr size_t kSlack = 24 << 20;
  constexpr size_t kChunksPerPack = 10'000;
  constexpr uint64_t kPacks = kSanitized ? 20 : 300;

  const TempFolder folder;
  const size_t before = ResidentBytes();
  std::atomic<size_t> peak = 0;
  std::atomic<bool> done = false;
  std::thread watcher([&] {  // a commit is one long call
    while (!done) {
      peak = std::max(peak.load(), ResidentBytes());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  auto index = ChunkIndex::Open({folder.path(), kBudget});
  ASSERT_TRUE(index.ok()) << index.status().ToString();
  // The second load has a table to merge with and packs added since.
  for (uint64_t half = 0; half < 2; ++half) {
    auto load = (*index)->StartLoad();
    ASSERT_TRUE(load.ok()) << load.status().ToString();
    for (uint64_t pack = half; pack < kPacks; pack += 2) {
      ChunkSink& sink = pack < 20 ? static_cast<ChunkSink&>(**index) : **load;
      ASSERT_TRUE(sink.AddPack(test::NumberedDigest(pack),
                               test::NumberedChunks(pack, kChunksPerPack), false)
                      .ok());
    }
    const Status committed = (*load)->Commit({});
    ASSERT_TRUE(committed.ok()) << committed.ToString();
  }
  done = true;
  watcher.join();
  EXPECT_EQ((*index)->ApproximateChunkCount(), kPacks * kChunksPerPack);
  std::printf("resident before %zu MiB, peak growth %zu MiB\n", before >> 20,
              (peak - before) >> 20);
  if (!kSanitized) {
    EXPECT_LE(peak - before, kBudget + kSlack);
  }
}

}  // namespace
}  // namespace snapstore
