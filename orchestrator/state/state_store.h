// StateStore: what a controller remembers. Ordered keys with values, changed in transactions that
// check what they were based on, and a sequence of revisions that lets a reader follow changes.
//
//   Transaction change;
//   change.Require("node/act-1/smi-2", seen.revision);   // compare …
//   change.Put("node/act-1/smi-2", text);                // … and swap
//   Result<uint64_t> revision = store->Commit(change);   // Conflict: somebody else was there first
//
// A commit that returned is durable: it survives kill -9 and a power cut. One that returned an
// error other than Conflict and InvalidArgument may have happened or not: look.
//
// Errors of all calls: Conflict, Timeout, Io, NoSpace, Corruption as usual; NotFound is only said
// of keys (Get) and of history that is gone (Watch).
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_STATE_STORE_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_STATE_STORE_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::spot {

inline constexpr size_t kStateKeyBytesMax = 512;
inline constexpr size_t kStateValueBytesMax = 1 << 20;
// Conditions, and changes; etcd's default limit is 128 of each.
inline constexpr size_t kTransactionStepsMax = 100;

struct StateEntry {
  std::string key;
  std::string value;
  uint64_t revision = 0;  // of the commit that wrote it
};

struct StateListing {
  std::vector<StateEntry> entries;  // ascending
  bool more = false;                // there are further ones after the last
  uint64_t revision = 0;            // the store's, when this was true: what a Watch goes on from
};

struct StoreChange {
  std::string key;
  bool deleted = false;
  std::string value;  // of a put
  uint64_t revision = 0;
};

struct StoreChanges {
  std::vector<StoreChange> changes;  // in the order they were made
  uint64_t revision = 0;             // what the next Watch goes on from
};

class Transaction {
 public:
  // The key must be of that revision; 0: there must be no such key.
  void Require(std::string key, uint64_t revision) {
    conditions.push_back({std::move(key), revision});
  }
  void Put(std::string key, std::string value) {
    changes.push_back({std::move(key), std::move(value), false});
  }
  // Of a key that is not there: no change.
  void Delete(std::string key) { changes.push_back({std::move(key), {}, true}); }

  struct Condition {
    std::string key;
    uint64_t revision;
  };
  struct Change {
    std::string key;
    std::string value;
    bool deleted;
  };
  std::vector<Condition> conditions;
  std::vector<Change> changes;  // of distinct keys
};

// The claim to be the one controller that changes the cloud. Given back when destroyed.
//
// Thread safety: all calls may run concurrently.
class Leadership {
 public:
  virtual ~Leadership() = default;
  // False once the claim was lost, for good: stop, and campaign anew.
  virtual bool Held() const = 0;
  // Makes a transaction fail with Conflict if the claim is lost by the time it is committed.
  virtual void Fence(Transaction* transaction) const = 0;
};

class StateStore {
 public:
  virtual ~StateStore() = default;

  virtual Result<StateEntry> Get(const std::string& key) = 0;

  // Those that begin with `prefix` and come after `after` (empty: all), at most `limit`.
  virtual Result<StateListing> List(const std::string& prefix, const std::string& after,
                                    size_t limit) = 0;

  // All or nothing; the store's new revision. Conflict: a condition does not hold.
  // InvalidArgument: a limit is exceeded, or a key is changed twice.
  virtual Result<uint64_t> Commit(const Transaction& transaction) = 0;

  // Waits until something that begins with `prefix` changes after `revision`, at most `timeout`:
  // at least one commit's whole part; nothing when the time was up. NotFound: the history since
  // then is gone, so list again.
  virtual Result<StoreChanges> Watch(const std::string& prefix, uint64_t revision,
                                     std::chrono::milliseconds timeout) = 0;

  // Waits at most `timeout` to become the leader; Timeout: somebody else is. An embedded store has
  // one user, who leads.
  virtual Result<std::unique_ptr<Leadership>> Campaign(const std::string& candidate,
                                                       std::chrono::milliseconds timeout) = 0;
};

// The limits that hold for every store. InvalidArgument.
Status CheckTransaction(const Transaction& transaction);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_STATE_STORE_H_
