#include "engine/content_range.h"

#include <algorithm>
#include <utility>

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

// Where one chunk stands in the content, with the repetitions that follow it.
struct ContentPiece {
  uint64_t offset = 0;  // of the first repetition
  uint64_t length = 0;  // of all of them
};

// The chunks of a range in order of content, each with its piece of the same index; holes have
// none.
struct ContentRange {
  std::vector<StoredChunk> chunks;
  std::vector<ContentPiece> pieces;
};

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

// Hands on parts of a range, neighbours in both content and memory as one.
class PartMerger {
 public:
  PartMerger(uint64_t begin, uint64_t end, const PartVisitor& visit)
      : begin_(begin), end_(end), visit_(visit) {}

  // What of the piece's repetitions of `chunk` lies in the range.
  Status Add(const ContentPiece& piece, ByteSpan chunk) {
    const uint64_t to = std::min(piece.offset + piece.length, end_);
    for (uint64_t at = std::max(piece.offset, begin_); at < to;) {
      const uint64_t skip = (at - piece.offset) % chunk.size();
      const uint64_t step = std::min(chunk.size() - skip, to - at);
      const ByteSpan bytes = chunk.subspan(skip, step);
      if (at != part_.offset + part_.length || bytes.data() != part_.bytes.data() + part_.length) {
        SNAP_RETURN_IF_ERROR(Flush());
        part_ = {at, 0, bytes.first(0)};
      }
      part_.length += step;
      at += step;
    }
    return {};
  }

  Status Flush() {
    ContentPart part = std::exchange(part_, ContentPart());
    if (part.length == 0) return {};
    part.bytes = {part.bytes.data(), part.length};
    return visit_(part);
  }

 private:
  const uint64_t begin_;
  const uint64_t end_;
  const PartVisitor& visit_;
  ContentPart part_;  // its bytes are `length` from where they begin
};

// Leaves the chunks that lie in one frame with the byte at `at`; none when that is in a hole.
void KeepFrameOf(uint64_t at, ContentRange* range) {
  const auto holds = [&](const ContentPiece& piece) {
    return at >= piece.offset && at - piece.offset < piece.length;
  };
  const auto all = std::exchange(*range, ContentRange());
  const auto piece = std::find_if(all.pieces.begin(), all.pieces.end(), holds);
  if (piece == all.pieces.end()) return;
  const StoredChunk& wanted = all.chunks[static_cast<size_t>(piece - all.pieces.begin())];
  for (size_t i = 0; i < all.chunks.size(); ++i) {
    const StoredChunk& chunk = all.chunks[i];
    if (chunk.pack != wanted.pack || chunk.frame_offset != wanted.frame_offset) continue;
    range->chunks.push_back(chunk);
    range->pieces.push_back(all.pieces[i]);
  }
}

Status VisitHoles(std::span<const ContentPiece> pieces, uint64_t offset, uint64_t length,
                  const PartVisitor& visit) {
  uint64_t at = offset;
  for (const ContentPiece& piece : pieces) {
    if (piece.offset > at) SNAP_RETURN_IF_ERROR(visit({at, piece.offset - at, {}}));
    at = piece.offset + piece.length;
  }
  return at < offset + length ? visit({at, offset + length - at, {}}) : Status();
}

// What of [offset, offset + length) the chunks of `range` have.
Status VisitData(ChunkFetcher* fetcher, const ContentRange& range, uint64_t offset, uint64_t length,
                 KeepFrames keep, const PartVisitor& visit) {
  const auto hand_on = [&](std::span<const FetchedChunk> fetched) -> Status {
    PartMerger merger(offset, offset + length, visit);
    for (const auto& [i, bytes] : fetched) {
      SNAP_RETURN_IF_ERROR(merger.Add(range.pieces[i], bytes));
    }
    return merger.Flush();
  };
  const auto fail = [](size_t, const Status& status) { return status; };
  return keep == KeepFrames::kYes ? fetcher->ReadKept(PackKind::kData, range.chunks, hand_on, fail)
                                  : fetcher->ReadMany(PackKind::kData, range.chunks, hand_on, fail);
}

}  // namespace

Result<std::vector<StoredChunk>> FindChunks(const NodeSource& source, RunListReader* runs,
                                            uint64_t offset, uint64_t length) {
  SNAP_ASSIGN_OR_RETURN(ContentRange range, FindContentRange(source, runs, offset, length));
  return std::move(range.chunks);
}

Status VisitRange(const NodeSource& source, RunListReader* runs, uint64_t offset, uint64_t length,
                  KeepFrames keep, const PartVisitor& visit) {
  SNAP_ASSIGN_OR_RETURN(const ContentRange range, FindContentRange(source, runs, offset, length));
  SNAP_RETURN_IF_ERROR(VisitHoles(range.pieces, offset, length, visit));
  return VisitData(source.fetcher(), range, offset, length, keep, visit);
}

Status CheckHolds(uint64_t offset, uint64_t length, uint64_t at) {
  if (at >= offset && at - offset < length) return {};
  return Status::InvalidArgument("the range does not hold the byte that is asked for");
}

Status VisitAlong(const NodeSource& source, RunListReader* runs, uint64_t at, uint64_t offset,
                  uint64_t length, const PartVisitor& visit) {
  SNAP_ASSIGN_OR_RETURN(ContentRange range, FindContentRange(source, runs, offset, length));
  SNAP_RETURN_IF_ERROR(VisitHoles(range.pieces, offset, length, visit));
  KeepFrameOf(at, &range);
  return VisitData(source.fetcher(), range, offset, length, KeepFrames::kYes, visit);
}

Status ReadRange(const NodeSource& source, RunListReader* runs, uint64_t offset,
                 MutableByteSpan out, KeepFrames keep) {
  return VisitRange(source, runs, offset, out.size(), keep, [&](const ContentPart& part) {
    const MutableByteSpan to = out.subspan(part.offset - offset, part.length);
    if (part.bytes.empty()) {
      std::fill(to.begin(), to.end(), uint8_t{0});
    } else {
      std::copy(part.bytes.begin(), part.bytes.end(), to.begin());
    }
    return Status();
  });
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
