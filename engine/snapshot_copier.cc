#include "engine/snapshot_copier.h"

#include <utility>

#include "base/status_macros.h"
#include "engine/check_report.h"
#include "engine/run_list.h"
#include "engine/tree_walk.h"

namespace snapstore {

// Both lists end their leaves at the same bytes, and their chunks too. What cannot be read of them
// is no help, and no harm either.
class SnapshotCopier::BaseContent {
 public:
  BaseContent(const CopyBase& base, const format::Content& source, const format::Content& copy)
      : source_leaves_(base.source->nodes.get(), source.runs()),
        copy_leaves_(base.copy->nodes.get(), copy.runs()),
        source_runs_(base.source->nodes.get(), source.runs()),
        copy_runs_(base.copy->nodes.get(), copy.runs()) {}

  // The copy of `leaf`, which begins at `begin`, when the base has it there. REQUIRES: ascending
  // positions over all calls.
  Result<const NodeRef*> FindLeaf(const NodeRef& leaf, uint64_t begin) {
    const NodeRef* none = nullptr;
    SNAP_ASSIGN_OR_RETURN(const bool at, Advance(&source_leaves_, begin, &source_leaf_));
    if (!at || source_leaf_.ref.chunk.id != leaf.chunk.id || source_leaf_.span != leaf.span) {
      return none;
    }
    SNAP_ASSIGN_OR_RETURN(const bool copied, Advance(&copy_leaves_, begin, &copy_leaf_));
    return copied && copy_leaf_.span == leaf.span ? &copy_leaf_.ref : none;
  }

  // Where the copy has the chunk that `run` begins with, when the base has it at the same place.
  Result<std::optional<ChunkRef>> FindChunk(const Run& run) {
    const std::optional<ChunkRef> none;
    if (run.offset >= source_runs_.size()) return none;
    SNAP_RETURN_IF_ERROR(source_runs_.Seek(run.offset));
    SNAP_ASSIGN_OR_RETURN(const Run* const source, source_runs_.Next());
    if (source == nullptr || source->hole || source->chunk.id != run.chunk.id ||
        (run.offset - source->offset) % run.chunk.id.length != 0) {
      return none;
    }
    SNAP_RETURN_IF_ERROR(copy_runs_.Seek(run.offset));
    SNAP_ASSIGN_OR_RETURN(const Run* const copy, copy_runs_.Next());
    if (copy == nullptr || copy->hole || copy->chunk.id.length != run.chunk.id.length ||
        (run.offset - copy->offset) % run.chunk.id.length != 0) {
      return none;
    }
    return std::optional<ChunkRef>(copy->chunk);
  }

 private:
  // Whether a stored leaf begins at `begin`.
  static Result<bool> Advance(NodeTreeReader* leaves, uint64_t begin, NodeTreeReader::Leaf* leaf) {
    while (leaf->begin + leaf->span <= begin) {
      SNAP_ASSIGN_OR_RETURN(const bool more, leaves->NextRef(leaf));
      if (!more) return false;
    }
    return leaf->stored && leaf->begin == begin;
  }

  NodeTreeReader source_leaves_;
  NodeTreeReader copy_leaves_;
  NodeTreeReader::Leaf source_leaf_;
  NodeTreeReader::Leaf copy_leaf_;
  RunListReader source_runs_;
  RunListReader copy_runs_;
};

SnapshotCopier::SnapshotCopier(const OpenedSnapshot* snapshot, const CopyBase& base,
                               const CopyWindowOptions& options, WriteSession* session,
                               ProgressReporter* progress, CopyWindow::FailedFn failed)
    : snapshot_(*snapshot),
      base_(base),
      progress_(progress),
      source_entries_(base.source),
      copy_entries_(base.copy),
      entries_(&session->packs(), &session->secret()),
      window_(options, session, &entries_, progress, std::move(failed)) {}

Status SnapshotCopier::Copy(format::StreamRoot* tree) {
  EntryListReader reader(snapshot_.nodes.get(), snapshot_.manifest.tree());
  while (true) {
    SNAP_RETURN_IF_ERROR(progress_->Poll());
    SNAP_ASSIGN_OR_RETURN(const format::Entry* const entry, reader.Next());
    if (entry == nullptr) break;
    progress_->AddItems(1);
    progress_->SetCurrent(entry->path());
    SNAP_RETURN_IF_ERROR(CopyEntry(*entry));
  }
  SNAP_RETURN_IF_ERROR(window_.Flush());
  return entries_.Finish(tree);
}

Status SnapshotCopier::FindBase(const std::string& path, std::optional<format::Content>* source,
                                std::optional<format::Content>* copy) {
  if (base_.source == nullptr || !base_readable_) return {};
  const Result<const format::Entry*> in_source = source_entries_.Find(path);
  if (in_source.ok() && *in_source == nullptr) return {};
  const Result<const format::Entry*> in_copy = copy_entries_.Find(path);
  for (const Status& status : {in_source.status(), in_copy.status()}) {
    if (status.ok()) continue;
    // A base that is damaged is as good as none.
    base_readable_ = false;
    return IsDamage(status) ? Status() : status;
  }
  if (*in_copy == nullptr || !(*in_source)->has_content() || !(*in_copy)->has_content() ||
      (*in_source)->size() != (*in_copy)->size()) {
    return {};
  }
  *source = (*in_source)->content();
  *copy = (*in_copy)->content();
  return {};
}

Status SnapshotCopier::CopyEntry(const format::Entry& entry) {
  if (!entry.has_content()) return window_.AddEntry(entry);
  std::optional<format::Content> source;
  std::optional<format::Content> copy;
  SNAP_RETURN_IF_ERROR(FindBase(entry.path(), &source, &copy));
  if (source.has_value() &&
      source->runs().SerializeAsString() == entry.content().runs().SerializeAsString()) {
    format::Entry same = entry;
    *same.mutable_content()->mutable_runs() = copy->runs();
    progress_->AddBytes(entry.size());
    return window_.AddEntry(std::move(same));
  }
  SNAP_RETURN_IF_ERROR(window_.BeginContent(entry, copy));
  std::unique_ptr<BaseContent> base;
  if (source.has_value()) base = std::make_unique<BaseContent>(base_, *source, *copy);
  SNAP_RETURN_IF_ERROR(CopyRuns(entry, base.get()));
  return window_.EndContent();
}

Status SnapshotCopier::CopyRuns(const format::Entry& entry, BaseContent* base) {
  const TreeVisitor visitor{
      .enter = [&](const NodeRef& node, uint32_t depth, uint64_t begin) -> Result<bool> {
        SNAP_RETURN_IF_ERROR(progress_->Poll());
        if (depth > 1 || base == nullptr) return true;
        const Result<const NodeRef*> copy = base->FindLeaf(node, begin);
        if (!copy.ok() && !IsDamage(copy.status())) return copy.status();
        if (!copy.ok() || *copy == nullptr) return true;
        progress_->AddBytes(node.span);
        SNAP_RETURN_IF_ERROR(window_.AddStoredLeaf(**copy));
        return false;
      },
      .leaf = [&](const NodeTreeReader::Leaf& leaf) { return CopyLeaf(leaf, base); },
      .lost = [&](uint64_t, uint64_t, const Status& cause) { return window_.Lose(cause); }};
  return WalkTree(*snapshot_.nodes, entry.content().runs(), visitor);
}

Status SnapshotCopier::CopyLeaf(const NodeTreeReader::Leaf& leaf, BaseContent* base) {
  const Status parsed =
      ParseRunLeaf(leaf.bytes, leaf.begin, leaf.span, snapshot_.nodes.get(), &runs_);
  if (!parsed.ok()) return IsDamage(parsed) ? window_.Lose(parsed) : parsed;
  for (const Run& run : runs_) {
    progress_->AddBytes(run.length);
    if (run.hole) {
      SNAP_RETURN_IF_ERROR(window_.AddHole(run.length));
      continue;
    }
    std::optional<ChunkRef> known;
    if (base != nullptr) {
      Result<std::optional<ChunkRef>> found = base->FindChunk(run);
      if (!found.ok() && !IsDamage(found.status())) return found.status();
      if (found.ok()) known = *found;
    }
    if (known.has_value()) {
      SNAP_RETURN_IF_ERROR(window_.AddKnown(*known, run.count));
      continue;
    }
    const Result<StoredChunk> chunk = snapshot_.nodes->Resolve(run.chunk);
    SNAP_RETURN_IF_ERROR(chunk.ok() ? window_.AddChunk(*chunk, run.count)
                                    : window_.Lose(chunk.status()));
  }
  return leaf.stored ? window_.EndLeaf() : Status();
}

}  // namespace snapstore
