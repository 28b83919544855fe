// Node trees: long metadata lists, chunked and deduplicated like content.
//
// A list is cut into leaves; leaves are chunks of meta packs, listed by inner nodes, which are
// chunks too, up to a root that fits into its owner. Where leaves and inner nodes end is decided by
// content, so that a small change of the list rewrites a few nodes only. docs/format.md, "Node
// trees".
//
// Thread safety: writers and readers belong to one thread at a time; NodeSource may be shared.
#ifndef SNAPSTORE_ENGINE_NODE_TREE_H_
#define SNAPSTORE_ENGINE_NODE_TREE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "engine/chunk_fetcher.h"
#include "engine/format.h"
#include "engine/pack_table.h"
#include "engine/pack_writer.h"

namespace snapstore {

namespace format {
class StreamRoot;
}

// Inner nodes above the leaves at most; a reader refuses deeper trees.
inline constexpr uint32_t kNodeDepthMax = 8;

// One child of an inner node.
struct NodeRef {
  ChunkRef chunk;
  uint64_t span = 0;   // of everything below it, in the list's own unit
  uint64_t items = 0;  // below it, in lists that count them
};

class NodeTreeWriter {
 public:
  // Both must outlive the writer.
  NodeTreeWriter(PackWriter* packs, const HashSecret* secret) : packs_(packs), secret_(secret) {}

  // Adds the list's next leaf.
  Status AddLeaf(ByteSpan leaf, uint64_t span, uint64_t items = 0);
  // Adds a leaf that is stored already, as the parent's metadata names it.
  Status AddStoredLeaf(const NodeRef& leaf);
  bool empty() const { return levels_.empty(); }

  // Whether `rest`, as the last leaf, would be kept inside the root: a short list of one leaf.
  bool FitsRoot(ByteSpan rest) const;
  // Ends the list. `rest` is the last leaf (may be empty, with span 0).
  Status Finish(ByteSpan rest, uint64_t span, format::StreamRoot* root);

 private:
  struct Pending {
    PendingRef ref;
    uint64_t span = 0;
    uint64_t items = 0;
  };
  struct Level {
    std::deque<Pending> pending;  // children whose place is not known yet
    Bytes node;                   // encoded children of the open node
    size_t children = 0;
    uint64_t span = 0;
    uint64_t items = 0;
    uint64_t nodes_closed = 0;
  };

  Status AddChild(size_t level, Pending child);
  Status Drain(size_t level, bool all);
  Status CloseNode(size_t level);

  PackWriter* const packs_;
  const HashSecret* const secret_;
  std::vector<Level> levels_;  // [0]: nodes that list leaves
};

// Where nodes are read from.
class NodeSource {
 public:
  // Both must outlive the source.
  NodeSource(ChunkFetcher* fetcher, const PackTable* table) : fetcher_(fetcher), table_(table) {}

  Result<StoredChunk> Resolve(const ChunkRef& ref) const;
  Status ReadNode(const ChunkRef& ref, Bytes* out) const;
  // Begins to fetch nodes that will be read.
  void ReadAhead(std::span<const NodeRef> nodes) const;
  ChunkFetcher* fetcher() const { return fetcher_; }
  // Whether a node that was read was damaged or missing.
  bool damaged() const { return damaged_; }

 private:
  ChunkFetcher* const fetcher_;
  const PackTable* const table_;
  mutable std::atomic<bool> damaged_ = false;
};

// Walks the leaves of one tree from front to back, or from a given position. From the second leaf
// on, those to come are fetched ahead where the store is far away.
class NodeTreeReader {
 public:
  // `source` must outlive the reader. The root is copied.
  NodeTreeReader(const NodeSource* source, const format::StreamRoot& root);

  uint64_t span() const { return span_; }

  struct Leaf {
    Bytes bytes;
    uint64_t begin = 0;  // position of its first unit in the list
    uint64_t span = 0;
    bool stored = false;  // false: it lies inside the root
    NodeRef ref;          // valid when stored
  };

  // Goes to the leaf that holds position `at`; beyond the end is allowed and yields no leaf. Reads
  // no node again that leads to the present leaf as well.
  Status Seek(uint64_t at);
  // False at the end.
  Result<bool> Next(Leaf* leaf);
  // As Next, without reading the leaf's bytes.
  Result<bool> NextRef(Leaf* leaf);
  Status ReadBytes(Leaf* leaf) const;

 private:
  struct Frame {
    std::vector<NodeRef> children;
    size_t next = 0;
    uint64_t begin = 0;  // position of children[next]
    uint64_t first = 0;  // position of children[0]
    uint64_t end = 0;    // position after the last child
    // Children before `ahead` were asked for; more are when the reader comes to `ahead_from`.
    size_t ahead = 0;
    size_t ahead_from = 0;
  };

  Status Open();
  Status Descend(uint64_t at);
  // To be called when children[at] of a frame is about to be read.
  void ReadAhead(Frame* frame, size_t at, size_t frames_max) const;

  const NodeSource* const source_;
  uint32_t depth_ = 0;
  Bytes root_;
  uint64_t span_ = 0;
  bool opened_ = false;
  bool inline_done_ = false;
  size_t leaves_read_ = 0;    // since the last Seek
  std::vector<Frame> stack_;  // [0]: the root's children
};

// A reference's encoding.
void AppendChunkRef(const ChunkRef& ref, Bytes* out);
Result<ChunkRef> ParseChunkRef(ByteReader* reader);
// An inner node's encoding, exposed for tests and fuzzing.
void AppendNodeRef(const NodeRef& ref, Bytes* out);
// Corruption unless the children span `span` together.
Result<std::vector<NodeRef>> ParseNode(ByteSpan node, uint64_t span);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_NODE_TREE_H_
