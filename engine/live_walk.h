// LiveWalk: every chunk that the snapshots need, metadata included.
//
// Subtrees that were walked before are not walked again, whichever snapshot shares them. Unlike a
// check it gives up at the first thing that cannot be read: what is needed is then not known.
//
// Thread safety: one object, one thread at a time.
#ifndef SNAPSTORE_ENGINE_LIVE_WALK_H_
#define SNAPSTORE_ENGINE_LIVE_WALK_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/check_scratch.h"
#include "engine/chunk_fetcher.h"
#include "engine/manifest.h"
#include "engine/node_tree.h"
#include "engine/progress.h"
#include "engine/run_list.h"

namespace snapstore {

class LiveWalk {
 public:
  // Gets a chunk and where a snapshot believes it to be; the same chunk perhaps several times. A
  // node is shown before it is read.
  using NeedFn = std::function<Status(PackKind kind, const StoredChunk&)>;

  // All must outlive the walk. `walked` remembers subtrees.
  LiveWalk(ChunkFetcher* fetcher, CheckScratch* walked, NeedFn need, ProgressReporter* progress)
      : fetcher_(fetcher), walked_(walked), need_(std::move(need)), progress_(progress) {}

  Status Visit(const Digest& id, const format::Manifest& manifest);

 private:
  using LeafFn = std::function<Status(ByteSpan, uint64_t span)>;
  struct Tree {
    uint8_t height_base;  // keeps node heights of different trees apart
    LeafFn leaf;
  };

  Status NeedPackTable(const format::Manifest& manifest);
  Status VisitTree(const format::StreamRoot& root, const Tree& tree);
  Status VisitChildren(const std::vector<NodeRef>& children, uint32_t depth, const Tree& tree);
  Status VisitNode(const NodeRef& ref, uint32_t depth, const Tree& tree);
  Status VisitEntryLeaf(ByteSpan leaf, uint64_t span);
  Status VisitRunLeaf(ByteSpan leaf, uint64_t span);
  Status Need(PackKind kind, const ChunkRef& ref);

  ChunkFetcher* const fetcher_;
  CheckScratch* const walked_;
  const NeedFn need_;
  ProgressReporter* const progress_;

  // Of the snapshot at hand.
  std::unique_ptr<PackTable> packs_;
  std::unique_ptr<NodeSource> nodes_;
  std::vector<Run> runs_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_LIVE_WALK_H_
