// The chunk index: bulk add, hits, misses and opening, on an index of SNAPSTORE_BENCH_CHUNKS chunks
// (default 4 million) with SNAPSTORE_BENCH_MEMORY_MIB (default 64) of memory.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>

#include "base/clock.h"
#include "tests/base/temp_folder.h"
#include "tests/index/index_testlib.h"

namespace snapstore {
namespace {

constexpr size_t kChunksPerPack = 8'000;
constexpr size_t kLookUps = 4'096;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

[[noreturn]] void Fail(const Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

// One index, filled once, that all benchmarks read.
class FilledIndex {
 public:
  static FilledIndex& Get() {
    static FilledIndex filled;
    return filled;
  }

  uint64_t chunks() const { return packs_ * kChunksPerPack; }
  double add_seconds() const { return add_seconds_; }
  ChunkIndex& index() { return *index_; }

  void Open() {
    auto index = ChunkIndex::Open({folder_.path(), memory_bytes_});
    if (!index.ok()) Fail(index.status());
    index_ = std::move(index).value();
  }
  void Close() { index_.reset(); }

 private:
  FilledIndex() {
    Open();
    const Stopwatch watch;
    for (uint64_t pack = 0; pack < packs_; ++pack) {
      const Status added = index_->AddPack(test::NumberedDigest(pack),
                                           test::NumberedChunks(pack, kChunksPerPack), false);
      if (!added.ok()) Fail(added);
    }
    add_seconds_ = watch.Seconds();
  }

  const size_t memory_bytes_ = FromEnvironment("SNAPSTORE_BENCH_MEMORY_MIB", 64) << 20;
  const uint64_t packs_ = FromEnvironment("SNAPSTORE_BENCH_CHUNKS", 4'000'000) / kChunksPerPack;
  TempFolder folder_;
  std::unique_ptr<ChunkIndex> index_;
  double add_seconds_ = 0;
};

void BM_IndexBulkAdd(benchmark::State& state) {
  FilledIndex& filled = FilledIndex::Get();
  for ([[maybe_unused]] auto _ : state) state.SetIterationTime(filled.add_seconds());
  state.SetItemsProcessed(static_cast<int64_t>(filled.chunks()));
}
BENCHMARK(BM_IndexBulkAdd)->UseManualTime()->Iterations(1);

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

}  // namespace
}  // namespace snapstore

BENCHMARK_MAIN();
