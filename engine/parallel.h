// RunParallel: a fixed number of tasks on a few threads, with the caller free to watch.
// FetchInOrder: results of such tasks, taken one after the other while others are under way.
#ifndef SNAPSTORE_ENGINE_PARALLEL_H_
#define SNAPSTORE_ENGINE_PARALLEL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "snapstore/status.h"

namespace snapstore {

// Runs tasks 0 … count - 1, each once, on up to `threads` threads; `run` gets the task and the
// number of the thread (less than `threads`) it runs on. Meanwhile the calling thread calls `poll`
// about twenty times a second. The first error of either stops the rest and is returned; no task
// runs any more then.
Status RunParallel(unsigned threads, size_t count,
                   const std::function<Status(size_t task, unsigned thread)>& run,
                   const std::function<Status()>& poll);

struct OrderedTasks {
  size_t count = 0;
  unsigned threads = 1;
  // What a task takes of `cost_max` from its beginning until its result is taken. One task runs
  // whatever it costs. Null: 1, of two a thread.
  std::function<uint64_t(size_t task)> cost = nullptr;
  uint64_t cost_max = 0;
};

// Runs `fetch` of tasks 0 … count - 1 on threads of its own, and `take` for one after the other, in
// this order, in the calling thread, which calls `poll` while it waits. The first error of `take`
// or `poll` ends everything and is returned; no task runs any more then.
Status RunInOrder(const OrderedTasks& tasks, const std::function<void(size_t task)>& fetch,
                  const std::function<Status(size_t task)>& take,
                  const std::function<Status()>& poll);

// The same for tasks with a result; `take` decides what their errors mean.
template <typename T, typename Fetch, typename Take>
Status FetchInOrder(const OrderedTasks& tasks, const Fetch& fetch, const Take& take,
                    const std::function<Status()>& poll) {
  std::mutex mutex;
  std::map<size_t, Result<T>> results;  // guarded by mutex
  return RunInOrder(
      tasks,
      [&](size_t task) {
        Result<T> result = fetch(task);
        std::lock_guard lock(mutex);
        results.emplace(task, std::move(result));
      },
      [&](size_t task) {
        std::unique_lock lock(mutex);
        const auto result = results.extract(task);
        lock.unlock();
        return take(task, std::move(result.mapped()));
      },
      poll);
}

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PARALLEL_H_
