// ReferenceWalk: follows every reference of the snapshots and notes what they lead to that is gone.
//
// Subtrees that were found whole are not visited again, whichever snapshot shares them; damaged
// ones are, so that every path that suffers is named.
//
// Thread safety: one object, one thread at a time.
#ifndef SNAPSTORE_ENGINE_CHECK_WALK_H_
#define SNAPSTORE_ENGINE_CHECK_WALK_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/check_report.h"
#include "engine/check_scratch.h"
#include "engine/chunk_fetcher.h"
#include "engine/manifest.h"
#include "engine/node_tree.h"
#include "engine/progress.h"
#include "engine/run_list.h"

namespace snapstore {

// Under which heights CheckScratch has nodes found whole: one more for each level above the
// content.
inline constexpr uint8_t kEntryTreeHeight = 0x10;
inline constexpr uint8_t kRunTreeHeight = 0x20;

// Stands for the entries of a snapshot whose names are lost as well ("snapshot-id:/").
inline constexpr std::string_view kLostNames = "/";

class ReferenceWalk {
 public:
  // Under which kind the store has a pack, if it has it.
  using PackKindFn = std::function<std::optional<PackKind>(const PackId&)>;
  // Where chunks can be read; as ChunkIndex::FindMany.
  using FindChunksFn =
      std::function<Status(std::span<const ChunkId>, std::vector<std::optional<ChunkLocation>>*)>;

  // All must outlive the walk.
  ReferenceWalk(ChunkFetcher* fetcher, CheckScratch* scratch, ProblemLog* problems,
                FindChunksFn find_chunks, PackKindFn kind_of_pack, ProgressReporter* progress);

  // Whether everything can be read. Fails only when something could not be told, or as Cancelled.
  Result<bool> Visit(const Digest& id, const format::Manifest& manifest);

 private:
  // Gets one leaf; true when all below it is whole.
  using LeafFn = std::function<Result<bool>(ByteSpan, uint64_t span)>;
  struct Tree {
    uint8_t height_base;  // keeps node heights of different trees apart
    LeafFn leaf;
  };

  Result<bool> VisitTree(const format::StreamRoot& root, const Tree& tree);
  Result<bool> VisitChildren(const std::vector<NodeRef>& children, uint32_t depth,
                             const Tree& tree);
  Result<bool> VisitNode(const NodeRef& ref, uint32_t depth, const Tree& tree);
  Result<bool> VisitEntryLeaf(ByteSpan leaf, uint64_t span);
  Result<bool> VisitRunLeaf(ByteSpan leaf, uint64_t span);

  // Puts the loss of the current path down to the pack that should hold the chunk, or to the
  // snapshot if that pack is as it should be.
  void BlamePack(PackKind kind, const PackId& pack, const ChunkId& chunk);
  void BlameReference(PackKind kind, const ChunkRef& ref);
  void BlameSnapshot(const std::string& message);
  void BlamePackTable(const format::Manifest& manifest, const Status& status);
  std::string LostPath() const { return snapshot_ + ":" + path_; }

  ChunkFetcher* const fetcher_;
  CheckScratch* const scratch_;
  ProblemLog* const problems_;
  const FindChunksFn find_chunks_;
  const PackKindFn kind_of_pack_;
  ProgressReporter* const progress_;

  // Of the snapshot at hand.
  std::string snapshot_;
  std::string path_;
  std::unique_ptr<PackTable> packs_;
  std::unique_ptr<NodeSource> nodes_;

  std::vector<Run> runs_;  // scratch of VisitRunLeaf, as are these
  std::vector<ChunkId> ids_;
  std::vector<std::optional<ChunkLocation>> found_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CHECK_WALK_H_
