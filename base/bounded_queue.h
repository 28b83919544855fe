// BoundedQueue: back-pressure between two pipeline stages.
//
// Push blocks while the queue is full, Pop while it is empty. Close lets consumers drain what is
// left and then see the end; Cancel drops everything and wakes everybody at once. The time that
// either side was blocked is counted: it tells which stage of a pipeline is the slow one.
//
// Thread safety: any number of producers and consumers.
#ifndef SNAPSTORE_BASE_BOUNDED_QUEUE_H_
#define SNAPSTORE_BASE_BOUNDED_QUEUE_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "base/wait_meter.h"

namespace snapstore {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  // False when the queue was closed or cancelled; `item` is dropped then.
  bool Push(T item) {
    std::unique_lock lock(mutex_);
    push_waits_.Wait(&not_full_, &lock, [&] { return items_.size() < capacity_ || closed_; });
    if (closed_) return false;
    items_.push_back(std::move(item));
    not_empty_.notify_one();
    return true;
  }

  // Empty when the queue is closed and drained, or cancelled.
  std::optional<T> Pop() {
    std::unique_lock lock(mutex_);
    pop_waits_.Wait(&not_empty_, &lock, [&] { return !items_.empty() || closed_; });
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    not_full_.notify_one();
    return item;
  }

  void Close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    not_full_.notify_all();
    not_empty_.notify_all();
  }

  void Cancel() {
    std::deque<T> dropped;  // destroyed outside the lock
    std::lock_guard lock(mutex_);
    closed_ = true;
    items_.swap(dropped);
    not_full_.notify_all();
    not_empty_.notify_all();
  }

  // Seconds that all threads together were blocked in Push, or in Pop, until now.
  double push_waited() const {
    std::lock_guard lock(mutex_);
    return push_waits_.Seconds();
  }
  double pop_waited() const {
    std::lock_guard lock(mutex_);
    return pop_waits_.Seconds();
  }

 private:
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable not_full_;
  std::condition_variable not_empty_;
  std::deque<T> items_;
  bool closed_ = false;
  WaitMeter push_waits_;
  WaitMeter pop_waits_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_BOUNDED_QUEUE_H_
