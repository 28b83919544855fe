// ProgressReporter: counts work and reports it to an Observer at most ten times a second.
//
// Thread safety: Add… calls may run concurrently; Poll belongs to one thread.
#ifndef SNAPSTORE_ENGINE_PROGRESS_H_
#define SNAPSTORE_ENGINE_PROGRESS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "snapstore/observer.h"
#include "snapstore/status.h"

namespace snapstore {

class ProgressReporter {
 public:
  // `observer` may be null and must outlive the reporter.
  ProgressReporter(Observer* observer, std::string phase);
  // Reports the final state.
  ~ProgressReporter();
  ProgressReporter(const ProgressReporter&) = delete;
  ProgressReporter& operator=(const ProgressReporter&) = delete;

  void SetBytesTotal(uint64_t bytes) { bytes_total_ = bytes; }
  void SetItemsTotal(uint64_t items) { items_total_ = items; }
  void AddBytes(uint64_t bytes) { bytes_done_ += bytes; }
  void AddItems(uint64_t items) { items_done_ += items; }
  void SetCurrent(std::string current);

  // Reports when it is time to. Cancelled once the observer asks for it.
  Status Poll();

 private:
  void Report();

  Observer* const observer_;
  const std::string phase_;
  std::atomic<uint64_t> bytes_done_ = 0;
  std::atomic<uint64_t> bytes_total_ = 0;
  std::atomic<uint64_t> items_done_ = 0;
  std::atomic<uint64_t> items_total_ = 0;
  std::mutex current_mutex_;
  std::string current_;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PROGRESS_H_
