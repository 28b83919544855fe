// Run lists: the content of a file or volume as holes and chunk references, in order.
//
// A run list is a node tree whose unit is one byte of content. docs/format.md, "Run list".
//
// A list that continues a parent's ends its leaves where the parent's end, so that each has a
// counterpart: what did not change is taken over, what changed a little is stored as changes.
//
// Thread safety: writers and readers belong to one thread at a time.
#ifndef SNAPSTORE_ENGINE_RUN_LIST_H_
#define SNAPSTORE_ENGINE_RUN_LIST_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <variant>
#include <vector>

#include "engine/node_tree.h"
#include "engine/run_leaf.h"

namespace snapstore {

class RunListWriter {
 public:
  // All must outlive the writer. `parent` is the list that this one continues; may be null, as
  // `parent_nodes` then may.
  RunListWriter(PackWriter* packs, const HashSecret* secret,
                const NodeSource* parent_nodes = nullptr,
                const format::StreamRoot* parent = nullptr);

  // From here on leaves end where EndLeafHere says, as those of the list that this one is copied
  // from, and not by content. REQUIRES: nothing was added yet.
  void KeepLeaves() { keep_leaves_ = true; }

  Status AddHole(uint64_t length);
  Status AddChunk(PendingRef chunk);
  Status EndLeafHere();
  // Takes over a leaf of the parent's list that begins where this one has come to.
  Status AddStoredLeaf(const NodeRef& leaf);

  // Bytes and chunks added so far.
  uint64_t size() const { return size_; }
  uint64_t chunks() const { return chunks_; }

  // Encodes what is resolved without blocking.
  Status Poll();
  // Whether Finish would not block on content chunks.
  bool Ready() const { return pending_.empty(); }
  size_t pending() const { return pending_.size(); }
  Status Finish(format::StreamRoot* root);

 private:
  struct Hole {
    uint64_t length = 0;
  };
  struct LeafEnd {};
  using Item = std::variant<Hole, PendingRef, NodeRef, LeafEnd>;

  Status Drain(size_t pending_max);
  Status Encode(const Item& item);
  Status EncodeHole(uint64_t length);
  Status EncodeChunk(const ChunkRef& chunk);
  // Finds the parent's leaf that begins where the open one does.
  Status StartLeaf();
  Status EndLeaf();
  // Stores a leaf that begins at leaf_begin_.
  Status PutLeaf(const Bytes& leaf, uint64_t span, uint64_t chunks);
  uint64_t position() const { return leaf_begin_ + leaf_.span(); }

  PackWriter* const packs_;
  const HashSecret* const secret_;
  const NodeSource* const parent_nodes_;
  std::unique_ptr<NodeTreeReader> parent_;  // null without one, and at its end
  NodeTreeReader::Leaf parent_leaf_;        // the last one that parent_ came to
  uint64_t parent_end_ = 0;  // where the open leaf's counterpart ends; 0 if there is none
  std::deque<Item> pending_;
  RunLeafBuilder leaf_;
  uint64_t leaf_begin_ = 0;
  NodeTreeWriter tree_;
  bool keep_leaves_ = false;
  uint64_t size_ = 0;
  uint64_t chunks_ = 0;
};

// Walks the runs of one content in order, from any position.
class RunListReader {
 public:
  // `source` must outlive the reader.
  RunListReader(const NodeSource* source, const format::StreamRoot& root);

  uint64_t size() const { return tree_.span(); }
  // Makes the run that holds byte `offset` the next one.
  Status Seek(uint64_t offset);
  // False at the end. The pointer is valid until the next call.
  Result<const Run*> Next();  // null at the end

 private:
  const NodeSource* const source_;
  NodeTreeReader tree_;
  std::vector<Run> runs_;
  size_t next_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RUN_LIST_H_
