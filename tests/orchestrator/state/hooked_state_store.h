// HookedStateStore: any StateStore, with hooks where a controller may be made to die.
//
// Errors: those of the store below. A hook may throw; before_commit: nothing has happened.
//
// Thread safety: as the store below; hooks and the store itself are set while nobody calls.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_STATE_HOOKED_STATE_STORE_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_STATE_HOOKED_STATE_STORE_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

class HookedStateStore : public StateStore {
 public:
  explicit HookedStateStore(std::unique_ptr<StateStore> below) : below_(std::move(below)) {}

  std::function<void(const Transaction&)> before_commit = nullptr;
  std::function<void(const Transaction&)> after_commit = nullptr;  // of one that succeeded

  // Goes on with another store, as a controller does that starts anew.
  void Use(std::unique_ptr<StateStore> below) { below_ = std::move(below); }

  Result<StateEntry> Get(const std::string& key) override { return below_->Get(key); }
  Result<StateListing> List(const std::string& prefix, const std::string& after,
                            size_t limit) override {
    return below_->List(prefix, after, limit);
  }
  Result<uint64_t> Commit(const Transaction& transaction) override {
    if (before_commit) before_commit(transaction);
    Result<uint64_t> revision = below_->Commit(transaction);
    if (revision.ok() && after_commit) after_commit(transaction);
    return revision;
  }
  Result<StoreChanges> Watch(const std::string& prefix, uint64_t revision,
                             std::chrono::milliseconds timeout) override {
    return below_->Watch(prefix, revision, timeout);
  }
  Result<std::unique_ptr<Leadership>> Campaign(const std::string& candidate,
                                               std::chrono::milliseconds timeout) override {
    return below_->Campaign(candidate, timeout);
  }

 private:
  std::unique_ptr<StateStore> below_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_STATE_HOOKED_STATE_STORE_H_
