#include "engine/diff_content.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/format.pb.h"
#include "engine/run_list.h"

namespace snapstore {
namespace {

// Walks one run list; knows the next leaf before it is read.
class RunCursor {
 public:
  RunCursor(const NodeSource* nodes, const format::StreamRoot& root) : tree_(nodes, root) {}

  Status Start() { return NextLeaf(); }
  // Null at the end.
  const Run* run() const { return next_ < runs_.size() ? &runs_[next_] : nullptr; }
  void Advance() { ++next_; }
  // The leaf to be read next when all runs of the last are done; null when there is none or it
  // lies within the root.
  const NodeTreeReader::Leaf* stored_leaf() const {
    return run() == nullptr && have_leaf_ && leaf_.stored ? &leaf_ : nullptr;
  }
  Status SkipLeaf() { return NextLeaf(); }
  // Makes run() valid unless the list is at its end.
  Status Fill() {
    while (run() == nullptr && have_leaf_) {
      SNAP_RETURN_IF_ERROR(tree_.ReadBytes(&leaf_));
      SNAP_RETURN_IF_ERROR(ParseRunLeaf(leaf_.bytes, leaf_.begin, leaf_.span, &runs_));
      next_ = 0;
      SNAP_RETURN_IF_ERROR(NextLeaf());
    }
    return {};
  }

 private:
  Status NextLeaf() {
    SNAP_ASSIGN_OR_RETURN(have_leaf_, tree_.NextRef(&leaf_));
    return {};
  }

  NodeTreeReader tree_;
  NodeTreeReader::Leaf leaf_;
  bool have_leaf_ = false;
  std::vector<Run> runs_;
  size_t next_ = 0;
};

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

Status SkipSharedLeaves(RunCursor* a, RunCursor* b) {
  while (a->stored_leaf() != nullptr && b->stored_leaf() != nullptr &&
         a->stored_leaf()->begin == b->stored_leaf()->begin &&
         a->stored_leaf()->ref.chunk.id == b->stored_leaf()->ref.chunk.id) {
    SNAP_RETURN_IF_ERROR(a->SkipLeaf());
    SNAP_RETURN_IF_ERROR(b->SkipLeaf());
  }
  return {};
}

}  // namespace

Status DiffContent(const NodeSource& before_nodes, const format::StreamRoot& before,
                   const NodeSource& after_nodes, const format::StreamRoot& after,
                   std::vector<ByteRange>* ranges) {
  RunCursor a(&before_nodes, before);
  RunCursor b(&after_nodes, after);
  SNAP_RETURN_IF_ERROR(a.Start());
  SNAP_RETURN_IF_ERROR(b.Start());
  uint64_t at = 0;
  while (true) {
    SNAP_RETURN_IF_ERROR(SkipSharedLeaves(&a, &b));
    SNAP_RETURN_IF_ERROR(b.Fill());
    if (b.run() == nullptr) return {};
    // Leaves skipped above moved both lists on alike.
    at = std::max(at, b.run()->offset);
    SNAP_RETURN_IF_ERROR(a.Fill());
    while (a.run() != nullptr && End(*a.run()) <= at) {
      a.Advance();
      SNAP_RETURN_IF_ERROR(a.Fill());
    }
    const Run& theirs = *b.run();
    const uint64_t end = a.run() == nullptr ? End(theirs) : std::min(End(*a.run()), End(theirs));
    if (a.run() == nullptr || !Same(*a.run(), theirs)) AddChanged(theirs, at, end, ranges);
    at = end;
    if (End(theirs) == end) b.Advance();
    if (a.run() != nullptr && End(*a.run()) == end) a.Advance();
  }
}

}  // namespace snapstore
