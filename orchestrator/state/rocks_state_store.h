// RocksStateStore: the state of one controller, in an embedded RocksDB.
//
// Commits of many threads share one fsync. The last kHistoryCommits commits can be watched, also
// after a restart.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_ROCKS_STATE_STORE_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_ROCKS_STATE_STORE_H_

#include <memory>
#include <string>

#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

class RocksStateStore {
 public:
  static constexpr uint64_t kHistoryCommits = 20'000;

  // Opens or makes the store in the folder `path`, whose parent exists. Conflict: another process
  // has it open. Corruption: it holds something else, or is damaged.
  static Result<std::unique_ptr<StateStore>> Open(const std::string& path);
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_ROCKS_STATE_STORE_H_
