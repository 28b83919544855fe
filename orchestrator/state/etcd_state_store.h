// EtcdStateStore: the state of several controllers with one leader, in etcd 3.4 or later, through
// its HTTP/JSON gateway (/v3/kv, /v3/watch, /v3/lease).
//
// The history is etcd's; run it with --auto-compaction-retention, or it grows. Every call tries
// the endpoints in turn; a commit that cannot be told to have failed is not tried again.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_ETCD_STATE_STORE_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_ETCD_STATE_STORE_H_

#include <memory>
#include <string>
#include <vector>

#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

struct EtcdOptions {
  std::vector<std::string> endpoints;  // "http://127.0.0.1:2379", "https://…"
  std::string key_prefix = "/snapstore/";
  std::string ca_file = {};  // PEM; empty: the system's
  std::chrono::milliseconds timeout{5'000};
  // How long a leader that died is waited for.
  std::chrono::seconds leader_lease{10};
};

class EtcdStateStore {
 public:
  // Io, Timeout: no endpoint answers.
  static Result<std::unique_ptr<StateStore>> Open(const EtcdOptions& options);
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_ETCD_STATE_STORE_H_
