#include "engine/restore_report.h"

#include <cerrno>
#include <utility>

#include "base/status_macros.h"
#include "snapstore/repair.h"

namespace snapstore {

bool EndsRestore(const Status& status) {
  const int error_number = status.error_number();
  return status.Is(StatusCode::kNoSpace) || status.Is(StatusCode::kCancelled) ||
         error_number == EIO || error_number == EROFS;
}

RestoreReport::RestoreReport(Observer* observer)
    : observer_(observer), progress_(observer, "restore") {}

void RestoreReport::BeginEntry(const Entry& entry) {
  ++entries_;
  progress_.AddItems(1);
  progress_.SetCurrent(entry.path);
  const auto lost = entry.xattrs.find(kLostRangesXattr);
  if (lost == entry.xattrs.end() || observer_ == nullptr) return;
  std::lock_guard lock(mutex_);
  warnings_.push_back(
      {entry.path, Status::Corruption("zeros stand in place of lost bytes, at " + lost->second)});
}

void RestoreReport::FailEntry(const Entry& entry, const Status& status) {
  std::lock_guard lock(mutex_);
  WarnLocked(entry, status);
  if (entry.type == EntryType::kDirectory || entry.links > 1) {
    failed_hashes_.insert(std::hash<std::string_view>()(entry.path));
  }
}

void RestoreReport::FailMetadata(const Entry& entry, const Status& status) {
  std::lock_guard lock(mutex_);
  WarnLocked(entry, status);
}

void RestoreReport::WarnLocked(const Entry& entry, const Status& status) {
  ++failed_;
  if (first_failure_.ok()) first_failure_ = status;
  if (observer_ != nullptr) warnings_.push_back({entry.path, status});
}

bool RestoreReport::HasFailed(std::string_view path) const {
  std::lock_guard lock(mutex_);
  return failed_hashes_.contains(std::hash<std::string_view>()(path));
}

void RestoreReport::Deliver() {
  std::vector<Warning> warnings;
  {
    std::lock_guard lock(mutex_);
    warnings.swap(warnings_);
  }
  for (const Warning& warning : warnings) observer_->OnWarning(warning);
}

Status RestoreReport::Poll() {
  Deliver();
  return progress_.Poll();
}

Result<RestoreSummary> RestoreReport::Finish() {
  Deliver();
  std::lock_guard lock(mutex_);
  if (failed_ > 0 && failed_ == entries_ && first_failure_.Is(StatusCode::kPermissionDenied)) {
    return first_failure_;
  }
  RestoreSummary summary;
  summary.entries = entries_ - failed_;
  summary.bytes_total = bytes_total_;
  summary.bytes_written = bytes_written_;
  summary.failed = failed_;
  summary.stages = stages_;
  return summary;
}

}  // namespace snapstore
