#include "engine/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
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

}  // namespace snapstore
