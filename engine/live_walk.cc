#include "engine/live_walk.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/entry_list.h"

namespace snapstore {
namespace {

constexpr uint8_t kLiveEntryTree = 0x10;
constexpr uint8_t kLiveRunTree = 0x20;

}  // namespace

Status LiveWalk::Visit(const Digest& id, const format::Manifest& manifest) {
  const std::string name = "snapshot " + id.ToHex();
  SNAP_RETURN_IF_ERROR(NeedPackTable(manifest).WithContext(name));
  Result<std::vector<PackId>> packs = ReadPackTable(manifest, fetcher_);
  if (!packs.ok()) return packs.status().WithContext(name);
  packs_ = std::make_unique<PackTable>(std::move(*packs));
  nodes_ = std::make_unique<NodeSource>(fetcher_, packs_.get());
  const Tree entries{kLiveEntryTree,
                     [this](ByteSpan leaf, uint64_t span) { return VisitEntryLeaf(leaf, span); }};
  return VisitTree(manifest.tree(), entries).WithContext(name);
}

Status LiveWalk::NeedPackTable(const format::Manifest& manifest) {
  for (const format::PackTableLeaf& leaf : manifest.pack_table()) {
    SNAP_ASSIGN_OR_RETURN(const StoredChunk chunk, PackTableChunk(leaf));
    SNAP_RETURN_IF_ERROR(need_(PackKind::kMeta, chunk));
  }
  return {};
}

Status LiveWalk::Need(PackKind kind, const ChunkRef& ref) {
  SNAP_ASSIGN_OR_RETURN(const StoredChunk chunk, nodes_->Resolve(ref));
  return need_(kind, chunk);
}

Status LiveWalk::VisitTree(const format::StreamRoot& root, const Tree& tree) {
  if (root.depth() == 0) return tree.leaf(AsBytes(root.nodes()), root.span());
  if (root.depth() > kNodeDepthMax) return Status::Corruption("a metadata tree is too deep");
  SNAP_ASSIGN_OR_RETURN(const std::vector<NodeRef> children,
                        ParseNode(AsBytes(root.nodes()), root.span()));
  return VisitChildren(children, root.depth(), tree);
}

Status LiveWalk::VisitChildren(const std::vector<NodeRef>& children, uint32_t depth,
                               const Tree& tree) {
  for (const NodeRef& child : children) {
    const auto height = static_cast<uint8_t>(tree.height_base + depth);
    SNAP_ASSIGN_OR_RETURN(const bool known, walked_->IsWhole(child.chunk.id, height));
    if (known) continue;
    SNAP_RETURN_IF_ERROR(progress_->Poll());
    SNAP_RETURN_IF_ERROR(Need(PackKind::kMeta, child.chunk));
    SNAP_RETURN_IF_ERROR(VisitNode(child, depth, tree));
    SNAP_RETURN_IF_ERROR(walked_->MarkWhole(child.chunk.id, height));
  }
  return {};
}

Status LiveWalk::VisitNode(const NodeRef& ref, uint32_t depth, const Tree& tree) {
  std::vector<NodeRef> children;
  {
    Bytes node;
    SNAP_RETURN_IF_ERROR(nodes_->ReadNode(ref.chunk, &node));
    if (depth == 1) return tree.leaf(node, ref.span);
    SNAP_ASSIGN_OR_RETURN(children, ParseNode(node, ref.span));
  }
  return VisitChildren(children, depth - 1, tree);
}

Status LiveWalk::VisitEntryLeaf(ByteSpan leaf, uint64_t span) {
  std::vector<format::Entry> entries;
  SNAP_RETURN_IF_ERROR(ParseEntryLeaf(leaf, span, &entries));
  const Tree runs{kLiveRunTree,
                  [this](ByteSpan bytes, uint64_t length) { return VisitRunLeaf(bytes, length); }};
  for (const format::Entry& entry : entries) {
    progress_->AddItems(1);
    if (!entry.has_content()) continue;
    SNAP_RETURN_IF_ERROR(progress_->Poll());
    SNAP_RETURN_IF_ERROR(VisitTree(entry.content().runs(), runs).WithContext(entry.path()));
  }
  return {};
}

Status LiveWalk::VisitRunLeaf(ByteSpan leaf, uint64_t span) {
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkRef> base, RunLeafBase(leaf));
  if (base.has_value()) SNAP_RETURN_IF_ERROR(Need(PackKind::kMeta, *base));
  SNAP_RETURN_IF_ERROR(ParseRunLeaf(leaf, /*begin=*/0, span, nodes_.get(), &runs_));
  for (const Run& run : runs_) {
    if (!run.hole) SNAP_RETURN_IF_ERROR(Need(PackKind::kData, run.chunk));
  }
  return {};
}

}  // namespace snapstore
