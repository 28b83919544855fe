// FaultStore: an ObjectStore that misbehaves on demand, for tests of the layers above.
//
//   FaultStore store(inner, seed);
//   store.Add({.kind = FaultKind::kFail, .op = StoreOp::kPut, .at = 3});            // the third
//   put store.Add({.kind = FaultKind::kFlipBit, .key_prefix = "packs/", .probability = 0.01});
//
// Each call is held against the faults in the order they were added. A fault counts the calls that
// match its `op` and `key_prefix`; it strikes on the `at`-th of them, or with `probability` on each
// when `at` is 0. At most one fault strikes a call, except that delays add up. The same seed and
// the same sequence of calls give the same faults.
//
// Thread safety: all calls may run concurrently (which leaves the sequence to the threads).
#ifndef SNAPSTORE_UPLOADER_FAULT_STORE_H_
#define SNAPSTORE_UPLOADER_FAULT_STORE_H_

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "uploader/object_store.h"
#include "uploader/store_op.h"

namespace snapstore {

enum class FaultKind {
  kFail,          // nothing is done, `error` is returned
  kFailAfter,     // the operation is done, and `error` returned all the same: the answer was lost
  kDelay,         // `delay` passes first
  kTruncateRead,  // Get: half of the object, as if that were all. GetRange: as for a short object
  kFlipBit,       // one bit of what Get or GetRange returns is wrong
  kClaimCreated,  // PutIfAbsent stores nothing and says kCreated
  kClaimExisted,  // PutIfAbsent stores nothing and says kExisted
  kHideObject,    // Get, GetRange, Stat, Delete: NotFound. List: passes over half of the objects
  kKillBefore,    // SIGKILL to this process; run it in a child
  kKillAfter,
};

struct Fault {
  FaultKind kind = FaultKind::kFail;
  std::optional<StoreOp> op = std::nullopt;  // empty: every operation
  std::string key_prefix = {};               // for List: of the prefix listed
  uint64_t at = 0;                           // 1 is the first match
  double probability = 1;
  Status error = Status::Io("injected fault");
  std::chrono::milliseconds delay{0};
};

class FaultStore final : public ObjectStore {
 public:
  FaultStore(std::shared_ptr<ObjectStore> inner, uint64_t seed);

  void Add(Fault fault);
  // No faults any more; counters go on.
  void Clear();
  uint64_t operations() const;  // calls so far
  uint64_t injected() const;    // faults that struck

  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override;
  Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) override;
  Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override;
  Result<ObjectInfo> Stat(const ObjectKey& key) override;
  Status List(std::string_view prefix,
              const std::function<Status(const ObjectInfo&)>& visit) override;
  // DeleteMany is one Delete a key, so that a fault may strike between two.
  Status Delete(const ObjectKey& key) override;
  Result<uint64_t> AbortUploads(std::chrono::seconds age) override {
    return inner_->AbortUploads(age);
  }
  StoreUsage Usage() const override { return inner_->Usage(); }
  void LiftBandwidthLimits(bool lifted) override { inner_->LiftBandwidthLimits(lifted); }
  unsigned PutsAtOnce() const override { return inner_->PutsAtOnce(); }
  unsigned GetsAtOnce() const override { return inner_->GetsAtOnce(); }
  std::string Describe() const override { return inner_->Describe(); }

 private:
  struct Armed {
    Fault fault;
    uint64_t matches = 0;
  };
  // What is to happen to one call, and a random number for the details.
  struct Verdict {
    std::optional<Fault> fault;
    uint64_t random = 0;

    bool Is(FaultKind kind) const { return fault.has_value() && fault->kind == kind; }
    // The error to return before, or after, the operation; OK if none.
    Status Before(std::string_view key) const;
    Status After() const;
  };

  Verdict Judge(StoreOp op, std::string_view key);
  bool Strikes(Armed* armed, StoreOp op, std::string_view key);

  const std::shared_ptr<ObjectStore> inner_;
  mutable std::mutex mutex_;  // guards what follows
  SplitMix64 random_;
  std::vector<Armed> faults_;
  uint64_t operations_ = 0;
  uint64_t injected_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_FAULT_STORE_H_
