// How the engine deals with a store that is far away: much at once, nothing twice, and not more
// requests than it takes.
#include "tests/engine/far_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "base/random.h"
#include "engine/parallel.h"
#include "tests/engine/fixture.h"
#include "uploader/counting_store.h"

namespace snapstore {
namespace {

constexpr unsigned kGets = 8;

class FarStoreTest : public EngineFixture {
 protected:
  // A handle through a store that takes kGets reads, with an empty cache.
  FarStore* GoFarAway(uint64_t memory_limit = 256ull << 20) {
    auto far = std::make_unique<FarStore>(store_, kGets);
    FarStore* const control = far.get();
    repository_.reset();
    repository_ =
        OpenRepository(std::move(far), "cache-" + std::to_string(++caches_), memory_limit);
    return control;
  }

  // Files with content of their own, so small that their run lists are in the entry list.
  void WriteSmallFiles(int count) const {
    for (int i = 0; i < count; ++i) {
      WriteSource("small/" + std::to_string(i), "content of file " + std::to_string(i));
    }
  }

  int caches_ = 0;
};

TEST_F(FarStoreTest, ARestoreHasAsManyReadsUnderWayAsTheStoreTakes) {
  WriteSource("large", RandomBytes(48 * kMiB, 1));
  const std::string id = Snapshot();
  FarStore* const far = GoFarAway();
  far->Gather(StoreOp::kGetRange, "data/", kGets);
  RestoreAll(id);
  EXPECT_TRUE(far->gathered());
  EXPECT_EQ(ScanTree(Restored(source())), ScanTree(source()));
}

TEST_F(FarStoreTest, AMemoryLimitHoldsForReadsUnderWayToo) {
  WriteSource("large", RandomBytes(40 * kMiB, 1));
  const std::string id = Snapshot();
  const FarStore* const far = GoFarAway(64ull << 20);
  RestoreAll(id);
  EXPECT_LE(far->most_reads(),
            (64u << 20) / 4 / ChunkFetcher::kReadBytesMax + 1);  // and one of a list
  EXPECT_EQ(ScanTree(Restored(source())), ScanTree(source()));
}

TEST_F(FarStoreTest, ARestoreEndsWhenTheStoreCanNoLongerBeReached) {
  WriteSource("large", RandomBytes(48 * kMiB, 1));
  const std::string id = Snapshot();
  FarStore* const far = GoFarAway();
  RestoreRequest request = AllOf(id);
  far->CutOff();
  const auto restored = RestoreSnapshot(repository(), request, nullptr);
  EXPECT_TRUE(restored.status().Is(StatusCode::kIo)) << restored.status().ToString();
  // Each takes as long as the store's deadline: not one a chunk.
  EXPECT_LE(far->reads_cut_off(), 3 * kGets);
}

TEST_F(FarStoreTest, ScatteredMetadataIsFetchedAhead) {
  // Each snapshot rewrites some leaves of the entry list, into a pack of its own.
  WriteSmallFiles(8'000);
  std::string id = Snapshot();
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 3; ++i) {
      WriteSource("small/" + std::to_string((round * 1601 + i * 6007) % 8'000),
                  "content of round " + std::to_string(round));
    }
    id = Snapshot();
  }
  FarStore* const far = GoFarAway();
  // The first leaves come one by one; how many at once later depends on where they lie.
  far->Gather(StoreOp::kGetRange, "meta/", 2, std::chrono::milliseconds(500));
  RestoreAll(id);
  EXPECT_TRUE(far->gathered());
  EXPECT_EQ(ScanTree(Restored(source())), ScanTree(source()));
}

TEST_F(FarStoreTest, ListsOfChunksOfManyFilesAreFetchedSideBySide) {
  // Each of the files is changed in a snapshot of its own, so that its list lies in a pack of its
  // own.
  constexpr int kFiles = 6;
  std::string id;
  for (int i = 0; i < kFiles; ++i) {
    WriteSource("file" + std::to_string(i), RandomBytes(6 * kMiB, 100 + static_cast<uint64_t>(i)));
    id = Snapshot();
  }
  FarStore* const far = GoFarAway();
  far->Gather(StoreOp::kGetRange, "meta/", 3);
  RestoreAll(id);
  EXPECT_TRUE(far->gathered());
  EXPECT_EQ(ScanTree(Restored(source())), ScanTree(source()));
}

TEST_F(FarStoreTest, SegmentsAndManifestsAndFootersAreFetchedSideBySide) {
  for (int i = 0; i < 6; ++i) {
    WriteSource("file", RandomBytes(50'000, static_cast<uint64_t>(i)));
    Snapshot("none");
  }
  FarStore* far = GoFarAway();
  far->Gather(StoreOp::kGet, "index/", 4);
  ASSERT_TRUE(repository().SyncIndex(nullptr).ok());
  EXPECT_TRUE(far->gathered());
  far->Gather(StoreOp::kGet, "snapshots/", 4);
  const auto listed = repository().ListSnapshots(nullptr, nullptr);
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ(listed->size(), 6u);
  EXPECT_TRUE(far->gathered());
  far = GoFarAway();
  far->Gather(StoreOp::kGetRange, "data/", 4);
  ASSERT_TRUE(repository().RebuildIndex(nullptr).ok());
  EXPECT_TRUE(far->gathered());
}

TEST_F(FarStoreTest, AManifestIsFetchedOnceButTheStoreSaysWhichExist) {
  std::vector<std::string> ids;
  for (int i = 0; i < 4; ++i) {
    WriteSource("file", "content " + std::to_string(i));
    ids.push_back(Snapshot());
  }
  const auto counting =
      std::make_shared<CountingStore>(store_, std::vector<std::string>{"snapshots/"});
  const auto fetched = [&] { return counting->Counts(StoreOp::kGet, "snapshots/").requests; };
  const auto repository =
      OpenRepository(std::make_unique<FarStore>(counting, kGets), "manifest-cache");
  ASSERT_EQ(repository->ListSnapshots(nullptr, nullptr)->size(), 4u);
  EXPECT_EQ(fetched(), 4u);
  ASSERT_EQ(repository->ListSnapshots(nullptr, nullptr)->size(), 4u);
  EXPECT_EQ(fetched(), 4u);
  // Neither bytes that changed on the disk nor a snapshot that is gone are believed.
  const Result<std::string> folder = repository->CacheFolder();
  ASSERT_TRUE(folder.ok());
  WriteFileAt(*folder + "/manifests/" + ids[1], "something else");
  Remove("snapshots/" + ids[2]);
  const auto listed = repository->ListSnapshots(nullptr, nullptr);
  ASSERT_TRUE(listed.ok());
  EXPECT_EQ(listed->size(), 3u);
  EXPECT_EQ(fetched(), 5u);
  EXPECT_FALSE(std::filesystem::exists(*folder + "/manifests/" + ids[2]));
}

TEST_F(FarStoreTest, ASnapshotOfWhatIsThereMakesNoRequestPerChunk) {
  const auto requests_for = [&](size_t bytes) {
    std::filesystem::remove_all(source());
    WriteSource("large", RandomBytes(bytes, bytes));
    Snapshot("none");
    auto counting = std::make_unique<CountingStore>(store_);
    const CountingStore* const counts = counting.get();
    Reopen(std::move(counting));
    SnapshotRequest request;
    request.paths = {source()};
    request.parent = "none";
    const Result<SnapshotSummary> summary = TakeSnapshot(repository(), request, nullptr);
    EXPECT_TRUE(summary.ok());
    EXPECT_EQ(summary->info.chunks_new, 0u);
    EXPECT_GT(summary->info.chunks_total, bytes / (64 << 10));
    return counts->Total().requests;
  };
  const uint64_t once = requests_for(8 * kMiB);
  const uint64_t twice = requests_for(16 * kMiB);
  // The other snapshot's segment and packs, but nothing for 100 chunks more.
  EXPECT_LE(twice, once + 4);
  EXPECT_LE(once, 16u);
}

TEST(FetchInOrder, TakesResultsInOrderAndKeepsWithinItsBudget) {
  constexpr size_t kTasks = 200;
  std::atomic<uint64_t> out = 0;
  std::atomic<bool> beyond = false;
  size_t next = 0;
  const Status done = FetchInOrder<size_t>(
      {.count = kTasks,
       .threads = kGets,
       .cost = [](size_t i) { return i % 10 == 0 ? uint64_t{100} : uint64_t{3}; },
       .cost_max = 20},
      [&](size_t i) -> Result<size_t> {
        const uint64_t cost = i % 10 == 0 ? 100 : 3;
        if ((out += cost) > std::max<uint64_t>(cost, 20)) beyond = true;
        return i;
      },
      [&](size_t i, const Result<size_t>& result) {
        EXPECT_EQ(i, next++);
        EXPECT_EQ(*result, i);
        out -= i % 10 == 0 ? 100 : 3;
        return Status();
      },
      [] { return Status(); });
  EXPECT_TRUE(done.ok());
  EXPECT_EQ(next, kTasks);
  EXPECT_FALSE(beyond);
}

TEST(FetchInOrder, EndsWithTheFirstErrorOfTakeOrPoll) {
  for (const unsigned threads : {1u, 4u}) {
    size_t taken = 0;
    const Status ended = FetchInOrder<size_t>(
        {.count = 100, .threads = threads}, [](size_t i) -> Result<size_t> { return i; },
        [&](size_t i, const Result<size_t>&) {
          ++taken;
          return i == 7 ? Status::Corruption("seventh") : Status();
        },
        [] { return Status(); });
    EXPECT_TRUE(ended.Is(StatusCode::kCorruption));
    EXPECT_EQ(taken, 8u);
    std::atomic<bool> stop = false;
    const Status polled = FetchInOrder<size_t>(
        {.count = 100, .threads = threads},
        [&](size_t i) -> Result<size_t> {
          while (threads > 1 && !stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
          return i;
        },
        [](size_t, const Result<size_t>&) { return Status(); },
        [&] {
          stop = true;
          return Status::Cancelled("enough");
        });
    EXPECT_TRUE(polled.Is(StatusCode::kCancelled));
  }
}

}  // namespace
}  // namespace snapstore
