// Backoff: when to try again, and when to give up.
//
//   for (Backoff backoff(policy);;) {
//     Result<T> result = Attempt();
//     if (result.ok() || !IsTransient(result.status())) return result;
//     SNAP_RETURN_IF_ERROR(backoff.Wait(result.status()));
//   }
//
// Waits are exponential with full jitter, and bounded by a deadline for the operation as a whole
// rather than by a number of attempts ("Exponential Backoff and Jitter", AWS Architecture Blog,
// 2015).
//
// Thread safety: a Backoff belongs to one thread.
#ifndef SNAPSTORE_UPLOADER_RETRY_H_
#define SNAPSTORE_UPLOADER_RETRY_H_

#include <chrono>
#include <functional>

#include "base/clock.h"
#include "base/random.h"
#include "snapstore/status.h"

namespace snapstore {

struct RetryPolicy {
  std::chrono::milliseconds deadline{300'000};  // of one operation, with all its attempts
  std::chrono::milliseconds first_wait{100};    // twice as long, at most, before each further one
  std::chrono::milliseconds longest_wait{10'000};
  std::function<bool()> cancelled = nullptr;  // polled while waiting
};

// Whether the same request may succeed later: Io, Timeout and Throttled.
bool IsTransient(const Status& status);

class Backoff {
 public:
  explicit Backoff(const RetryPolicy& policy);

  // Waits after the failed attempt, at least as long as the other side asked for. Returns
  // `failure`, with the number of attempts and the time they took, when the deadline has passed or
  // would pass; Cancelled when that is asked for.
  Status Wait(const Status& failure, std::chrono::milliseconds at_least = {});

  int attempts() const { return attempts_; }
  double Seconds() const { return watch_.Seconds(); }

 private:
  const RetryPolicy& policy_;
  const Stopwatch watch_;
  SplitMix64 random_;
  int attempts_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_RETRY_H_
