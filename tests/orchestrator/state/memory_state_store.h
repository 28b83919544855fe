// MemoryStateStore: a StateStore for simulations: in memory, with the semantics of the others.
//
// What is stored belongs to a StateMemory, which a later store over the same memory finds as the
// earlier one left it: the disk that survives a crash.
//
// Errors: those of StateStore.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_STATE_MEMORY_STATE_STORE_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_STATE_MEMORY_STATE_STORE_H_

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

struct StateMemory {
  // Commits that can be watched.
  size_t history_max = 20'000;
  // Keys that begin so are counted and thrown away: what a long simulation never reads.
  std::vector<std::string> write_only = {};

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::map<std::string, StateEntry> entries;
  std::deque<StoreChanges> history;
  uint64_t forgotten = 0;  // the newest revision that the history has lost
  uint64_t revision = 0;
};

class MemoryStateStore : public StateStore {
 public:
  explicit MemoryStateStore(std::shared_ptr<StateMemory> memory) : memory_(std::move(memory)) {}

  Result<StateEntry> Get(const std::string& key) override {
    const std::lock_guard lock(memory_->mutex);
    const auto found = memory_->entries.find(key);
    if (found == memory_->entries.end()) return Status::NotFound(key);
    return found->second;
  }

  Result<StateListing> List(const std::string& prefix, const std::string& after,
                            size_t limit) override {
    const std::lock_guard lock(memory_->mutex);
    StateListing listing;
    listing.revision = memory_->revision;
    auto at =
        after > prefix ? memory_->entries.upper_bound(after) : memory_->entries.lower_bound(prefix);
    for (; at != memory_->entries.end() && at->first.starts_with(prefix); ++at) {
      if (at->first == after) continue;
      if (listing.entries.size() == limit) {
        listing.more = true;
        break;
      }
      listing.entries.push_back(at->second);
    }
    return listing;
  }

  Result<uint64_t> Commit(const Transaction& transaction) override {
    SNAP_RETURN_IF_ERROR(CheckTransaction(transaction));
    uint64_t revision = 0;
    {
      const std::lock_guard lock(memory_->mutex);
      for (const Transaction::Condition& condition : transaction.conditions) {
        const auto found = memory_->entries.find(condition.key);
        const uint64_t is = found == memory_->entries.end() ? 0 : found->second.revision;
        if (is != condition.revision) return Status::Conflict(condition.key);
      }
      revision = Apply(transaction);
    }
    memory_->changed.notify_all();
    return revision;
  }

  Result<StoreChanges> Watch(const std::string& prefix, uint64_t revision,
                             std::chrono::milliseconds timeout) override {
    std::unique_lock lock(memory_->mutex);
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (true) {
      if (revision < memory_->forgotten) return Status::NotFound("the history is gone");
      StoreChanges found;
      for (const StoreChanges& commit : memory_->history) {
        if (commit.revision <= revision) continue;
        for (const StoreChange& change : commit.changes) {
          if (change.key.starts_with(prefix)) found.changes.push_back(change);
        }
      }
      found.revision = std::max(revision, memory_->revision);
      if (!found.changes.empty()) return found;
      if (memory_->changed.wait_until(lock, deadline) == std::cv_status::timeout) return found;
    }
  }

  Result<std::unique_ptr<Leadership>> Campaign(const std::string& /*candidate*/,
                                               std::chrono::milliseconds /*timeout*/) override {
    class Alone : public Leadership {
     public:
      bool Held() const override { return true; }
      void Fence(Transaction* /*transaction*/) const override {}
    };
    return std::unique_ptr<Leadership>(std::make_unique<Alone>());
  }

 private:
  // REQUIRES: the mutex is held.
  uint64_t Apply(const Transaction& transaction) {
    StateMemory& memory = *memory_;
    const uint64_t revision = ++memory.revision;
    StoreChanges commit;
    commit.revision = revision;
    for (const Transaction::Change& change : transaction.changes) {
      if (std::any_of(memory.write_only.begin(), memory.write_only.end(),
                      [&](const std::string& prefix) { return change.key.starts_with(prefix); })) {
        continue;
      }
      if (change.deleted) {
        if (memory.entries.erase(change.key) == 0) continue;
      } else {
        memory.entries[change.key] = {change.key, change.value, revision};
      }
      if (memory.history_max > 0) {
        commit.changes.push_back({change.key, change.deleted, change.value, revision});
      }
    }
    memory.history.push_back(std::move(commit));
    while (memory.history.size() > memory.history_max) {
      memory.forgotten = memory.history.front().revision;
      memory.history.pop_front();
    }
    return revision;
  }

  const std::shared_ptr<StateMemory> memory_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_STATE_MEMORY_STATE_STORE_H_
