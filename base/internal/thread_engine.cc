#include "base/internal/thread_engine.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/check.h"
#include "base/internal/request_step.h"
#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

// Signals belong to the program's own threads: a worker that took one would run the handler in the
// middle of somebody's request.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    SNAP_CHECK(pthread_sigmask(SIG_BLOCK, &all, &before_) == 0);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

class ThreadEngine final : public IoEngine {
 public:
  ThreadEngine(uint32_t depth, std::string reason) : depth_(depth), reason_(std::move(reason)) {}

  ~ThreadEngine() override {
    SNAP_CHECK(in_flight_ == 0);
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    has_work_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  // Fewer threads than asked for serve as well; none do not.
  Status Start(uint32_t threads) {
    const SignalsBlocked blocked;
    try {
      workers_.reserve(threads);
      while (workers_.size() < threads) workers_.emplace_back([this] { Work(); });
    } catch (const std::system_error& error) {
      if (workers_.empty()) return Status::FromErrno(error.code().value(), "start an I/O thread");
    }
    return Status::Ok();
  }

  Status Submit(IoRequest* request) override {
    SNAP_CHECK(in_flight_ < depth_);
    SNAP_RETURN_IF_ERROR(ValidateRequest(*request));
    ResetResults(request);
    ++in_flight_;
    {
      std::lock_guard lock(mutex_);
      queued_.push_back(request);
    }
    has_work_.notify_one();
    return Status::Ok();
  }

  Status Wait(size_t count_min, std::vector<IoRequest*>* done) override {
    const size_t wanted = std::min(count_min, in_flight_);
    std::unique_lock lock(mutex_);
    wanted_ = wanted;
    has_done_.wait(lock, [&] { return finished_.size() >= wanted; });
    done->insert(done->end(), finished_.begin(), finished_.end());
    in_flight_ -= finished_.size();
    finished_.clear();
    return Status::Ok();
  }

  uint32_t depth() const override { return depth_; }
  size_t in_flight() const override { return in_flight_; }
  IoBackend backend() const override { return IoBackend::kThreads; }
  std::string backend_reason() const override { return reason_; }

 private:
  void Work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      has_work_.wait(lock, [&] { return stopping_ || !queued_.empty(); });
      if (queued_.empty()) return;
      IoRequest* const request = queued_.front();
      queued_.pop_front();
      lock.unlock();
      while (!FinishStep(request, RunStep(*request))) {
      }
      lock.lock();
      finished_.push_back(request);
      if (finished_.size() >= wanted_) has_done_.notify_one();
    }
  }

  const uint32_t depth_;
  const std::string reason_;
  size_t in_flight_ = 0;  // of the owning thread only

  std::mutex mutex_;  // guards everything below but workers_
  std::condition_variable has_work_;
  std::condition_variable has_done_;
  std::deque<IoRequest*> queued_;
  std::vector<IoRequest*> finished_;
  size_t wanted_ = 0;
  bool stopping_ = false;

  std::vector<std::thread> workers_;
};

}  // namespace

Result<std::unique_ptr<IoEngine>> NewThreadEngine(const IoOptions& options, std::string reason) {
  auto engine = std::make_unique<ThreadEngine>(options.depth, std::move(reason));
  SNAP_RETURN_IF_ERROR(engine->Start(std::min(options.threads, options.depth)));
  return std::unique_ptr<IoEngine>(std::move(engine));
}

}  // namespace snapstore::internal
