// PruneFixture: a repository with several nodes, a store that a test can look into between any two
// operations, and prunes that do not wait half an hour for a dead writer.
#ifndef SNAPSTORE_TESTS_ENGINE_PRUNE_FIXTURE_H_
#define SNAPSTORE_TESTS_ENGINE_PRUNE_FIXTURE_H_

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "snapstore/maintain.h"
#include "tests/engine/fixture.h"
#include "uploader/store_op.h"

namespace snapstore {

// Calls `before` ahead of each operation and counts the bytes read of each object.
class HookStore final : public ObjectStore {
 public:
  using Hook = std::function<void(StoreOp, const std::string& key)>;

  explicit HookStore(std::shared_ptr<ObjectStore> inner, Hook before = nullptr)
      : inner_(std::move(inner)), before_(std::move(before)) {}

  Result<PutOutcome> PutIfAbsent(const ObjectKey& key, std::span<const ByteSpan> parts) override {
    Before(StoreOp::kPut, key.text());
    uint64_t bytes = 0;
    for (const ByteSpan part : parts) bytes += part.size();
    {
      const std::lock_guard lock(mutex_);
      written_[key.text()] += bytes;
    }
    return inner_->PutIfAbsent(key, parts);
  }
  Status GetRange(const ObjectKey& key, uint64_t offset, MutableByteSpan out) override {
    Before(StoreOp::kGetRange, key.text());
    {
      const std::lock_guard lock(mutex_);
      read_[key.text()] += out.size();
    }
    return inner_->GetRange(key, offset, out);
  }
  Result<Bytes> Get(const ObjectKey& key, size_t bytes_max) override {
    Before(StoreOp::kGet, key.text());
    Result<Bytes> bytes = inner_->Get(key, bytes_max);
    const std::lock_guard lock(mutex_);
    if (bytes.ok()) read_[key.text()] += bytes->size();
    return bytes;
  }
  Result<ObjectInfo> Stat(const ObjectKey& key) override {
    Before(StoreOp::kStat, key.text());
    return inner_->Stat(key);
  }
  Status List(std::string_view prefix,
              const std::function<Status(const ObjectInfo&)>& visit) override {
    Before(StoreOp::kList, std::string(prefix));
    return inner_->List(prefix, visit);
  }
  Status Delete(const ObjectKey& key) override {
    Before(StoreOp::kDelete, key.text());
    return inner_->Delete(key);
  }
  std::string Describe() const override { return inner_->Describe(); }

  // Bytes, by key. REQUIRES: no call runs.
  const std::map<std::string, uint64_t>& read() const { return read_; }
  const std::map<std::string, uint64_t>& written() const { return written_; }

 private:
  void Before(StoreOp op, const std::string& key) {
    if (before_ != nullptr) before_(op, key);
  }

  const std::shared_ptr<ObjectStore> inner_;
  const Hook before_;
  std::mutex mutex_;
  std::map<std::string, uint64_t> read_;
  std::map<std::string, uint64_t> written_;
};

// Time in which a lease of half an hour is over in a moment, for the prune alone.
inline LeaseOptions ImpatientLease() {
  // However fast the machine is: whoever looks twice finds that an hour has gone by.
  constexpr int64_t kHour = 3600 * int64_t{1'000'000'000};
  const auto now = std::make_shared<std::atomic<int64_t>>(BootNanos());
  return {.life = std::chrono::seconds(100'000'000), .clock = [now] { return *now += kHour; }};
}

// The name of a case that is run for either kind of repository.
inline std::string EncryptedOrPlain(const testing::TestParamInfo<bool>& info) {
  return info.param ? "Encrypted" : "Plain";
}

class PruneFixture : public EngineFixture {
 protected:
  using EngineFixture::EngineFixture;

  // Another machine: its own cache folder. `before` sees what it does.
  std::unique_ptr<RepositoryImpl> Node(const std::string& name,
                                       const HookStore::Hook& before = nullptr) {
    return OpenRepository(std::make_unique<HookStore>(store_, before), "cache-" + name);
  }
  std::unique_ptr<RepositoryImpl> NodeOf(std::shared_ptr<ObjectStore> store,
                                         const std::string& name) {
    return OpenRepository(std::make_unique<HookStore>(std::move(store)), "cache-" + name);
  }

  static PruneOptions Thorough() { return {.max_unused_bytes = 0}; }

  // By a node of its own.
  Result<PruneSummary> TryPrune(const PruneOptions& options = Thorough(), bool impatient = false) {
    const std::unique_ptr<RepositoryImpl> node = Node("janitor");
    if (impatient) node->lease_options() = ImpatientLease();
    node->lease_options().store_slack = {};  // what a test stores is younger than that
    return PruneRepository(*node, options, nullptr);
  }
  PruneSummary Prune(const PruneOptions& options = Thorough(), bool impatient = false) {
    const Result<PruneSummary> summary = TryPrune(options, impatient);
    EXPECT_TRUE(summary.ok()) << summary.status().ToString();
    return summary.ok() ? *summary : PruneSummary();
  }
  static Result<SnapshotSummary> Take(RepositoryImpl& node, const std::string& path,
                                      const std::string& parent = "auto") {
    SnapshotRequest request;
    request.paths = {path};
    request.parent = parent;
    return TakeSnapshot(node, request, nullptr);
  }
  void Forget(const std::string& id) { Remove("snapshots/" + id); }

  // Nothing is damaged, nothing is left over.
  void ExpectClean() {
    EXPECT_EQ(Describe(Check({.read_data = true})), "");
    EXPECT_TRUE(KeysBelow("leases/").empty());
    PruneOptions options = Thorough();
    options.dry_run = true;
    const PruneSummary left = Prune(options);
    EXPECT_EQ(left.plan.packs_delete, 0u);
    EXPECT_EQ(left.plan.packs_rewrite, 0u);
    EXPECT_EQ(left.plan.bytes_unused_left, 0u);
    EXPECT_EQ(left.plan.segments_replace, 0u);
  }
  // A machine that knows nothing yet restores what `expected` (of ScanTree) says.
  void ExpectRestores(const std::string& id, const std::map<std::string, std::string>& expected) {
    std::filesystem::remove_all(target());
    std::filesystem::remove_all(folder_.File("cache-cold"));
    const std::unique_ptr<RepositoryImpl> node = Node("cold");
    const Result<RestoreSummary> restored = RestoreSnapshot(*node, AllOf(id), nullptr);
    ASSERT_TRUE(restored.ok()) << restored.status().ToString();
    EXPECT_EQ(restored->failed, 0u);
    EXPECT_EQ(ScanTree(Restored(source())), expected);
  }
  uint64_t StoredBytes() const {
    uint64_t bytes = 0;
    for (const auto& [key, content] : Objects()) bytes += content.size();
    return bytes;
  }
};

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_ENGINE_PRUNE_FIXTURE_H_
