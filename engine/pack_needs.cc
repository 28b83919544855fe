#include "engine/pack_needs.h"

#include "base/status_macros.h"
#include "engine/check_report.h"
#include "engine/entry_list.h"
#include "engine/manifest.h"
#include "engine/tree_walk.h"

namespace snapstore {
namespace {

// Apart from the heights under which ReferenceWalk marks nodes.
constexpr uint8_t kNeededEntryTree = 0x40;
constexpr uint8_t kNeededRunTree = 0x50;

}  // namespace

PackNeeds::PackNeeds(CheckScratch* scratch, LocateFn locate, ExistsFn exists,
                     ProgressReporter* progress)
    : scratch_(scratch),
      locate_(std::move(locate)),
      exists_(std::move(exists)),
      progress_(progress) {}

Status PackNeeds::Add(const OpenedSnapshot& snapshot) {
  snapshot_ = &snapshot;
  known_.assign(snapshot.packs->size(), Known::kNot);
  for (const format::PackTableLeaf& leaf : snapshot.manifest.pack_table()) {
    const Result<StoredChunk> chunk = PackTableChunk(leaf);
    if (chunk.ok()) packs_.insert(chunk->pack);
  }
  return AddTree(snapshot.manifest.tree(), kNeededEntryTree,
                 [this](const NodeTreeReader::Leaf& leaf) { return AddEntryLeaf(leaf); });
}

Status PackNeeds::AddTree(const format::StreamRoot& root, uint8_t height_base,
                          const std::function<Status(const NodeTreeReader::Leaf&)>& leaf) {
  const TreeVisitor visitor{
      .enter = [&](const NodeRef& node, uint32_t depth, uint64_t) -> Result<bool> {
        SNAP_RETURN_IF_ERROR(progress_->Poll());
        SNAP_RETURN_IF_ERROR(AddReference(node.chunk));
        const auto height = static_cast<uint8_t>(height_base + depth);
        SNAP_ASSIGN_OR_RETURN(const bool seen, scratch_->IsWhole(node.chunk.id, height));
        if (!seen) SNAP_RETURN_IF_ERROR(scratch_->MarkWhole(node.chunk.id, height));
        return !seen;
      },
      .leaf = leaf,
      .lost = [](uint64_t, uint64_t, const Status&) { return Status(); }};
  return WalkTree(*snapshot_->nodes, root, visitor);
}

Status PackNeeds::AddEntryLeaf(const NodeTreeReader::Leaf& leaf) {
  std::vector<format::Entry> entries;
  if (!ParseEntryLeaf(leaf.bytes, leaf.span, &entries).ok()) return {};
  for (const format::Entry& entry : entries) {
    progress_->AddItems(1);
    if (!entry.has_content()) continue;
    SNAP_RETURN_IF_ERROR(
        AddTree(entry.content().runs(), kNeededRunTree,
                [this](const NodeTreeReader::Leaf& runs) { return AddRunLeaf(runs); }));
  }
  return {};
}

Status PackNeeds::AddRunLeaf(const NodeTreeReader::Leaf& leaf) {
  const Result<std::optional<ChunkRef>> base = RunLeafBase(leaf.bytes);
  if (base.ok() && base->has_value()) SNAP_RETURN_IF_ERROR(AddReference(**base));
  const Status parsed =
      ParseRunLeaf(leaf.bytes, leaf.begin, leaf.span, snapshot_->nodes.get(), &runs_);
  if (!parsed.ok()) return IsDamage(parsed) ? Status() : parsed;
  for (const Run& run : runs_) {
    if (!run.hole) SNAP_RETURN_IF_ERROR(AddReference(run.chunk));
  }
  return {};
}

Status PackNeeds::AddReference(const ChunkRef& ref) {
  const Result<PackId> pack = snapshot_->packs->PackAt(ref.pack);
  if (!pack.ok()) return {};
  Known& known = known_[ref.pack];
  if (known == Known::kNot) {
    known = exists_(*pack) ? Known::kExists : Known::kGone;
    if (known == Known::kExists) packs_.insert(*pack);
  }
  if (known == Known::kExists) return {};
  SNAP_ASSIGN_OR_RETURN(const std::optional<ChunkLocation> found, locate_(ref.id));
  if (found.has_value()) packs_.insert(found->pack);
  return {};
}

}  // namespace snapstore
