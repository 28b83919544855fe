#include "engine/restore_tree.h"

#include <algorithm>

#include "base/status_macros.h"
#include "engine/entry_list.h"
#include "engine/entry_walk.h"
#include "engine/restore_metadata.h"

namespace snapstore {
namespace {

// Bounds memory: beyond this many, hard links become files of their own.
constexpr size_t kStandInsMax = 65536;

bool HasContent(EntryType type) { return type == EntryType::kFile || type == EntryType::kVolume; }

mode_t NodeType(EntryType type) {
  switch (type) {
    case EntryType::kFifo:
      return S_IFIFO;
    case EntryType::kSocket:
      return S_IFSOCK;
    case EntryType::kCharDevice:
      return S_IFCHR;
    default:
      return S_IFBLK;
  }
}

}  // namespace

TreeRestorer::TreeRestorer(RepositoryImpl* repository, const OpenedSnapshot* snapshot,
                           std::vector<std::string> roots, OutputContext* context)
    : snapshot_(snapshot),
      roots_(std::move(roots)),
      tree_(context->tree),
      context_(context),
      report_(context->report),
      content_(repository, snapshot, context) {
  tree_->OnParentMade([this](const std::string& path) {
    const bool above = std::any_of(roots_.begin(), roots_.end(), [&](const std::string& root) {
      return PathIsWithin(root, path);
    });
    if (!above) return;
    std::lock_guard lock(parents_mutex_);
    parents_made_.insert(path);
  });
}

bool TreeRestorer::Selected(std::string_view path) const {
  return std::any_of(roots_.begin(), roots_.end(),
                     [&](const std::string& root) { return PathIsWithin(path, root); });
}

Status TreeRestorer::Run() {
  for (const std::string& root : roots_) {
    SNAP_RETURN_IF_ERROR(WalkEntries(
        *snapshot_, root, [this](const format::Entry& entry) { return Visit(entry); },
        Contents::kRead));
  }
  SNAP_RETURN_IF_ERROR(content_.Finish());
  SNAP_RETURN_IF_ERROR(FinishDirectories());
  SNAP_RETURN_IF_ERROR(FinishParents());
  return tree_->Sync();
}

Status TreeRestorer::Visit(const format::Entry& proto) {
  SNAP_RETURN_IF_ERROR(report_->Poll());
  Entry entry = EntryFromProto(proto);
  report_->BeginEntry(entry);
  if (!entry.hard_link_to.empty()) return AddHardLink(std::move(entry), proto);
  if (HasContent(entry.type)) return AddFile(std::move(entry), proto);
  return MakeEntry(entry);
}

Status TreeRestorer::MakeEntry(const Entry& entry) {
  Status made;
  if (entry.type == EntryType::kDirectory) {
    made = tree_->MakeDirectory(entry.path);
  } else if (entry.type == EntryType::kSymlink) {
    made = tree_->MakeSymlink(entry.path, entry.symlink_target);
  } else {
    made = tree_->MakeNode(entry.path, NodeType(entry.type), entry.rdev);
  }
  if (EndsRestore(made)) return made;
  if (!made.ok()) {
    report_->FailEntry(entry, made);
    return {};
  }
  // Directories get theirs when all that lies in them is there.
  return entry.type == EntryType::kDirectory ? Status() : FinishEntry(entry);
}

Status TreeRestorer::FinishEntry(const Entry& entry) {
  const Result<UniqueFd> fd = tree_->OpenPath(entry.path);
  const Status applied =
      fd.ok() ? ApplyMetadata(fd->get(), /*path_only=*/true, entry) : fd.status();
  if (EndsRestore(applied)) return applied.WithContext(entry.path);
  if (!applied.ok()) report_->FailMetadata(entry, applied);
  return {};
}

Status TreeRestorer::AddFile(Entry entry, const format::Entry& content) {
  return content_.Add(std::make_shared<RestoreOutput>(context_, std::move(entry)), content);
}

Status TreeRestorer::AddHardLink(Entry entry, const format::Entry& proto) {
  if (Selected(entry.hard_link_to)) return content_.AddLink(std::move(entry));
  const auto stand_in = stand_ins_.find(entry.hard_link_to);
  if (stand_in != stand_ins_.end()) {
    entry.hard_link_to = stand_in->second;
    return content_.AddLink(std::move(entry));
  }
  if (stand_ins_.size() < kStandInsMax) stand_ins_.emplace(entry.hard_link_to, entry.path);
  if (!HasContent(entry.type)) return MakeEntry(entry);
  const Result<format::Entry> content = FindContent(*snapshot_, proto);
  if (content.status().Is(StatusCode::kCorruption)) {
    report_->FailEntry(entry, content.status());
    return {};
  }
  if (!content.ok()) return content.status();
  entry.size = content->size();
  return AddFile(std::move(entry), *content);
}

Status TreeRestorer::FinishDirectories() {
  // The list has parents before children; a stack of those still open turns that round.
  std::vector<Entry> open;
  const auto close_all_but = [&](std::string_view path) -> Status {
    while (!open.empty() && !PathIsWithin(path, open.back().path)) {
      SNAP_RETURN_IF_ERROR(FinishDirectory(open.back()));
      open.pop_back();
    }
    return {};
  };
  for (const std::string& root : roots_) {
    const Status walked = WalkEntries(*snapshot_, root, [&](const format::Entry& proto) -> Status {
      if (static_cast<EntryType>(proto.type()) != EntryType::kDirectory) return {};
      SNAP_RETURN_IF_ERROR(report_->Poll());
      SNAP_RETURN_IF_ERROR(close_all_but(proto.path()));
      open.push_back(EntryFromProto(proto));
      return {};
    });
    SNAP_RETURN_IF_ERROR(walked);
    while (!open.empty()) {
      SNAP_RETURN_IF_ERROR(FinishDirectory(open.back()));
      open.pop_back();
    }
  }
  return {};
}

Status TreeRestorer::FinishDirectory(const Entry& entry) {
  return report_->HasFailed(entry.path) ? Status() : FinishEntry(entry);
}

Status TreeRestorer::FinishParents() {
  // Backwards, what lies in a directory comes before it.
  for (auto it = parents_made_.rbegin(); it != parents_made_.rend(); ++it) {
    const Result<format::Entry> entry = FindEntry(*snapshot_, *it);
    if (entry.status().Is(StatusCode::kNotFound)) continue;
    if (!entry.ok()) return entry.status();
    if (static_cast<EntryType>(entry->type()) != EntryType::kDirectory) continue;
    SNAP_RETURN_IF_ERROR(FinishEntry(EntryFromProto(*entry)));
  }
  return {};
}

}  // namespace snapstore
