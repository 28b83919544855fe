#include "uploader/counting_store.h"

#include <algorithm>

#include "base/check.h"

namespace snapstore {
namespace {

void AddTo(StoreCounts* sum, const StoreCounts& counts) {
  sum->requests += counts.requests;
  sum->failures += counts.failures;
  sum->bytes += counts.bytes;
}

}  // namespace

CountingStore::CountingStore(std::shared_ptr<ObjectStore> inner, std::vector<std::string> prefixes)
    : inner_(std::move(inner)), prefixes_(std::move(prefixes)), rows_(prefixes_.size() + 1) {}

StoreCounts CountingStore::Read(const Counter& counter) {
  return {counter.requests.load(), counter.failures.load(), counter.bytes.load()};
}

StoreCounts CountingStore::Counts(StoreOp op) const {
  StoreCounts sum;
  for (const Row& row : rows_) AddTo(&sum, Read(row[static_cast<size_t>(op)]));
  return sum;
}

StoreCounts CountingStore::Counts(StoreOp op, std::string_view prefix) const {
  const auto at = std::find(prefixes_.begin(), prefixes_.end(), prefix);
  SNAP_CHECK(at != prefixes_.end() || prefix.empty());
  return Read(rows_[static_cast<size_t>(at - prefixes_.begin())][static_cast<size_t>(op)]);
}

StoreCounts CountingStore::Total() const {
  StoreCounts sum;
  for (size_t op = 0; op < kStoreOps; ++op) AddTo(&sum, Counts(static_cast<StoreOp>(op)));
  return sum;
}

void CountingStore::Reset() {
  for (Row& row : rows_) {
    for (Counter& counter : row) {
      counter.requests = 0;
      counter.failures = 0;
      counter.bytes = 0;
    }
  }
}

void CountingStore::Count(StoreOp op, std::string_view key, bool ok, uint64_t bytes) {
  const auto at = std::find_if(prefixes_.begin(), prefixes_.end(), [&](const std::string& prefix) {
    return key.substr(0, prefix.size()) == prefix;
  });
  Counter& counter = rows_[static_cast<size_t>(at - prefixes_.begin())][static_cast<size_t>(op)];
  ++counter.requests;
  if (ok) {
    counter.bytes += bytes;
  } else {
    ++counter.failures;
  }
}

Result<PutOutcome> CountingStore::PutIfAbsent(const ObjectKey& key,
                                              std::span<const ByteSpan> parts) {
  Result<PutOutcome> outcome = inner_->PutIfAbsent(key, parts);
  uint64_t bytes = 0;
  if (outcome.ok() && *outcome == PutOutcome::kCreated) {
    for (const ByteSpan part : parts) bytes += part.size();
  }
  Count(StoreOp::kPut, key.text(), outcome.ok(), bytes);
  return outcome;
}

Status CountingStore::GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) {
  Status status = inner_->GetRange(key, offset, out);
  Count(StoreOp::kGetRange, key.text(), status.ok(), out.size());
  return status;
}

Result<Bytes> CountingStore::Get(const ObjectKey& key, size_t bytes_max) {
  Result<Bytes> bytes = inner_->Get(key, bytes_max);
  Count(StoreOp::kGet, key.text(), bytes.ok(), bytes.ok() ? bytes->size() : 0);
  return bytes;
}

Result<ObjectInfo> CountingStore::Stat(const ObjectKey& key) {
  Result<ObjectInfo> info = inner_->Stat(key);
  Count(StoreOp::kStat, key.text(), info.ok(), 0);
  return info;
}

Status CountingStore::List(std::string_view prefix,
                           const std::function<Status(const ObjectInfo&)>& visit) {
  Status status = inner_->List(prefix, visit);
  Count(StoreOp::kList, prefix, status.ok(), 0);
  return status;
}

Status CountingStore::Delete(const ObjectKey& key) {
  Status status = inner_->Delete(key);
  Count(StoreOp::kDelete, key.text(), status.ok(), 0);
  return status;
}

Status CountingStore::DeleteMany(std::span<const ObjectKey> keys) {
  Status status = inner_->DeleteMany(keys);
  for (const ObjectKey& key : keys) Count(StoreOp::kDelete, key.text(), status.ok(), 0);
  return status;
}

}  // namespace snapstore
