// Throughput of cutting, naming and testing for zero, per core.
#include <benchmark/benchmark.h>

#include "base/random.h"
#include "chunker/chunk_id.h"
#include "chunker/chunker.h"
#include "chunker/internal/cdc_chunker.h"

namespace snapstore {
namespace {

constexpr size_t kCacheBytes = 256 << 10;
constexpr size_t kMemoryBytes = 256 << 20;

Bytes RandomBytes(size_t size) {
  SplitMix64 generator(1);
  Bytes bytes(size);
  for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
    StoreLe(bytes.data() + at, generator.Next());
  }
  return bytes;
}

size_t CutAll(const Chunker& chunker, ByteSpan data) {
  size_t chunks = 0;
  while (!data.empty()) {
    data = data.subspan(chunker.NextCut(data, true));
    ++chunks;
  }
  return chunks;
}

void ReportBytes(benchmark::State& state, size_t size) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * size));
}

void BM_CdcCut(benchmark::State& state, const internal::CdcKernel* kernel) {
  const Bytes data = RandomBytes(static_cast<size_t>(state.range(0)));
  const internal::CdcChunker chunker(ChunkerParams::Cdc(1), *kernel);
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(CutAll(chunker, data));
  ReportBytes(state, data.size());
}

void BM_CdcKernel(benchmark::State& state, const internal::CdcKernel* kernel) {
  const Bytes data = RandomBytes(static_cast<size_t>(state.range(0)));
  uint64_t bits[internal::kScanWords];
  for ([[maybe_unused]] auto _ : state) {
    for (size_t at = 32; at < data.size(); at += internal::kScanPositions) {
      kernel->find_candidates(data.data() + at,
                              std::min(internal::kScanPositions, data.size() - at), bits);
      benchmark::DoNotOptimize(bits);
    }
  }
  ReportBytes(state, data.size());
}

void BM_AlignedGroupsCut(benchmark::State& state) {
  const Bytes data = RandomBytes(static_cast<size_t>(state.range(0)));
  const auto chunker = Chunker::Create(ChunkerParams::AlignedGroups(1));
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(CutAll(**chunker, data));
  ReportBytes(state, data.size());
}
BENCHMARK(BM_AlignedGroupsCut)->Arg(kCacheBytes)->Arg(kMemoryBytes);

// Cut and name, as the engine does it: each chunk while it is in cache.
void BM_CdcCutAndName(benchmark::State& state) {
  const Bytes data = RandomBytes(static_cast<size_t>(state.range(0)));
  const auto chunker = Chunker::Create(ChunkerParams::Cdc(1));
  const HashSecret secret{};
  for ([[maybe_unused]] auto _ : state) {
    ByteSpan rest = data;
    while (!rest.empty()) {
      const size_t length = (*chunker)->NextCut(rest, true);
      benchmark::DoNotOptimize(ComputeChunkId(secret, rest.first(length)));
      rest = rest.subspan(length);
    }
  }
  ReportBytes(state, data.size());
}
BENCHMARK(BM_CdcCutAndName)->Arg(kCacheBytes)->Arg(kMemoryBytes);

void BM_ChunkId(benchmark::State& state) {
  constexpr size_t kChunk = 16 << 10;
  const Bytes data = RandomBytes(static_cast<size_t>(state.range(0)));
  const HashSecret secret{};
  for ([[maybe_unused]] auto _ : state) {
    for (size_t at = 0; at < data.size(); at += kChunk) {
      benchmark::DoNotOptimize(ComputeChunkId(secret, ByteSpan(data).subspan(at, kChunk)));
    }
  }
  ReportBytes(state, data.size());
}
BENCHMARK(BM_ChunkId)->Arg(kCacheBytes)->Arg(kMemoryBytes);

void BM_IsZero(benchmark::State& state) {
  const Bytes data(static_cast<size_t>(state.range(0)));
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(IsZero(data));
  ReportBytes(state, data.size());
}
BENCHMARK(BM_IsZero)->Arg(4 << 10)->Arg(kCacheBytes)->Arg(kMemoryBytes);

const bool kRegistered = [] {
  for (const internal::CdcKernel* kernel : internal::CdcKernels()) {
    const std::string name = kernel->name;
    benchmark::RegisterBenchmark(("BM_CdcKernel/" + name).c_str(), BM_CdcKernel, kernel)
        ->Arg(kCacheBytes);
    benchmark::RegisterBenchmark(("BM_CdcCut/" + name).c_str(), BM_CdcCut, kernel)
        ->Arg(kCacheBytes)
        ->Arg(kMemoryBytes);
  }
  return true;
}();

}  // namespace
}  // namespace snapstore
