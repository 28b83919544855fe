// The chunk index: load, hits, misses, opening, and adding one pack at a time, on an index of
// SNAPSTORE_BENCH_CHUNKS chunks (default 4 million) with SNAPSTORE_BENCH_MEMORY_MIB (default 128)
// of memory. The index lies in a folder of its own below TMPDIR, 36 bytes a chunk and as much again
// while it is filled; with SNAPSTORE_BENCH_FOLDER it lies there, stays, and is used again.
//
//   TMPDIR=/var/tmp SNAPSTORE_BENCH_CHUNKS=100000000 build/release/bench/index_bench
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/clock.h"
#include "base/memory_limit.h"
#include "tests/base/temp_folder.h"
#include "tests/index/index_testlib.h"

namespace snapstore {
namespace {

constexpr size_t kChunksPerPack = 8'000;
constexpr size_t kLookUps = 4'096;
constexpr uint64_t kAddedPacks = 100;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

[[noreturn]] void Fail(const Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

double MiB(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// Resident now and at most so far, in MiB.
void ShowMemory(benchmark::State& state) {
  const Result<MemoryUsage> usage = ReadMemoryUsage();
  if (!usage.ok()) Fail(usage.status());
  state.counters["rss_MiB"] = MiB(usage->rss_bytes);
  state.counters["rss_peak_MiB"] = MiB(usage->rss_bytes_peak);
}

void AddPacks(ChunkSink& sink, uint64_t first, uint64_t count) {
  for (uint64_t pack = first; pack < first + count; ++pack) {
    const Status added =
        sink.AddPack(test::NumberedDigest(pack), test::NumberedChunks(pack, kChunksPerPack), false);
    if (!added.ok()) Fail(added);
  }
}

// One index, filled once, that all benchmarks read.
class FilledIndex {
 public:
  static FilledIndex& Get() {
    static FilledIndex filled;
    return filled;
  }

  uint64_t packs() const { return packs_; }
  uint64_t chunks() const { return packs_ * kChunksPerPack; }
  double add_seconds() const { return add_seconds_; }
  double commit_seconds() const { return commit_seconds_; }
  ChunkIndex& index() { return *index_; }

  void Open() {
    auto index = ChunkIndex::Open({path_, memory_bytes_});
    if (!index.ok()) Fail(index.status());
    index_ = std::move(index).value();
  }
  void Close() { index_.reset(); }
  uint64_t DiskBytes() const {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) bytes += entry.file_size();
    return bytes;
  }

 private:
  FilledIndex() {
    const char* kept = std::getenv("SNAPSTORE_BENCH_FOLDER");
    path_ = kept == nullptr ? folder_.path() : kept;
    Open();
    if (index_->ApproximateChunkCount() != 0) return;
    const Stopwatch watch;
    auto load = index_->StartLoad();
    if (!load.ok()) Fail(load.status());
    AddPacks(**load, 0, packs_);
    add_seconds_ = watch.Seconds();
    if (const Status committed = (*load)->Commit({}); !committed.ok()) Fail(committed);
    commit_seconds_ = watch.Seconds() - add_seconds_;
  }

  const size_t memory_bytes_ = FromEnvironment("SNAPSTORE_BENCH_MEMORY_MIB", 128) << 20;
  const uint64_t packs_ = FromEnvironment("SNAPSTORE_BENCH_CHUNKS", 4'000'000) / kChunksPerPack;
  TempFolder folder_;
  std::string path_;
  std::unique_ptr<ChunkIndex> index_;
  double add_seconds_ = 0;
  double commit_seconds_ = 0;
};

// The time includes making the packs up, some 30 ns a chunk.
void BM_IndexLoad(benchmark::State& state) {
  FilledIndex& filled = FilledIndex::Get();
  for ([[maybe_unused]] auto _ : state) {
    state.SetIterationTime(filled.add_seconds() + filled.commit_seconds());
  }
  state.SetItemsProcessed(static_cast<int64_t>(filled.chunks()));
  state.counters["commit_s"] = filled.commit_seconds();
  state.counters["disk_MiB"] = MiB(filled.DiskBytes());
  ShowMemory(state);
}
BENCHMARK(BM_IndexLoad)->UseManualTime()->Iterations(1);

// FindMany of random chunks in [first, first + chunks): all hits for 0, all misses beyond.
void FindRandom(benchmark::State& state, uint64_t first) {
  FilledIndex& filled = FilledIndex::Get();
  SplitMix64 random(1);
  std::vector<ChunkId> ids(kLookUps);
  std::vector<std::optional<ChunkLocation>> found;
  for ([[maybe_unused]] auto _ : state) {
    state.PauseTiming();
    for (ChunkId& id : ids) id = test::NumberedChunk(first + random.Below(filled.chunks()));
    state.ResumeTiming();
    if (const Status status = filled.index().FindMany(ids, &found); !status.ok()) Fail(status);
    benchmark::DoNotOptimize(found.data());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kLookUps));
  ShowMemory(state);
}

void BM_IndexHit(benchmark::State& state) { FindRandom(state, 0); }
BENCHMARK(BM_IndexHit);

void BM_IndexMiss(benchmark::State& state) { FindRandom(state, FilledIndex::Get().chunks()); }
BENCHMARK(BM_IndexMiss);

void BM_IndexFindOneHit(benchmark::State& state) {
  FilledIndex& filled = FilledIndex::Get();
  SplitMix64 random(1);
  for ([[maybe_unused]] auto _ : state) {
    const auto found = filled.index().Find(test::NumberedChunk(random.Below(filled.chunks())));
    if (!found.ok()) Fail(found.status());
    benchmark::DoNotOptimize(found);
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(BM_IndexFindOneHit);

void BM_IndexReopen(benchmark::State& state) {
  FilledIndex& filled = FilledIndex::Get();
  for ([[maybe_unused]] auto _ : state) {
    filled.Close();
    filled.Open();
  }
}
BENCHMARK(BM_IndexReopen)->Unit(benchmark::kMillisecond);

// Beside what was loaded; the look-ups after it have two places to search.
void BM_IndexAddPack(benchmark::State& state) {
  FilledIndex& filled = FilledIndex::Get();
  for ([[maybe_unused]] auto _ : state) {
    AddPacks(filled.index(), 2 * filled.packs(), kAddedPacks);
  }
  state.SetItemsProcessed(static_cast<int64_t>(kAddedPacks * kChunksPerPack));
}
BENCHMARK(BM_IndexAddPack)->Iterations(1)->UseRealTime();
BENCHMARK(BM_IndexHit)->Name("BM_IndexHitAfterAdd");
BENCHMARK(BM_IndexMiss)->Name("BM_IndexMissAfterAdd");
BENCHMARK(BM_IndexReopen)->Name("BM_IndexReopenAfterAdd")->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace snapstore

BENCHMARK_MAIN();
