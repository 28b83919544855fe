// Turns: a number of threads may do something at the same time, others wait.
//
// std::counting_semaphore is not used: that of GCC 12 may sleep for ever (GCC bug 104928).
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_TURNS_H_
#define SNAPSTORE_ENGINE_TURNS_H_

#include <condition_variable>
#include <mutex>

#include "engine/busy_clock.h"

namespace snapstore {

class Turns {
 public:
  // REQUIRES: count > 0.
  explicit Turns(unsigned count) : free_(count) {}

  // One turn, from here to the end of its scope. The time it is waited for counts as `waiting`'s.
  class Scope {
   public:
    Scope(Turns* turns, BusyClock* waiting) : turns_(turns) {
      const BusyClock::Scope wait(waiting);
      std::unique_lock lock(turns_->mutex_);
      turns_->changed_.wait(lock, [this] { return turns_->free_ > 0; });
      --turns_->free_;
    }
    ~Scope() {
      {
        std::lock_guard lock(turns_->mutex_);
        ++turns_->free_;
      }
      turns_->changed_.notify_one();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Turns* const turns_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned free_;  // guarded by mutex_
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_TURNS_H_
