#include "orchestrator/api/rate_limit.h"

namespace snapstore::spot {

RateLimit::Verdict RateLimit::Count(const std::string& key, Clock::time_point now) {
  if (calls_ == 0) return {};
  const std::lock_guard lock(mutex_);
  if (now - cleaned_ > window_) {
    cleaned_ = now;
    std::erase_if(times_, [&](const auto& entry) { return now - entry.second.back() > window_; });
  }
  std::deque<Clock::time_point>& times = times_[key];
  while (!times.empty() && now - times.front() >= window_) times.pop_front();
  Verdict verdict;
  verdict.limit = static_cast<int64_t>(calls_);
  verdict.allowed = times.size() < calls_;
  times.push_back(now);
  // The newest `calls` decide: until the oldest of those has left the window, nothing is free.
  if (times.size() > calls_) times.pop_front();
  verdict.remaining = static_cast<int64_t>(calls_ - times.size());
  const auto left = window_ - (now - times.front());
  verdict.reset_seconds = std::chrono::ceil<std::chrono::seconds>(left).count();
  return verdict;
}

}  // namespace snapstore::spot
