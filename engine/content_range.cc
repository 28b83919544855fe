#include "engine/content_range.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/format.h"
#include "engine/format.pb.h"

namespace snapstore {
namespace {

// FindNextData looks no further ahead than this.
constexpr uint64_t kDataPartMax = 64 << 20;
// The longest chunk that the chunkers make by default. A part of a list that spans more than its
// chunks can fill has holes.
constexpr uint64_t kChunkBytesUsual = 64 << 10;

}  // namespace

Result<ContentRange> FindContentRange(const NodeSource& source, RunListReader* runs,
                                      uint64_t offset, uint64_t length) {
  ContentRange range;
  SNAP_RETURN_IF_ERROR(runs->Seek(offset));
  uint64_t covered = offset;
  while (covered < offset + length) {
    SNAP_ASSIGN_OR_RETURN(const Run* const run, runs->Next());
    if (run == nullptr || run->offset > covered) {
      return Status::Corruption("run list is inconsistent");
    }
    covered = run->offset + run->length;
    if (run->hole) continue;
    SNAP_ASSIGN_OR_RETURN(const StoredChunk chunk, source.Resolve(run->chunk));
    range.chunks.push_back(chunk);
    range.pieces.push_back({run->offset, run->length});
  }
  return range;
}

void PlacePiece(const ContentPiece& piece, ByteSpan chunk, uint64_t offset, MutableByteSpan out) {
  const uint64_t from = std::max(piece.offset, offset);
  const uint64_t to = std::min(piece.offset + piece.length, offset + out.size());
  for (uint64_t at = from; at < to;) {
    const uint64_t skip = (at - piece.offset) % chunk.size();
    const uint64_t step = std::min(chunk.size() - skip, to - at);
    std::copy_n(chunk.begin() + static_cast<ptrdiff_t>(skip), step,
                out.begin() + static_cast<ptrdiff_t>(at - offset));
    at += step;
  }
}

Result<ByteRange> ChunkAround(RunListReader* runs, uint64_t at) {
  SNAP_RETURN_IF_ERROR(runs->Seek(at));
  SNAP_ASSIGN_OR_RETURN(const Run* run, runs->Next());
  if (run == nullptr) return Status::Corruption("run list ends early");
  const uint64_t unit = run->hole ? kBlockBytes : run->chunk.id.length;
  const uint64_t begin = run->offset + (at - run->offset) / unit * unit;
  return ByteRange{begin, std::min(unit, run->offset + run->length - begin)};
}

Status FindNextData(RunListReader* runs, uint64_t offset, uint64_t* begin, uint64_t* end) {
  *begin = *end = runs->size();
  if (offset >= runs->size()) return {};
  SNAP_RETURN_IF_ERROR(runs->Seek(offset));
  while (true) {
    SNAP_ASSIGN_OR_RETURN(const Run* const run, runs->Next());
    if (run == nullptr) break;
    const bool found = *begin < runs->size();
    if (run->hole) {
      if (found) break;
      continue;
    }
    if (!found) *begin = std::max(offset, run->offset);
    *end = run->offset + run->length;
    if (*end - *begin >= kDataPartMax) break;
  }
  return {};
}

uint64_t EstimateDataBytes(const format::StreamRoot& runs) {
  uint64_t data = 0;
  if (runs.depth() == 0) {
    std::vector<Run> list;
    // A leaf that says what differs from another cannot be told without reading that.
    if (!ParseRunLeaf(AsBytes(runs.nodes()), 0, runs.span(), /*bases=*/nullptr, &list).ok()) {
      return runs.span();
    }
    for (const Run& run : list) data += run.hole ? 0 : run.length;
    return data;
  }
  const Result<std::vector<NodeRef>> children = ParseNode(AsBytes(runs.nodes()), runs.span());
  if (!children.ok()) return runs.span();
  for (const NodeRef& child : *children) {
    const bool holes = child.items < child.span / kChunkBytesUsual;
    data += holes ? child.items * kChunkBytesUsual : child.span;
  }
  return data;
}

}  // namespace snapstore
