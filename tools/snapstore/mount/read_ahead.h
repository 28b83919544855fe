// Reading ahead for files of a mount: when somebody reads a file from front to back, and what to
// fetch then; and the threads that fetch it.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_READ_AHEAD_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_READ_AHEAD_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "snapstore/snapshot.h"

namespace snapstore::cli {

// Follows the reads of one open file. The kernel asks for neighbouring parts of a file from several
// threads at once, so "from front to back" allows for some disorder.
//
// Thread safety: none.
class ReadAhead {
 public:
  // `size` of the file, bytes. No more than `window_max` bytes are fetched ahead of the reader.
  ReadAhead(uint64_t size, uint64_t window_max) : size_(size), window_max_(window_max) {}

  // Notes a read; what should be fetched in the background now (length 0: nothing).
  ByteRange OnRead(uint64_t offset, uint64_t length);

 private:
  const uint64_t size_;
  const uint64_t window_max_;
  uint64_t front_ = 0;   // where the run of reads has come to
  uint64_t run_ = 0;     // bytes read in it
  uint64_t window_ = 0;  // how far ahead of front_; 0: not reading ahead
  uint64_t ahead_ = 0;   // everything before was asked for
};

// A few threads that carry out tasks in order. When they do not keep up, further ones are dropped:
// what is not fetched ahead is fetched when it is needed.
//
// Thread safety: Add may be called concurrently.
class BackgroundTasks {
 public:
  BackgroundTasks(unsigned threads, size_t queue_max);
  // Ends those that run, drops the rest.
  ~BackgroundTasks();
  BackgroundTasks(const BackgroundTasks&) = delete;
  BackgroundTasks& operator=(const BackgroundTasks&) = delete;

  // False if it was dropped.
  bool Add(std::function<void()> task);

 private:
  void Run();

  const size_t queue_max_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_READ_AHEAD_H_
