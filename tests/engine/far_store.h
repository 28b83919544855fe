// FarStore: a store that is far away, so that it pays to have many calls under way at once.
//
// It says how many reads it takes, counts how many there are, and, with Gather, makes calls wait
// for each other: whoever does not make them at the same time never gets there. Time plays no part
// but for a limit after which a failed test goes on; `delay` is for measurements.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_TESTS_ENGINE_FAR_STORE_H_
#define SNAPSTORE_TESTS_ENGINE_FAR_STORE_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "uploader/object_store.h"
#include "uploader/store_op.h"

namespace snapstore {

class FarStore final : public ObjectStore {
 public:
  FarStore(std::shared_ptr<ObjectStore> inner, unsigned gets_at_once,
           std::chrono::milliseconds delay = std::chrono::milliseconds(0))
      : inner_(std::move(inner)), gets_at_once_(gets_at_once), delay_(delay) {}

  // Calls of `op` on keys that begin with `prefix` wait until `count` of them are under way, or
  // until patience ends: each call has its own.
  void Gather(StoreOp op, std::string prefix, unsigned count,
              std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    std::lock_guard lock(mutex_);
    gathered_op_ = op;
    gathered_prefix_ = std::move(prefix);
    gathered_wanted_ = count;
    gathered_ = 0;
    patience_ = patience;
  }
  // From now on no range of an object can be read, as behind a line that was cut.
  void CutOff() { cut_off_ = true; }
  unsigned reads_cut_off() const { return reads_cut_off_; }
  // Whether that many came together.
  bool gathered() const {
    std::lock_guard lock(mutex_);
    return gathered_wanted_ == 0;
  }
  // Reads under way at once, at most.
  unsigned most_reads() const {
    std::lock_guard lock(mutex_);
    return most_reads_;
  }

  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override {
    const Visit visit(this, StoreOp::kPut, key.text());
    return inner_->PutIfAbsent(key, parts);
  }
  Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) override {
    const Visit visit(this, StoreOp::kGetRange, key.text());
    if (cut_off_) {
      ++reads_cut_off_;
      return Status::Io("connection refused");
    }
    return inner_->GetRange(key, offset, out);
  }
  Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override {
    const Visit visit(this, StoreOp::kGet, key.text());
    return inner_->Get(key, bytes_max);
  }
  Result<ObjectInfo> Stat(const ObjectKey& key) override {
    const Visit visit(this, StoreOp::kStat, key.text());
    return inner_->Stat(key);
  }
  Status List(std::string_view prefix,
              const std::function<Status(const ObjectInfo&)>& visit) override {
    const Visit call(this, StoreOp::kList, prefix);
    return inner_->List(prefix, visit);
  }
  Status Delete(const ObjectKey& key) override {
    const Visit visit(this, StoreOp::kDelete, key.text());
    return inner_->Delete(key);
  }
  unsigned PutsAtOnce() const override { return 4; }
  unsigned GetsAtOnce() const override { return gets_at_once_; }
  std::string Describe() const override { return inner_->Describe(); }

 private:
  // One call: the way there, and what it does to the counts.
  class Visit {
   public:
    Visit(FarStore* store, StoreOp op, std::string_view key)
        : store_(store), read_(op == StoreOp::kGet || op == StoreOp::kGetRange) {
      std::unique_lock lock(store->mutex_);
      if (read_) store->most_reads_ = std::max(store->most_reads_, ++store->reads_);
      if (store->gathered_wanted_ > 0 && op == store->gathered_op_ &&
          key.starts_with(store->gathered_prefix_)) {
        if (++store->gathered_ >= store->gathered_wanted_) store->gathered_wanted_ = 0;
        store->changed_.notify_all();
        store->changed_.wait_for(lock, store->patience_,
                                 [&] { return store->gathered_wanted_ == 0; });
        --store->gathered_;
      }
      lock.unlock();
      if (store->delay_.count() > 0) std::this_thread::sleep_for(store->delay_);
    }
    ~Visit() {
      std::lock_guard lock(store_->mutex_);
      if (read_) --store_->reads_;
    }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    FarStore* const store_;
    const bool read_;
  };

  const std::shared_ptr<ObjectStore> inner_;
  const unsigned gets_at_once_;
  const std::chrono::milliseconds delay_;
  std::atomic<bool> cut_off_ = false;
  std::atomic<unsigned> reads_cut_off_ = 0;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  unsigned reads_ = 0;
  unsigned most_reads_ = 0;
  StoreOp gathered_op_ = StoreOp::kGet;
  std::string gathered_prefix_;
  unsigned gathered_wanted_ = 0;  // 0: nobody waits
  unsigned gathered_ = 0;
  std::chrono::milliseconds patience_{0};
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_ENGINE_FAR_STORE_H_
