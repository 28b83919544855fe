#include "uploader/s3/concurrency_limit.h"

#include <algorithm>

namespace snapstore {
namespace {

// Refusals within this time belong to the same congestion.
constexpr std::chrono::milliseconds kOneEvent{500};

}  // namespace

unsigned ConcurrencyLimit::Acquire(unsigned wanted) {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [this] { return taken_ < limit_; });
  const unsigned got = std::min(wanted, limit_ - taken_);
  taken_ += got;
  return got;
}

void ConcurrencyLimit::Release(bool throttled) {
  {
    const std::lock_guard lock(mutex_);
    --taken_;
    const auto now = std::chrono::steady_clock::now();
    if (throttled) {
      if (now - lowered_ >= kOneEvent) {
        limit_ = std::max(1u, limit_ / 2);
        lowered_ = now;
      }
      refused_ = now;
      successes_ = 0;
    } else if (limit_ < most_ && now - refused_ >= quiet_ && ++successes_ >= limit_) {
      ++limit_;
      successes_ = 0;
    }
  }
  room_.notify_all();
}

unsigned ConcurrencyLimit::limit() const {
  const std::lock_guard lock(mutex_);
  return limit_;
}

}  // namespace snapstore
