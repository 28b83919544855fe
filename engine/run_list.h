// Run lists: the content of a file or volume as holes and chunk references, in order.
//
// A run list is a node tree whose unit is one byte of content. Its leaves group references that lie
// in one frame. docs/format.md, "Run list".
//
// Thread safety: writers and readers belong to one thread at a time.
#ifndef SNAPSTORE_ENGINE_RUN_LIST_H_
#define SNAPSTORE_ENGINE_RUN_LIST_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/node_tree.h"

namespace snapstore {

// One step of a run list: a hole, or `count` repetitions of one chunk.
struct Run {
  uint64_t offset = 0;  // in the content
  uint64_t length = 0;  // of the whole run, bytes
  bool hole = false;
  ChunkRef chunk;  // valid unless hole
  uint64_t count = 1;
};

// Encodes one leaf.
class RunLeafBuilder {
 public:
  void AddHole(uint64_t length);
  void AddChunk(const ChunkRef& chunk);

  bool empty() const { return span_ == 0; }
  uint64_t span() const { return span_; }
  // Whether the leaf should end here (docs/format.md).
  bool Full() const { return full_; }
  // The encoding; the builder starts afresh.
  Bytes Take();

 private:
  void CloseGroup();
  void CloseRepeat();
  void CloseHole();

  Bytes bytes_;
  uint64_t span_ = 0;
  size_t items_ = 0;
  bool full_ = false;
  uint64_t hole_ = 0;            // length of the open hole
  std::vector<ChunkRef> group_;  // open references into one frame
  uint64_t repeat_ = 0;          // how often the last chunk came again
  ChunkRef last_;
  bool have_last_ = false;
};

// Runs of one leaf; the first begins at `begin`. Corruption unless they span `span` bytes.
Status ParseRunLeaf(ByteSpan leaf, uint64_t begin, uint64_t span, std::vector<Run>* out);

class RunListWriter {
 public:
  // Both must outlive the writer.
  RunListWriter(PackWriter* packs, const HashSecret* secret);

  Status AddHole(uint64_t length);
  Status AddChunk(PendingRef chunk);

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
  struct Item {
    uint64_t hole = 0;  // 0: a chunk
    PendingRef chunk;
  };

  Status Drain(size_t pending_max);
  Status Encode(const Item& item);

  PackWriter* const packs_;
  std::deque<Item> pending_;
  RunLeafBuilder leaf_;
  NodeTreeWriter tree_;
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
  NodeTreeReader& tree() { return tree_; }

 private:
  NodeTreeReader tree_;
  std::vector<Run> runs_;
  size_t next_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RUN_LIST_H_
