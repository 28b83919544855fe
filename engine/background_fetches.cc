#include "engine/background_fetches.h"

#include <system_error>
#include <utility>

namespace snapstore {

BackgroundFetches::~BackgroundFetches() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  for (const Task& task : queue_) task(false);
}

void BackgroundFetches::Push(Task task) {
  std::unique_lock lock(mutex_);
  if (idle_ <= queue_.size() && threads_.size() < threads_max_) {
    try {
      threads_.emplace_back([this] { Work(); });
    } catch (const std::system_error&) {
      // Those that run have to do.
      if (threads_.empty()) {
        lock.unlock();
        task(false);
        return;
      }
    }
  }
  queue_.push_back(std::move(task));
  lock.unlock();
  wake_.notify_one();
}

void BackgroundFetches::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    --idle_;
    if (stop_) return;
    const Task task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    task(true);
    lock.lock();
  }
}

}  // namespace snapstore
