#include "engine/parent_entries.h"

#include <algorithm>

#include "base/status_macros.h"

namespace snapstore {
namespace {

// Coarsest time stamps in use: FAT keeps two seconds.
constexpr int64_t kTimestampGranularityNs = 2'000'000'000;

}  // namespace

ParentEntries::ParentEntries(const OpenedSnapshot* parent) {
  if (parent == nullptr) return;
  reader_ = std::make_unique<EntryListReader>(parent->nodes.get(), parent->manifest.tree());
}

Result<const format::Entry*> ParentEntries::Find(std::string_view path) {
  if (reader_ == nullptr) return static_cast<const format::Entry*>(nullptr);
  while (true) {
    if (current_ != nullptr) {
      const int order = ComparePaths(current_->path(), path);
      if (order == 0) return current_;
      if (order > 0) return static_cast<const format::Entry*>(nullptr);
    }
    SNAP_ASSIGN_OR_RETURN(current_, reader_->Next());
    if (current_ == nullptr) {
      reader_ = nullptr;
      return static_cast<const format::Entry*>(nullptr);
    }
  }
}

bool SameContent(const format::Entry& parent, const format::Entry& now, int64_t parent_time_ns) {
  const int64_t newest = std::max(now.mtime_ns(), now.ctime_ns());
  return parent.type() == now.type() && parent.has_content() && !parent.changed_while_read() &&
         parent.inode() == now.inode() && parent.size() == now.size() &&
         parent.mtime_ns() == now.mtime_ns() && parent.ctime_ns() == now.ctime_ns() &&
         newest < parent_time_ns - kTimestampGranularityNs;
}

}  // namespace snapstore
