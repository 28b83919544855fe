// LeafCursor: the records of a node tree one after another, for comparing two trees. The next leaf
// is known before it is read, so leaves that both trees share are passed over unread.
#ifndef SNAPSTORE_ENGINE_LEAF_CURSOR_H_
#define SNAPSTORE_ENGINE_LEAF_CURSOR_H_

#include <functional>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "engine/node_tree.h"
#include "snapstore/status.h"

namespace snapstore {

template <typename Record>
class LeafCursor {
 public:
  // Replaces `out` by the records of a leaf whose bytes are read.
  using Parse = std::function<Status(const NodeTreeReader::Leaf& leaf, std::vector<Record>* out)>;

  LeafCursor(const NodeSource* nodes, const format::StreamRoot& root, Parse parse)
      : tree_(nodes, root), parse_(std::move(parse)) {}

  LeafCursor(const LeafCursor&) = delete;
  LeafCursor& operator=(const LeafCursor&) = delete;

  // To be called once, before all else.
  Status Start() { return SkipLeaf(); }
  // Null when the records of the last leaf are done, until Fill().
  const Record* record() const { return next_ < records_.size() ? &records_[next_] : nullptr; }
  void Advance() { ++next_; }
  // Makes record() valid unless the tree is at its end.
  Status Fill() {
    while (record() == nullptr && have_leaf_) {
      SNAP_RETURN_IF_ERROR(tree_.ReadBytes(&leaf_));
      SNAP_RETURN_IF_ERROR(parse_(leaf_, &records_));
      next_ = 0;
      SNAP_RETURN_IF_ERROR(SkipLeaf());
    }
    return {};
  }

  // The leaf that Fill() would read; null while there are records, when there is none, or when it
  // lies within the root.
  const NodeTreeReader::Leaf* stored_leaf() const {
    return record() == nullptr && have_leaf_ && leaf_.stored ? &leaf_ : nullptr;
  }
  Status SkipLeaf() {
    SNAP_ASSIGN_OR_RETURN(have_leaf_, tree_.NextRef(&leaf_));
    return {};
  }

 private:
  NodeTreeReader tree_;
  const Parse parse_;
  NodeTreeReader::Leaf leaf_;
  bool have_leaf_ = false;
  std::vector<Record> records_;
  size_t next_ = 0;
};

// Moves both cursors past the leaves that are the same chunk in both trees and, where the place
// matters, lie at the same place.
enum class LeafPlace { kAny, kSame };
template <typename Record>
Status SkipSharedLeaves(LeafPlace place, LeafCursor<Record>* a, LeafCursor<Record>* b) {
  while (a->stored_leaf() != nullptr && b->stored_leaf() != nullptr &&
         (place == LeafPlace::kAny || a->stored_leaf()->begin == b->stored_leaf()->begin) &&
         a->stored_leaf()->ref.chunk.id == b->stored_leaf()->ref.chunk.id) {
    SNAP_RETURN_IF_ERROR(a->SkipLeaf());
    SNAP_RETURN_IF_ERROR(b->SkipLeaf());
  }
  return {};
}

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_LEAF_CURSOR_H_
