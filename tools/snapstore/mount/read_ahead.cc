#include "tools/snapstore/mount/read_ahead.h"

#include <algorithm>

namespace snapstore::cli {
namespace {

// A read this near to where the last ones have come to continues them.
constexpr uint64_t kDisorderMax = 2 << 20;
// Read from front to back before anything is fetched ahead: more than who looks at a file's
// beginning only.
constexpr uint64_t kRunMin = 256 << 10;
constexpr uint64_t kWindowMin = 1 << 20;

}  // namespace

ByteRange ReadAhead::OnRead(uint64_t offset, uint64_t length) {
  const uint64_t end = std::min(size_, offset + length);
  const uint64_t distance = offset < front_ ? front_ - offset : offset - front_;
  if (distance > kDisorderMax) {
    front_ = end;
    run_ = end - std::min(offset, end);
    window_ = 0;
    ahead_ = 0;
    return {};
  }
  front_ = std::max(front_, end);
  run_ += end - std::min(offset, end);
  if (run_ < kRunMin) return {};
  if (window_ == 0) window_ = std::min(kWindowMin, window_max_);
  ahead_ = std::max(ahead_, front_);
  if (ahead_ - front_ > window_ / 2 || ahead_ >= size_) return {};
  const uint64_t begin = ahead_;
  ahead_ = std::min(size_, front_ + window_);
  window_ = std::min(2 * window_, window_max_);
  return {begin, ahead_ - begin};
}

BackgroundTasks::BackgroundTasks(unsigned threads, size_t queue_max) : queue_max_(queue_max) {
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

BackgroundTasks::~BackgroundTasks() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool BackgroundTasks::Add(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || queue_.size() >= queue_max_) return false;
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
  return true;
}

void BackgroundTasks::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const std::function<void()> task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

}  // namespace snapstore::cli
