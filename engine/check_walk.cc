#include "engine/check_walk.h"

#include <fmt/format.h>

#include "base/status_macros.h"
#include "engine/entry_list.h"
#include "engine/manifest.h"

namespace snapstore {
ReferenceWalk::ReferenceWalk(ChunkFetcher* fetcher, CheckScratch* scratch, ProblemLog* problems,
                             FindChunksFn find_chunks, PackKindFn kind_of_pack,
                             ProgressReporter* progress)
    : fetcher_(fetcher),
      scratch_(scratch),
      problems_(problems),
      find_chunks_(std::move(find_chunks)),
      kind_of_pack_(std::move(kind_of_pack)),
      progress_(progress) {}

Result<bool> ReferenceWalk::Visit(const Digest& id, const format::Manifest& manifest) {
  snapshot_ = id.ToHex();
  path_ = kLostNames;
  Result<std::vector<PackId>> packs = ReadPackTable(manifest, fetcher_);
  if (!packs.ok()) {
    if (!IsDamage(packs.status())) return packs.status();
    BlamePackTable(manifest, packs.status());
    return false;
  }
  packs_ = std::make_unique<PackTable>(std::move(*packs));
  nodes_ = std::make_unique<NodeSource>(fetcher_, packs_.get());
  const Tree entries{kEntryTreeHeight,
                     [this](ByteSpan leaf, uint64_t span) { return VisitEntryLeaf(leaf, span); }};
  return VisitTree(manifest.tree(), entries);
}

Result<bool> ReferenceWalk::VisitTree(const format::StreamRoot& root, const Tree& tree) {
  if (root.depth() == 0) return tree.leaf(AsBytes(root.nodes()), root.span());
  if (root.depth() > kNodeDepthMax) {
    BlameSnapshot("a metadata tree is too deep");
    return false;
  }
  const Result<std::vector<NodeRef>> children = ParseNode(AsBytes(root.nodes()), root.span());
  if (!children.ok()) {
    BlameSnapshot(children.status().message());
    return false;
  }
  return VisitChildren(*children, root.depth(), tree);
}

Result<bool> ReferenceWalk::VisitChildren(const std::vector<NodeRef>& children, uint32_t depth,
                                          const Tree& tree) {
  bool whole = true;
  for (const NodeRef& child : children) {
    const auto height = static_cast<uint8_t>(tree.height_base + depth);
    SNAP_ASSIGN_OR_RETURN(const bool known, scratch_->IsWhole(child.chunk.id, height));
    if (known) continue;
    SNAP_RETURN_IF_ERROR(progress_->Poll());
    SNAP_ASSIGN_OR_RETURN(const bool child_whole, VisitNode(child, depth, tree));
    if (child_whole) SNAP_RETURN_IF_ERROR(scratch_->MarkWhole(child.chunk.id, height));
    whole = whole && child_whole;
  }
  return whole;
}

Result<bool> ReferenceWalk::VisitNode(const NodeRef& ref, uint32_t depth, const Tree& tree) {
  std::vector<NodeRef> children;
  {
    Bytes node;
    if (Status status = nodes_->ReadNode(ref.chunk, &node); !status.ok()) {
      if (!IsDamage(status)) return status;
      BlameReference(PackKind::kMeta, ref.chunk);
      return false;
    }
    if (depth == 1) return tree.leaf(node, ref.span);
    Result<std::vector<NodeRef>> parsed = ParseNode(node, ref.span);
    if (!parsed.ok()) {
      BlameSnapshot(parsed.status().message());
      return false;
    }
    children = std::move(*parsed);
  }
  return VisitChildren(children, depth - 1, tree);
}

Result<bool> ReferenceWalk::VisitEntryLeaf(ByteSpan leaf, uint64_t span) {
  std::vector<format::Entry> entries;
  if (Status status = ParseEntryLeaf(leaf, span, &entries); !status.ok()) {
    BlameSnapshot(status.message());
    return false;
  }
  const Tree runs{kRunTreeHeight,
                  [this](ByteSpan bytes, uint64_t length) { return VisitRunLeaf(bytes, length); }};
  bool whole = true;
  for (const format::Entry& entry : entries) {
    progress_->AddItems(1);
    if (!entry.has_content()) continue;
    SNAP_RETURN_IF_ERROR(progress_->Poll());
    path_ = entry.path();
    SNAP_ASSIGN_OR_RETURN(const bool content_whole, VisitTree(entry.content().runs(), runs));
    whole = whole && content_whole;
  }
  path_ = kLostNames;
  return whole;
}

Result<bool> ReferenceWalk::VisitRunLeaf(ByteSpan leaf, uint64_t span) {
  const Result<std::optional<ChunkRef>> base = RunLeafBase(leaf);
  Status status = base.status();
  if (base.ok() && base->has_value()) {
    Bytes bytes;
    if (const Status read = nodes_->ReadNode(**base, &bytes); !read.ok()) {
      if (!IsDamage(read)) return read;
      BlameReference(PackKind::kMeta, **base);
      return false;
    }
  }
  if (status.ok()) status = ParseRunLeaf(leaf, /*begin=*/0, span, nodes_.get(), &runs_);
  if (!status.ok()) {
    if (!IsDamage(status)) return status;
    BlameSnapshot(status.message());
    return false;
  }
  std::erase_if(runs_, [](const Run& run) { return run.hole; });
  ids_.clear();
  for (const Run& run : runs_) ids_.push_back(run.chunk.id);
  SNAP_RETURN_IF_ERROR(find_chunks_(ids_, &found_));
  bool whole = true;
  for (size_t i = 0; i < runs_.size(); ++i) {
    const ChunkRef& ref = runs_[i].chunk;
    if (!found_[i].has_value() || !packs_->PackAt(ref.pack).ok()) {
      BlameReference(PackKind::kData, ref);
      whole = false;
    }
  }
  return whole;
}

void ReferenceWalk::BlameReference(PackKind kind, const ChunkRef& ref) {
  const Result<PackId> pack = packs_->PackAt(ref.pack);
  if (pack.ok()) {
    BlamePack(kind, *pack, ref.id);
  } else {
    BlameSnapshot(pack.status().message());
  }
}

void ReferenceWalk::BlamePack(PackKind kind, const PackId& pack, const ChunkId& chunk) {
  const std::optional<PackKind> stored_kind = kind_of_pack_(pack);
  const std::string object = PackKey(stored_kind.value_or(kind), pack).text();
  if (!stored_kind.has_value()) {
    problems_->AddLoss(object, "pack is missing", LostPath());
  } else if (problems_->Has(object)) {
    problems_->AddLoss(object, "", LostPath());
  } else if (kind == PackKind::kMeta) {
    problems_->AddLoss(object, "chunk " + chunk.ToHex() + " cannot be read", LostPath());
  } else {
    BlameSnapshot("chunk " + chunk.ToHex() + " is in no pack");
  }
}

void ReferenceWalk::BlameSnapshot(const std::string& message) {
  problems_->AddLoss("snapshot " + snapshot_, message, LostPath());
}

void ReferenceWalk::BlamePackTable(const format::Manifest& manifest, const Status& status) {
  BlameSnapshot("the pack table cannot be read: " + status.message());
  for (const format::PackTableLeaf& leaf : manifest.pack_table()) {
    const Result<StoredChunk> chunk = PackTableChunk(leaf);
    if (!chunk.ok()) continue;
    const std::optional<PackKind> kind = kind_of_pack_(chunk->pack);
    if (!kind.has_value() || problems_->Has(PackKey(*kind, chunk->pack).text())) {
      BlamePack(PackKind::kMeta, chunk->pack, chunk->id);
    }
  }
}

}  // namespace snapstore
