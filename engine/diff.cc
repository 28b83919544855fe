#include <map>

#include "base/status_macros.h"
#include "engine/diff_content.h"
#include "engine/entry_list.h"
#include "engine/entry_walk.h"
#include "engine/leaf_cursor.h"
#include "engine/progress.h"
#include "engine/repository_impl.h"
#include "snapstore/inspect.h"

namespace snapstore {
namespace {

// The entries of one snapshot.
class EntryCursor : public LeafCursor<format::Entry> {
 public:
  explicit EntryCursor(const OpenedSnapshot& snapshot)
      : LeafCursor(snapshot.nodes.get(), snapshot.manifest.tree(),
                   [this](const auto& leaf, auto* entries) { return ParseLeaf(leaf, entries); }) {}

 private:
  Status ParseLeaf(const NodeTreeReader::Leaf& leaf, std::vector<format::Entry>* entries) {
    SNAP_RETURN_IF_ERROR(ParseEntryLeaf(leaf.bytes, leaf.span, entries));
    for (const format::Entry& next : *entries) {
      if (!last_path_.empty() && ComparePaths(last_path_, next.path()) >= 0) {
        return Status::Corruption("entries are out of order");
      }
      last_path_ = next.path();
    }
    return {};
  }

  std::string last_path_;
};

bool HasContent(const format::Entry& entry) {
  return entry.type() == static_cast<uint32_t>(EntryType::kFile) ||
         entry.type() == static_cast<uint32_t>(EntryType::kVolume);
}

bool SameMetadata(const format::Entry& a, const format::Entry& b) {
  // What moves a directory's time, names coming and going, is listed by itself.
  const bool directory = a.type() == static_cast<uint32_t>(EntryType::kDirectory);
  if (a.mode() != b.mode() || a.uid() != b.uid() || a.gid() != b.gid() ||
      (a.mtime_ns() != b.mtime_ns() && !directory) || a.rdev() != b.rdev() ||
      a.symlink_target() != b.symlink_target() || a.hard_link_to() != b.hard_link_to() ||
      a.xattrs_size() != b.xattrs_size()) {
    return false;
  }
  for (int i = 0; i < a.xattrs_size(); ++i) {
    if (a.xattrs(i).name() != b.xattrs(i).name() || a.xattrs(i).value() != b.xattrs(i).value()) {
      return false;
    }
  }
  return true;
}

class SnapshotDiff {
 public:
  SnapshotDiff(const OpenedSnapshot* before, const OpenedSnapshot* after,
               const std::function<Status(const DiffEntry&)>& visit, ProgressReporter* progress)
      : before_(*before), after_(*after), visit_(visit), progress_(*progress) {}

  Result<DiffSummary> Run();

 private:
  Status Added(const format::Entry& entry);
  Status Removed(const format::Entry& entry);
  Status Both(const format::Entry& a, const format::Entry& b);
  Status CompareContent(const format::Entry& a, const format::Entry& b, DiffEntry* out,
                        bool* changed);

  const OpenedSnapshot& before_;
  const OpenedSnapshot& after_;
  const std::function<Status(const DiffEntry&)>& visit_;
  ProgressReporter& progress_;
  DiffSummary summary_;
  // Changed files that other names may link to; the links come later in the list.
  std::map<std::string, std::vector<ByteRange>> changed_targets_;
};

Result<DiffSummary> SnapshotDiff::Run() {
  EntryCursor a(before_);
  EntryCursor b(after_);
  SNAP_RETURN_IF_ERROR(a.Start());
  SNAP_RETURN_IF_ERROR(b.Start());
  while (true) {
    SNAP_RETURN_IF_ERROR(progress_.Poll());
    SNAP_RETURN_IF_ERROR(SkipSharedLeaves<format::Entry>(LeafPlace::kAny, &a, &b));
    SNAP_RETURN_IF_ERROR(a.Fill().WithContext("snapshot " + before_.id.ToHex()));
    SNAP_RETURN_IF_ERROR(b.Fill().WithContext("snapshot " + after_.id.ToHex()));
    if (a.record() == nullptr && b.record() == nullptr) return summary_;
    int order = 0;
    if (a.record() == nullptr) {
      order = 1;
    } else if (b.record() == nullptr) {
      order = -1;
    } else {
      order = ComparePaths(a.record()->path(), b.record()->path());
    }
    progress_.AddItems(1);
    if (order < 0) {
      SNAP_RETURN_IF_ERROR(Removed(*a.record()));
    } else if (order > 0) {
      SNAP_RETURN_IF_ERROR(Added(*b.record()));
    } else {
      SNAP_RETURN_IF_ERROR(Both(*a.record(), *b.record()).WithContext(b.record()->path()));
    }
    if (order <= 0) a.Advance();
    if (order >= 0) b.Advance();
  }
}

Status SnapshotDiff::Added(const format::Entry& entry) {
  ++summary_.added;
  if (HasContent(entry) && entry.hard_link_to().empty()) summary_.bytes_changed += entry.size();
  DiffEntry out;
  out.path = entry.path();
  out.change = DiffEntry::Change::kAdded;
  out.size_after = entry.size();
  return visit_(out);
}

Status SnapshotDiff::Removed(const format::Entry& entry) {
  ++summary_.removed;
  DiffEntry out;
  out.path = entry.path();
  out.change = DiffEntry::Change::kRemoved;
  out.size_before = entry.size();
  return visit_(out);
}

Status SnapshotDiff::Both(const format::Entry& a, const format::Entry& b) {
  DiffEntry out;
  out.path = b.path();
  out.size_before = a.size();
  out.size_after = b.size();
  if (a.type() != b.type()) {
    out.change = DiffEntry::Change::kType;
  } else {
    bool content_changed = false;
    if (HasContent(b)) SNAP_RETURN_IF_ERROR(CompareContent(a, b, &out, &content_changed));
    if (!content_changed && SameMetadata(a, b)) return {};
    out.change = content_changed ? DiffEntry::Change::kContent : DiffEntry::Change::kMetadata;
  }
  ++summary_.changed;
  // The bytes of a hard link were counted with its target.
  if (b.hard_link_to().empty()) {
    for (const ByteRange& range : out.ranges) summary_.bytes_changed += range.length;
  }
  return visit_(out);
}

Status SnapshotDiff::CompareContent(const format::Entry& a, const format::Entry& b, DiffEntry* out,
                                    bool* changed) {
  *changed = a.size() != b.size();
  if (!a.hard_link_to().empty() && a.hard_link_to() == b.hard_link_to()) {
    const auto it = changed_targets_.find(b.hard_link_to());
    if (it == changed_targets_.end()) return {};
    out->ranges = it->second;
    *changed = true;
    return {};
  }
  SNAP_ASSIGN_OR_RETURN(const format::Entry holder_a, FindContent(before_, a));
  SNAP_ASSIGN_OR_RETURN(const format::Entry holder_b, FindContent(after_, b));
  const format::StreamRoot& runs_a = holder_a.content().runs();
  const format::StreamRoot& runs_b = holder_b.content().runs();
  if (runs_a.depth() == runs_b.depth() && runs_a.span() == runs_b.span() &&
      runs_a.nodes() == runs_b.nodes()) {
    return {};
  }
  SNAP_RETURN_IF_ERROR(DiffContent(*before_.nodes, runs_a, *after_.nodes, runs_b, &out->ranges));
  *changed = *changed || !out->ranges.empty();
  if (*changed && b.links() > 1) changed_targets_[b.path()] = out->ranges;
  return {};
}

}  // namespace

Result<DiffSummary> DiffSnapshots(Repository& repository, const std::string& before,
                                  const std::string& after,
                                  const std::function<Status(const DiffEntry&)>& visit,
                                  Observer* observer) {
  RepositoryImpl& impl = RepositoryImpl::Of(repository);
  ProgressReporter progress(observer, "diff");
  SNAP_ASSIGN_OR_RETURN(const Digest before_id, Digest::FromHex(before));
  SNAP_ASSIGN_OR_RETURN(const Digest after_id, Digest::FromHex(after));
  SNAP_ASSIGN_OR_RETURN(const OpenedSnapshot a, impl.OpenSnapshot(before_id));
  SNAP_ASSIGN_OR_RETURN(const OpenedSnapshot b, impl.OpenSnapshot(after_id));
  return SnapshotDiff(&a, &b, visit, &progress).Run();
}

}  // namespace snapstore
