// RateLimit: at most so many calls in any window of time, per key. Calls that are refused count
// too: a blocked caller that keeps calling stays blocked.
//
// Memory: `calls` times per key that called within the window.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_API_RATE_LIMIT_H_
#define SNAPSTORE_ORCHESTRATOR_API_RATE_LIMIT_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>

namespace snapstore::spot {

class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;

  struct Verdict {
    bool allowed = true;
    int64_t limit = 0;
    int64_t remaining = 0;
    int64_t reset_seconds = 0;  // until a call is free again
  };

  // `calls` 0: no limit.
  RateLimit(size_t calls, std::chrono::seconds window) : calls_(calls), window_(window) {}

  Verdict Count(const std::string& key, Clock::time_point now);

 private:
  const size_t calls_;
  const std::chrono::seconds window_;
  std::mutex mutex_;  // guards what follows
  std::map<std::string, std::deque<Clock::time_point>> times_;
  Clock::time_point cleaned_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_API_RATE_LIMIT_H_
