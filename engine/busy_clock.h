// BusyClock: how long threads worked at one thing, all together.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_BUSY_CLOCK_H_
#define SNAPSTORE_ENGINE_BUSY_CLOCK_H_

#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace snapstore {

class BusyClock {
 public:
  // Counts from here to the end of its scope.
  class Scope {
   public:
    explicit Scope(BusyClock* clock) : clock_(clock) {}
    ~Scope() { clock_->nanos_ += static_cast<int64_t>(stopwatch_.Seconds() * kNanosPerSecond); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    BusyClock* const clock_;
    const Stopwatch stopwatch_;
  };

  double Seconds() const { return static_cast<double>(nanos_) / kNanosPerSecond; }

 private:
  std::atomic<int64_t> nanos_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_BUSY_CLOCK_H_
