#include "engine/progress.h"

namespace snapstore {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(100);

}  // namespace

ProgressReporter::ProgressReporter(Observer* observer, std::string phase)
    : observer_(observer),
      phase_(std::move(phase)),
      next_(std::chrono::steady_clock::now() + kInterval) {}

ProgressReporter::~ProgressReporter() {
  if (observer_ != nullptr) Report();
}

void ProgressReporter::SetCurrent(std::string current) {
  std::lock_guard lock(current_mutex_);
  current_ = std::move(current);
}

Status ProgressReporter::Poll() {
  if (observer_ == nullptr) return {};
  if (observer_->Cancelled()) return Status::Cancelled("interrupted");
  if (std::chrono::steady_clock::now() >= next_) {
    Report();
    next_ = std::chrono::steady_clock::now() + kInterval;
  }
  return {};
}

void ProgressReporter::Report() {
  Progress progress;
  progress.phase = phase_;
  progress.bytes_done = bytes_done_;
  progress.bytes_total = bytes_total_;
  progress.items_done = items_done_;
  progress.items_total = items_total_;
  {
    std::lock_guard lock(current_mutex_);
    progress.current = current_;
  }
  observer_->OnProgress(progress);
}

}  // namespace snapstore
