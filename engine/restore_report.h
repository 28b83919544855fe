// RestoreReport: what a restore has done so far, which entries failed, and whether to go on.
//
// Thread safety: all calls may run concurrently, except Poll and Deliver, which belong to the
// thread that owns the observer.
#ifndef SNAPSTORE_ENGINE_RESTORE_REPORT_H_
#define SNAPSTORE_ENGINE_RESTORE_REPORT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "engine/progress.h"
#include "snapstore/observer.h"
#include "snapstore/reader.h"
#include "snapstore/restore.h"
#include "snapstore/status.h"

namespace snapstore {

// Whether nothing more can be written after this error of the target: it is full, failing or
// read-only, or the restore was cancelled.
bool EndsRestore(const Status& status);

class RestoreReport {
 public:
  explicit RestoreReport(Observer* observer);

  // One more entry is being restored, or its content is done.
  void BeginEntry(const Entry& entry);
  void EndContent(uint64_t bytes) { bytes_total_ += bytes; }
  void AddWritten(uint64_t bytes) { bytes_written_ += bytes; }
  // The entry could not be restored, or only its metadata could not; call once an entry.
  void FailEntry(const Entry& entry, const Status& status);
  void FailMetadata(const Entry& entry, const Status& status);
  // Whether something that others build upon (a directory, the first of several hard links) failed.
  bool HasFailed(std::string_view path) const;

  // How busy the workers were so far. Belongs to the thread that calls Finish.
  void SetStages(std::vector<PipelineStage> stages) { stages_ = std::move(stages); }

  // Reports progress and waiting warnings. Cancelled once the observer asks for it.
  Status Poll();
  void Deliver();
  ProgressReporter& progress() { return progress_; }

  // The outcome. Takes the first failure for it when nothing at all was permitted.
  Result<RestoreSummary> Finish();

 private:
  Observer* const observer_;
  ProgressReporter progress_;
  std::atomic<uint64_t> entries_ = 0;
  std::atomic<uint64_t> bytes_total_ = 0;
  std::atomic<uint64_t> bytes_written_ = 0;
  std::vector<PipelineStage> stages_;

  void WarnLocked(const Entry& entry, const Status& status);

  mutable std::mutex mutex_;  // guards what follows
  uint64_t failed_ = 0;
  Status first_failure_;
  std::vector<Warning> warnings_;             // not delivered yet
  std::unordered_set<size_t> failed_hashes_;  // of paths
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_RESTORE_REPORT_H_
