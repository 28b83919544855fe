// CountingStore: an ObjectStore that counts requests, failures and bytes of the store below it.
//
//   CountingStore store(inner, {"packs/", "segments/"});
//   …
//   store.Counts(StoreOp::kGetRange, "packs/").bytes
//
// Keys are told apart by the prefixes given at the start (the first that fits); all others form one
// class more, named "". List counts as one request of the class that its prefix falls in, with no
// bytes.
//
// Thread safety: all calls may run concurrently; counters are exact once the calls have returned.
#ifndef SNAPSTORE_UPLOADER_COUNTING_STORE_H_
#define SNAPSTORE_UPLOADER_COUNTING_STORE_H_

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "uploader/object_store.h"
#include "uploader/store_op.h"

namespace snapstore {

struct StoreCounts {
  uint64_t requests = 0;
  uint64_t failures = 0;  // of the requests; NotFound included
  uint64_t bytes = 0;  // moved by requests that succeeded; 0 for a put that found the object there
};

class CountingStore final : public ObjectStore {
 public:
  explicit CountingStore(std::shared_ptr<ObjectStore> inner,
                         std::vector<std::string> prefixes = {});

  // Of one operation on all keys, on the keys of one class, or of all operations.
  StoreCounts Counts(StoreOp op) const;
  // REQUIRES: `prefix` was given at construction, or is empty for all other keys.
  StoreCounts Counts(StoreOp op, std::string_view prefix) const;
  StoreCounts Total() const;
  // Back to zero. REQUIRES: no call runs.
  void Reset();

  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override;
  Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) override;
  Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override;
  Result<ObjectInfo> Stat(const ObjectKey& key) override;
  Status List(std::string_view prefix,
              const std::function<Status(const ObjectInfo&)>& visit) override;
  Status Delete(const ObjectKey& key) override;
  // Counts as a request a key: how a store gathers them is its own affair.
  Status DeleteMany(std::span<const ObjectKey> keys) override;
  Result<uint64_t> AbortUploads(std::chrono::seconds age) override {
    return inner_->AbortUploads(age);
  }
  StoreUsage Usage() const override { return inner_->Usage(); }
  void LiftBandwidthLimits(bool lifted) override { inner_->LiftBandwidthLimits(lifted); }
  unsigned PutsAtOnce() const override { return inner_->PutsAtOnce(); }
  unsigned GetsAtOnce() const override { return inner_->GetsAtOnce(); }
  std::string Describe() const override { return inner_->Describe(); }

 private:
  struct Counter {
    std::atomic<uint64_t> requests{0};
    std::atomic<uint64_t> failures{0};
    std::atomic<uint64_t> bytes{0};
  };
  using Row = std::array<Counter, kStoreOps>;

  void Count(StoreOp op, std::string_view key, bool ok, uint64_t bytes);
  static StoreCounts Read(const Counter& counter);

  const std::shared_ptr<ObjectStore> inner_;
  const std::vector<std::string> prefixes_;
  std::vector<Row> rows_;  // one for each prefix, then one for other keys
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_COUNTING_STORE_H_
