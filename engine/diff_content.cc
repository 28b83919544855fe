#include "engine/diff_content.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/format.pb.h"
#include "engine/leaf_cursor.h"
#include "engine/run_list.h"

namespace snapstore {
namespace {

using RunCursor = LeafCursor<Run>;

RunCursor::Parse ParseRuns(const NodeSource& nodes) {
  return [&nodes](const NodeTreeReader::Leaf& leaf, std::vector<Run>* runs) {
    return ParseRunLeaf(leaf.bytes, leaf.begin, leaf.span, &nodes, runs);
  };
}

uint64_t End(const Run& run) { return run.offset + run.length; }

// Whether two runs say the same where they overlap.
bool Same(const Run& a, const Run& b) {
  if (a.hole || b.hole) return a.hole && b.hole;
  if (a.chunk.id != b.chunk.id) return false;
  // Repetitions of one chunk are the same when they are in step.
  const uint64_t apart = a.offset > b.offset ? a.offset - b.offset : b.offset - a.offset;
  return apart % a.chunk.id.length == 0;
}

void AddRange(uint64_t begin, uint64_t end, std::vector<ByteRange>* ranges) {
  if (!ranges->empty() && begin <= ranges->back().offset + ranges->back().length) {
    ByteRange& last = ranges->back();
    last.length = std::max(last.offset + last.length, end) - last.offset;
  } else {
    ranges->push_back({begin, end - begin});
  }
}

// Adds [begin, end) of `run`, widened to its chunks.
void AddChanged(const Run& run, uint64_t begin, uint64_t end, std::vector<ByteRange>* ranges) {
  if (!run.hole) {
    const uint64_t unit = run.chunk.id.length;
    begin = run.offset + (begin - run.offset) / unit * unit;
    end = run.offset + (end - run.offset + unit - 1) / unit * unit;
  }
  AddRange(begin, end, ranges);
}

}  // namespace

Status DiffContent(const NodeSource& before_nodes, const format::StreamRoot& before,
                   const NodeSource& after_nodes, const format::StreamRoot& after,
                   std::vector<ByteRange>* ranges) {
  RunCursor a(&before_nodes, before, ParseRuns(before_nodes));
  RunCursor b(&after_nodes, after, ParseRuns(after_nodes));
  SNAP_RETURN_IF_ERROR(a.Start());
  SNAP_RETURN_IF_ERROR(b.Start());
  uint64_t at = 0;
  while (true) {
    SNAP_RETURN_IF_ERROR(SkipSharedLeaves(LeafPlace::kSame, &a, &b));
    SNAP_RETURN_IF_ERROR(b.Fill());
    if (b.record() == nullptr) return {};
    // Leaves skipped above moved both lists on alike.
    at = std::max(at, b.record()->offset);
    SNAP_RETURN_IF_ERROR(a.Fill());
    while (a.record() != nullptr && End(*a.record()) <= at) {
      a.Advance();
      SNAP_RETURN_IF_ERROR(a.Fill());
    }
    const Run& theirs = *b.record();
    const uint64_t end =
        a.record() == nullptr ? End(theirs) : std::min(End(*a.record()), End(theirs));
    if (a.record() == nullptr || !Same(*a.record(), theirs)) AddChanged(theirs, at, end, ranges);
    at = end;
    if (End(theirs) == end) b.Advance();
    if (a.record() != nullptr && End(*a.record()) == end) a.Advance();
  }
}

}  // namespace snapstore
