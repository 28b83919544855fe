// SnapshotCopier: the entries of one snapshot into another repository.
//
// Leaves of run lists that the snapshot shares with its base are taken over from the base's copy
// unread; the leaves of a copy therefore end where the original's do. Inside the other leaves, a
// chunk that the base has at the same place needs no look at its content.
//
// Thread safety: one thread at a time.
#ifndef SNAPSTORE_ENGINE_SNAPSHOT_COPIER_H_
#define SNAPSTORE_ENGINE_SNAPSHOT_COPIER_H_

#include <memory>
#include <string>
#include <vector>

#include "engine/copy_window.h"
#include "engine/parent_entries.h"
#include "engine/repository_impl.h"
#include "engine/write_session.h"

namespace snapstore {

// A snapshot that both repositories have; null, both, for none.
struct CopyBase {
  const OpenedSnapshot* source = nullptr;
  const OpenedSnapshot* copy = nullptr;
};

class SnapshotCopier {
 public:
  // All must outlive the copier.
  SnapshotCopier(const OpenedSnapshot* snapshot, const CopyBase& base,
                 const CopyWindowOptions& options, WriteSession* session,
                 ProgressReporter* progress, CopyWindow::FailedFn failed);

  // Stores everything and fills in the root of the entry list. Corruption when the source's list
  // cannot be read; single entries that cannot be read are left out and counted.
  Status Copy(format::StreamRoot* tree);
  uint64_t entries_failed() const { return window_.entries_failed(); }

 private:
  // The content of an entry in the base, and in the base's copy.
  class BaseContent;

  Status CopyEntry(const format::Entry& entry);
  // Empty unless both bases have content of the same size at `path`.
  Status FindBase(const std::string& path, std::optional<format::Content>* source,
                  std::optional<format::Content>* copy);
  Status CopyRuns(const format::Entry& entry, BaseContent* base);
  Status CopyLeaf(const NodeTreeReader::Leaf& leaf, BaseContent* base);

  const OpenedSnapshot& snapshot_;
  const CopyBase base_;
  ProgressReporter* const progress_;
  ParentEntries source_entries_;
  ParentEntries copy_entries_;
  bool base_readable_ = true;
  EntryListWriter entries_;
  CopyWindow window_;
  std::vector<Run> runs_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SNAPSHOT_COPIER_H_
