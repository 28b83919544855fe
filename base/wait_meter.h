// WaitMeter: how long threads were blocked at one place.
//
// Thread safety: every call with the mutex held that the condition variable goes with.
#ifndef SNAPSTORE_BASE_WAIT_METER_H_
#define SNAPSTORE_BASE_WAIT_METER_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace snapstore {

class WaitMeter {
 public:
  // condition->wait(*lock, ready), measured when it blocks.
  template <typename Ready>
  void Wait(std::condition_variable* condition, std::unique_lock<std::mutex>* lock,
            const Ready& ready) {
    if (ready()) return;
    const double begin = Now();
    ++waiting_;
    begins_ += begin;
    condition->wait(*lock, ready);
    --waiting_;
    begins_ -= begin;
    seconds_ += Now() - begin;
  }

  // Of all threads together, those included that are blocked at this moment.
  double Seconds() const { return seconds_ + waiting_ * Now() - begins_; }

 private:
  static double Now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

  double seconds_ = 0;
  unsigned waiting_ = 0;
  double begins_ = 0;  // sum over the waiting threads
};

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_WAIT_METER_H_
