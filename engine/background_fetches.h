// BackgroundFetches: reads from a store that nobody waits for, in order, a few at a time.
//
// Thread safety: all calls may run concurrently. Threads start when they are needed, and end with
// the object.
#ifndef SNAPSTORE_ENGINE_BACKGROUND_FETCHES_H_
#define SNAPSTORE_ENGINE_BACKGROUND_FETCHES_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace snapstore {

class BackgroundFetches {
 public:
  // Called once: with true to do its work, or with false when that will not be done.
  using Task = std::function<void(bool run)>;

  explicit BackgroundFetches(unsigned threads_max) : threads_max_(threads_max) {}
  // What has not begun is not done; waits for the rest.
  ~BackgroundFetches();
  BackgroundFetches(const BackgroundFetches&) = delete;
  BackgroundFetches& operator=(const BackgroundFetches&) = delete;

  void Push(Task task);

 private:
  void Work();

  const unsigned threads_max_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Task> queue_;
  size_t idle_ = 0;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_BACKGROUND_FETCHES_H_
