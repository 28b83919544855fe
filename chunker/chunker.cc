#include "chunker/chunker.h"

#include <fmt/format.h>

#include <bit>

#include "base/status_macros.h"
#include "chunker/internal/aligned_chunker.h"
#include "chunker/internal/cdc_chunker.h"

namespace snapstore {
namespace {

Status Refuse(const ChunkerParams& params, std::string_view why) {
  return Status::InvalidArgument(fmt::format("chunker parameters min {} avg {} max {}: {}",
                                             params.bytes_min, params.bytes_avg, params.bytes_max,
                                             why));
}

Status CheckCdc(const ChunkerParams& p) {
  if (p.bytes_min < ChunkerParams::kCdcBytesMinLeast) {
    return Refuse(p, fmt::format("cdc needs min >= {}", ChunkerParams::kCdcBytesMinLeast));
  }
  if (p.bytes_avg < ChunkerParams::kCdcBytesAvgLeast) {
    return Refuse(p, fmt::format("cdc needs avg >= {}", ChunkerParams::kCdcBytesAvgLeast));
  }
  if (p.bytes_min >= p.bytes_avg) return Refuse(p, "cdc needs min < avg");
  if (p.bytes_avg >= p.bytes_max) return Refuse(p, "cdc needs avg < max");
  return Status::Ok();
}

Status CheckAligned(const ChunkerParams& p) {
  if (p.bytes_min < ChunkerParams::kAlignedBlockLeast || !std::has_single_bit(p.bytes_min)) {
    return Refuse(p, fmt::format("aligned needs a block (min) that is a power of two >= {}",
                                 ChunkerParams::kAlignedBlockLeast));
  }
  if (p.bytes_min > p.bytes_avg) return Refuse(p, "aligned needs block (min) <= avg");
  if (p.bytes_avg > p.bytes_max) return Refuse(p, "aligned needs avg <= max");
  if (p.bytes_max % p.bytes_min != 0) return Refuse(p, "max must be a multiple of the block (min)");
  return Status::Ok();
}

}  // namespace

ChunkerParams ChunkerParams::Cdc(uint64_t seed) {
  return {ChunkerKind::kCdc, 4 << 10, 16 << 10, 64 << 10, seed};
}

ChunkerParams ChunkerParams::AlignedGroups(uint64_t seed) {
  return {ChunkerKind::kAligned, 4 << 10, 16 << 10, 64 << 10, seed};
}

ChunkerParams ChunkerParams::AlignedBlocks() {
  return {ChunkerKind::kAligned, 4 << 10, 4 << 10, 4 << 10, 0};
}

Result<std::unique_ptr<Chunker>> Chunker::Create(const ChunkerParams& params) {
  if (params.bytes_max > ChunkerParams::kBytesMaxMost) {
    return Refuse(params, fmt::format("max must be <= {}", ChunkerParams::kBytesMaxMost));
  }
  if (!std::has_single_bit(params.bytes_avg)) {
    return Refuse(params, "avg must be a power of two");
  }
  switch (params.kind) {
    case ChunkerKind::kCdc:
      SNAP_RETURN_IF_ERROR(CheckCdc(params));
      return std::unique_ptr<Chunker>(
          std::make_unique<internal::CdcChunker>(params, internal::BestCdcKernel()));
    case ChunkerKind::kAligned:
      SNAP_RETURN_IF_ERROR(CheckAligned(params));
      return std::unique_ptr<Chunker>(std::make_unique<internal::AlignedChunker>(params));
  }
  return Refuse(params, fmt::format("unknown chunker kind {}", static_cast<int>(params.kind)));
}

}  // namespace snapstore
