#include "engine/benchmark_parts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "chunker/chunker.h"
#include "engine/frame.h"
#include "index/chunk_index.h"

namespace snapstore {
namespace {

constexpr uint64_t kIndexPacks = 125;
constexpr uint64_t kIndexChunksPerPack = 8000;
constexpr size_t kLookUps = 100'000;

// Keeps what was computed from being optimised away.
std::atomic<uint64_t> g_sink = 0;

// Bytes a second of `work` over the sample, cut into pieces that `threads` share.
Result<double> Throughput(ByteSpan sample, unsigned threads,
                          const std::function<Status(ByteSpan piece)>& work) {
  const Stopwatch stopwatch;
  std::atomic<size_t> next = 0;
  std::vector<Status> ended(threads);
  std::vector<std::thread> workers;
  const auto loop = [&](unsigned thread) {
    for (size_t at; (at = next.fetch_add(kFramePlainTarget)) < sample.size();) {
      const size_t length = std::min<size_t>(kFramePlainTarget, sample.size() - at);
      if (ended[thread] = work(sample.subspan(at, length)); !ended[thread].ok()) return;
    }
  };
  for (unsigned i = 1; i < threads; ++i) workers.emplace_back(loop, i);
  loop(0);
  for (std::thread& worker : workers) worker.join();
  for (const Status& status : ended) SNAP_RETURN_IF_ERROR(status);
  return static_cast<double>(sample.size()) / stopwatch.Seconds();
}

Status CompressOnce(ByteSpan piece) {
  thread_local const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(),
                                                                                ZSTD_freeCCtx);
  thread_local Bytes out;
  out.resize(ZSTD_compressBound(piece.size()));
  const size_t size = ZSTD_compressCCtx(context.get(), out.data(), out.size(), piece.data(),
                                        piece.size(), /*level=*/1);
  if (ZSTD_isError(size) != 0)
    return Status::Internal("zstd: " + std::string(ZSTD_getErrorName(size)));
  g_sink += size;
  return {};
}

Result<double> WriteThroughput(ByteSpan sample, const std::string& folder) {
  const std::string path = folder + "/written";
  SNAP_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  const Stopwatch stopwatch;
  SNAP_RETURN_IF_ERROR(WriteFull(file.get(), sample, path));
  SNAP_RETURN_IF_ERROR(SyncFd(file.get(), path));
  return static_cast<double>(sample.size()) / stopwatch.Seconds();
}

Result<double> CutThroughput(ByteSpan sample, const ChunkerParams& params, bool name) {
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<Chunker> chunker, Chunker::Create(params));
  const HashSecret secret{};
  const Stopwatch stopwatch;
  for (ByteSpan rest = sample; !rest.empty();) {
    const size_t length = chunker->NextCut(rest, /*last=*/true);
    if (name) g_sink += ComputeChunkId(secret, rest.first(length)).hash[0];
    g_sink += length;
    rest = rest.subspan(length);
  }
  return static_cast<double>(sample.size()) / stopwatch.Seconds();
}

ChunkId NumberedChunk(uint64_t number) {
  SplitMix64 random(number);
  ChunkId id;
  id.length = 16 << 10;
  StoreLe<uint64_t>(id.hash.data(), random.Next());
  StoreLe<uint64_t>(id.hash.data() + 8, random.Next());
  return id;
}

Result<double> FillIndex(ChunkIndex* index) {
  const Stopwatch stopwatch;
  std::vector<PackChunk> chunks(kIndexChunksPerPack);
  for (uint64_t pack = 0; pack < kIndexPacks; ++pack) {
    for (uint64_t i = 0; i < kIndexChunksPerPack; ++i) {
      chunks[i] = {NumberedChunk(pack * kIndexChunksPerPack + i), 16, 1000,
                   static_cast<uint16_t>(i % 64)};
    }
    PackId id;
    StoreLe<uint64_t>(id.bytes.data(), pack);
    SNAP_RETURN_IF_ERROR(index->AddPack(id, chunks, /*published=*/true));
  }
  return static_cast<double>(kIndexPacks * kIndexChunksPerPack) / stopwatch.Seconds();
}

Result<double> LookUp(ChunkIndex* index, uint64_t first) {
  std::vector<ChunkId> ids;
  ids.reserve(kLookUps);
  SplitMix64 random(first);
  for (size_t i = 0; i < kLookUps; ++i) {
    ids.push_back(NumberedChunk(first + random.Below(kIndexPacks * kIndexChunksPerPack)));
  }
  std::vector<std::optional<ChunkLocation>> found;
  const Stopwatch stopwatch;
  SNAP_RETURN_IF_ERROR(index->FindMany(ids, &found));
  return static_cast<double>(kLookUps) / stopwatch.Seconds();
}

}  // namespace

Result<BenchmarkResult> Measure(int runs, BenchmarkResult named,
                                const std::function<Result<double>()>& measure) {
  for (int run = 0; run < runs; ++run) {
    SNAP_ASSIGN_OR_RETURN(const double sample, measure());
    named.samples.push_back(sample);
  }
  return named;
}

Status MeasureMachine(ByteSpan sample, const std::string& folder, unsigned threads, int runs,
                      const BenchmarkVisit& visit) {
  const auto bytes = static_cast<double>(sample.size());
  const auto measure = [&](const std::string& name,
                           const std::function<Result<double>()>& once) -> Status {
    SNAP_ASSIGN_OR_RETURN(const BenchmarkResult result,
                          Measure(runs, {"machine", name, "B/s", {}, bytes}, once));
    return visit(result);
  };
  Bytes copy(sample.size());
  SNAP_RETURN_IF_ERROR(measure("memcpy, one core", [&] {
    return Throughput(sample, 1, [&](ByteSpan piece) {
      std::memcpy(copy.data() + (piece.data() - sample.data()), piece.data(), piece.size());
      return Status();
    });
  }));
  SNAP_RETURN_IF_ERROR(measure("XXH3-128, one core", [&] {
    return Throughput(sample, 1, [&](ByteSpan piece) {
      g_sink += ComputeChunkId(HashSecret{}, piece).hash[0];
      return Status();
    });
  }));
  SNAP_RETURN_IF_ERROR(
      measure("zstd -1, one core", [&] { return Throughput(sample, 1, CompressOnce); }));
  SNAP_RETURN_IF_ERROR(measure(fmt::format("zstd -1, {} threads", threads),
                               [&] { return Throughput(sample, threads, CompressOnce); }));
  return measure("write and fsync", [&] { return WriteThroughput(sample, folder); });
}

Status MeasureParts(ByteSpan sample, const std::string& folder, size_t memory_bytes, int runs,
                    const BenchmarkVisit& visit) {
  const auto measure = [&](const std::string& name, const std::string& unit, double bytes,
                           const std::function<Result<double>()>& once) -> Status {
    SNAP_ASSIGN_OR_RETURN(const BenchmarkResult result,
                          Measure(runs, {"parts", name, unit, {}, bytes}, once));
    return visit(result);
  };
  const auto bytes = static_cast<double>(sample.size());
  SNAP_RETURN_IF_ERROR(measure("cut (cdc)", "B/s", bytes, [&] {
    return CutThroughput(sample, ChunkerParams::Cdc(1), /*name=*/false);
  }));
  SNAP_RETURN_IF_ERROR(measure("cut and name (cdc)", "B/s", bytes, [&] {
    return CutThroughput(sample, ChunkerParams::Cdc(1), /*name=*/true);
  }));
  SNAP_RETURN_IF_ERROR(measure("cut and name (aligned)", "B/s", bytes, [&] {
    return CutThroughput(sample, ChunkerParams::AlignedGroups(1), /*name=*/true);
  }));
  const std::string path = folder + "/index";
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<ChunkIndex> index,
                        ChunkIndex::Open({path, memory_bytes}));
  const uint64_t chunks = kIndexPacks * kIndexChunksPerPack;
  SNAP_ASSIGN_OR_RETURN(const BenchmarkResult filled,
                        Measure(1, {"parts", "index: chunks added", "1/s", {}, 0},
                                [&] { return FillIndex(index.get()); }));
  SNAP_RETURN_IF_ERROR(visit(filled));
  SNAP_RETURN_IF_ERROR(measure("index: hits", "1/s", 0, [&] { return LookUp(index.get(), 0); }));
  return measure("index: misses", "1/s", 0, [&] { return LookUp(index.get(), chunks); });
}

}  // namespace snapstore
