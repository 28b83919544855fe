#include "engine/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

namespace snapstore {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(50);

}  // namespace

Status RunParallel(unsigned threads, size_t count,
                   const std::function<Status(size_t task, unsigned thread)>& run,
                   const std::function<Status()>& poll) {
  if (count == 0) return {};
  std::atomic<size_t> next = 0;
  std::atomic<bool> stop = false;
  std::mutex mutex;
  std::condition_variable ended;
  Status error;       // guarded by mutex
  size_t active = 0;  // guarded by mutex
  const auto fail = [&](const Status& status) {
    std::lock_guard lock(mutex);
    if (error.ok()) error = status;
    stop = true;
  };
  const auto work = [&](unsigned thread) {
    while (!stop) {
      const size_t task = next++;
      if (task >= count) break;
      if (const Status status = run(task, thread); !status.ok()) fail(status);
    }
    std::lock_guard lock(mutex);
    --active;
    ended.notify_one();
  };
  std::vector<std::thread> workers;
  const size_t wanted = std::min<size_t>(std::max(1u, threads), count);
  for (unsigned i = 0; i < wanted; ++i) {
    {
      std::lock_guard lock(mutex);
      ++active;
    }
    try {
      workers.emplace_back(work, i);
    } catch (const std::system_error&) {
      std::lock_guard lock(mutex);
      --active;
      break;  // the others do it
    }
  }
  if (workers.empty()) return Status::Io("no thread can be started");
  std::unique_lock lock(mutex);
  while (!ended.wait_for(lock, kPollInterval, [&] { return active == 0; })) {
    lock.unlock();
    if (const Status status = poll(); !status.ok()) fail(status);
    lock.lock();
  }
  lock.unlock();
  for (std::thread& worker : workers) worker.join();
  return error;
}

namespace {

// The state that the threads of one RunInOrder share.
class OrderedRun {
 public:
  OrderedRun(const OrderedTasks& tasks, const std::function<void(size_t task)>& fetch)
      : tasks_(tasks),
        fetch_(fetch),
        cost_max_(tasks.cost == nullptr ? 2 * uint64_t{tasks.threads} : tasks.cost_max) {}

  void Work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stop_ || next_ == tasks_.count || HasRoom(); });
      if (stop_ || next_ == tasks_.count) return;
      const size_t task = next_++;
      spent_ += Cost(task);
      ++untaken_;
      lock.unlock();
      fetch_(task);
      lock.lock();
      done_.insert(task);
      changed_.notify_all();
    }
  }

  // Until the task is done; false when `poll` ends the wait with *status.
  bool WaitFor(size_t task, const std::function<Status()>& poll, Status* status) {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, kPollInterval, [&] { return done_.contains(task); })) {
      lock.unlock();
      *status = poll();
      if (!status->ok()) return false;
      lock.lock();
    }
    return true;
  }

  void Taken(size_t task) {
    {
      std::lock_guard lock(mutex_);
      done_.erase(task);
      spent_ -= Cost(task);
      --untaken_;
    }
    changed_.notify_all();
  }

  void Stop() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
  }

 private:
  uint64_t Cost(size_t task) const { return tasks_.cost == nullptr ? 1 : tasks_.cost(task); }
  bool HasRoom() const { return untaken_ == 0 || spent_ + Cost(next_) <= cost_max_; }

  const OrderedTasks& tasks_;
  const std::function<void(size_t task)>& fetch_;
  const uint64_t cost_max_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  size_t next_ = 0;
  size_t untaken_ = 0;  // begun, and not taken yet
  uint64_t spent_ = 0;
  std::set<size_t> done_;
  bool stop_ = false;
};

}  // namespace

Status RunInOrder(const OrderedTasks& tasks, const std::function<void(size_t task)>& fetch,
                  const std::function<Status(size_t task)>& take,
                  const std::function<Status()>& poll) {
  OrderedRun run(tasks, fetch);
  std::vector<std::thread> workers;
  const size_t wanted = std::min<size_t>(tasks.threads, tasks.count);
  for (size_t i = 0; wanted > 1 && i < wanted; ++i) {
    try {
      workers.emplace_back([&run] { run.Work(); });
    } catch (const std::system_error&) {
      break;  // the others do it
    }
  }
  Status status;
  for (size_t task = 0; status.ok() && task < tasks.count; ++task) {
    if (workers.empty()) {
      status = poll();
      if (!status.ok()) break;
      fetch(task);
    } else if (!run.WaitFor(task, poll, &status)) {
      break;
    }
    status = take(task);
    if (!workers.empty()) run.Taken(task);
  }
  run.Stop();
  for (std::thread& worker : workers) worker.join();
  return status;
}

}  // namespace snapstore
