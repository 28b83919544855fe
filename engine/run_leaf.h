// Leaves of run lists: records of holes and references. docs/format.md, "Run list".
//
// A leaf either stands on its own or is based on one that does: then it says what differs. Process
// memory changes at random pages, which lie in nearly every leaf; written anew, those would
// outweigh the pages.
//
// Thread safety: builders belong to one thread; the rest are pure functions.
#ifndef SNAPSTORE_ENGINE_RUN_LEAF_H_
#define SNAPSTORE_ENGINE_RUN_LEAF_H_

#include <cstdint>
#include <optional>
#include <span>
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
  // Chunks so far, with repetitions.
  uint64_t chunks() const { return chunks_; }
  // Chunks and holes so far, without repetitions.
  size_t items() const { return items_; }
  // Whether the last chunk is one that a leaf ends after (docs/format.md).
  bool EndsHere() const { return ends_here_; }
  // Whether the leaf may not grow further.
  bool Full() const;

  // For a leaf that says what differs from another. REQUIRES: empty().
  void StartFrom(const ChunkRef& base);
  // The next `length` bytes are as in the base. REQUIRES: they are whole runs and repetitions of
  // it, or parts of its holes.
  void Keep(uint64_t length);

  // The encoding; the builder starts afresh.
  Bytes Take();

 private:
  void CloseGroup();
  void CloseRepeat();
  void CloseHole();
  void CloseKept();

  Bytes bytes_;
  uint64_t span_ = 0;
  size_t items_ = 0;
  uint64_t chunks_ = 0;
  bool ends_here_ = false;
  uint64_t hole_ = 0;            // length of the open hole
  uint64_t kept_ = 0;            // length of the open part that is the base's
  std::vector<ChunkRef> group_;  // open references into one frame
  uint64_t repeat_ = 0;          // how often the last chunk came again
  ChunkRef last_;
  bool have_last_ = false;
};

// Runs of one leaf; the first begins at `begin`. Corruption unless they span `span` bytes. The leaf
// it is based on, if any, is read from `bases`; null: it may have none.
Status ParseRunLeaf(ByteSpan leaf, uint64_t begin, uint64_t span, const NodeSource* bases,
                    std::vector<Run>* out);

// The leaf that `leaf` is based on; empty if it stands on its own.
Result<std::optional<ChunkRef>> RunLeafBase(ByteSpan leaf);

// The leaf that holds `runs`, as changes to `base`, which holds `base_runs` and stands on its own.
// REQUIRES: both cover the same bytes of the content.
Bytes EncodeRunLeafChanges(const ChunkRef& base, std::span<const Run> base_runs,
                           std::span<const Run> runs);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RUN_LEAF_H_
