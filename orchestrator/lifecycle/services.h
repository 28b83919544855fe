// What the life-cycle works with.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_SERVICES_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_SERVICES_H_

#include <cstdint>
#include <functional>
#include <string>

#include "orchestrator/ec2/ec2_api.h"
#include "orchestrator/ec2/elb_api.h"
#include "orchestrator/ec2/route53_api.h"
#include "orchestrator/lifecycle/agent_caller.h"
#include "orchestrator/lifecycle/market_memory.h"
#include "orchestrator/state/operation_journal.h"

namespace snapstore::spot {

inline constexpr int64_t kMsPerSecond = 1000;
inline constexpr int64_t kNanosPerMs = 1'000'000;
// After which EC2 knows, wherever it is asked, what it said before.
inline constexpr int64_t kConsistencyMs = 60'000;
// Named in one call of EC2.
inline constexpr size_t kIdsAtOnce = 200;
// EC2's limit, of a resource.
inline constexpr size_t kTagsMax = 50;

// Times are milliseconds.
struct LifecycleOptions {
  int64_t snapshot_interval_ms = 300'000;
  size_t snapshots_kept = 3;
  int64_t retention_ms = 96LL * 3'600'000;
  bool purge_unflagged = false;       // what a deletion does not flag goes too, after retention
  int64_t poll_ms = 100;              // between looks at something that is about to happen, at
  int64_t poll_max_ms = 5'000;        // first and at most
  int64_t capacity_retry_ms = 5'000;  // after all markets were full, at first and at most
  int64_t capacity_retry_max_ms = 300'000;
  int64_t agent_wait_ms = 600'000;         // for the agent to report the applications
  int64_t agent_silence_ms = 120'000;      // after which it is not healthy
  int64_t script_limit_ms = 600'000;       // of a shutdown script
  int64_t stop_limit_ms = 300'000;         // of the final checkpoints
  int64_t revert_interval_ms = 3'600'000;  // twice as long after each that was in vain, at most
  int64_t revert_interval_max_ms = 86'400'000;
};

// All must outlive the life-cycle.
struct Services {
  ControllerState* state = nullptr;
  OperationJournal* journal = nullptr;
  Ec2Api* ec2 = nullptr;
  ElbApi* elb = nullptr;
  Route53Api* route53 = nullptr;  // null: names are not kept
  AgentCaller* agents = nullptr;
  MarketMemory* markets = nullptr;
  // US dollars an hour; 0: not known.
  std::function<double(const std::string& instance_type)> on_demand_price;
  std::string region;         // that `ec2` speaks to; empty: not checked
  int64_t started_at_ms = 0;  // when this controller began
  LifecycleOptions options;
};

// Tags of everything that the life-cycle makes.
struct NodeTag {
  static constexpr const char* kNode = "snapstore:node";
  static constexpr const char* kAccount = "snapstore:account";
  static constexpr const char* kToken = "snapstore:token";        // of the step that made it
  static constexpr const char* kRetained = "snapstore:retained";  // when its node was deleted
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_SERVICES_H_
