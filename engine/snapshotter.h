// Snapshotter: the storing side of TakeSnapshot, from events to a committed manifest.
//
// Thread safety: belongs to one thread; the threads inside are its own.
#ifndef SNAPSTORE_ENGINE_SNAPSHOTTER_H_
#define SNAPSTORE_ENGINE_SNAPSHOTTER_H_

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "engine/content_writer.h"
#include "engine/entry_list.h"
#include "engine/progress.h"
#include "engine/repository_impl.h"
#include "engine/source_tree.h"
#include "engine/write_session.h"
#include "snapstore/snapshot.h"

namespace snapstore {

class Snapshotter {
 public:
  // All must outlive the snapshotter; `observer` may be null.
  Snapshotter(RepositoryImpl* repository, const SnapshotRequest* request, Observer* observer);

  Result<SnapshotSummary> Run();
  // The parent that was chosen, and not asked for, if it may be why Run() failed with `status` and
  // the sources can be read once more: without it, Run() of another snapshotter may succeed.
  std::optional<Digest> UnreadableParent(const Status& status) const;

 private:
  Status Prepare();
  Status SelectParent();
  Status Pump();
  Status Consume(SourceEvent event);
  Status AddEntries(EntryBatch* batch);
  void StartEntry(const format::Entry& entry);
  void StartContent(CutRule cut, const std::optional<format::Content>& parent);
  Status EndEntry(format::Entry entry, const Status& status);
  Status AddEntry(format::Entry entry, std::unique_ptr<RunListWriter> content);
  void Warn(const std::string& item, const Status& status);
  Status Commit();
  void FillStatistics(format::Statistics* statistics, uint64_t manifest_bytes) const;

  RepositoryImpl* const repository_;
  const SnapshotRequest* const request_;
  Observer* const observer_;
  const Stopwatch stopwatch_;

  SourceNode sources_;
  format::Manifest manifest_;
  std::optional<Digest> parent_id_;  // as chosen; parent_ once it could be opened
  std::optional<OpenedSnapshot> parent_;
  bool pumped_ = false;  // the sources are being read, or were
  std::unique_ptr<CutRules> cut_rules_;
  std::unique_ptr<WriteSession> session_;
  PackWriter* packs_ = nullptr;  // the session's
  std::unique_ptr<EntryListWriter> entries_;
  std::unique_ptr<ProgressReporter> progress_;

  // The entry at hand.
  std::unique_ptr<ContentWriter> content_;
  CutRule cut_ = CutRule::kNone;

  uint64_t entry_count_ = 0;
  uint64_t on_the_way_ = 0;  // of these, directories that only lead to sources
  uint64_t unreadable_ = 0;
  uint64_t bytes_total_ = 0;
  uint64_t bytes_read_ = 0;
  uint64_t chunks_total_ = 0;
  std::string first_problem_;
  SnapshotSummary summary_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SNAPSHOTTER_H_
