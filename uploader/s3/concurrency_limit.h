// ConcurrencyLimit: how many requests may be under way at once, found out by trying.
//
// Starts at the most, halves when the server asks for less (once for all requests that were under
// way at that time), and grows by one after as many successes as it allows: additive increase,
// multiplicative decrease (Chiu and Jain, 1989), as TCP does. It does not grow within `quiet` after
// a refusal: requests take milliseconds, and a server that is at its limit would be pushed over it
// again and again.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_S3_CONCURRENCY_LIMIT_H_
#define SNAPSTORE_UPLOADER_S3_CONCURRENCY_LIMIT_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace snapstore {

class ConcurrencyLimit {
 public:
  static constexpr std::chrono::milliseconds kQuiet{1000};

  // REQUIRES: most > 0.
  explicit ConcurrencyLimit(unsigned most, std::chrono::milliseconds quiet = kQuiet)
      : most_(most), quiet_(quiet), limit_(most) {}

  // Waits for room, then takes up to `wanted` places and returns how many. REQUIRES: wanted > 0.
  unsigned Acquire(unsigned wanted = 1);
  // Gives one back; `throttled`: the server asked for less.
  void Release(bool throttled);

  unsigned limit() const;

 private:
  const unsigned most_;
  const std::chrono::milliseconds quiet_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable room_;
  unsigned limit_;
  unsigned taken_ = 0;
  unsigned successes_ = 0;  // since the limit last changed
  std::chrono::steady_clock::time_point lowered_;
  std::chrono::steady_clock::time_point refused_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_S3_CONCURRENCY_LIMIT_H_
