// NodeWatch: what is to be done about a node on which nothing is under way.
//
// Pure: the node's record and what the cloud shows go in; events, changes of the record and at most
// one request come out. Reconciler stores and asks.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_NODE_WATCH_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_NODE_WATCH_H_

#include <optional>
#include <string>
#include <vector>

#include "orchestrator/lifecycle/cloud_view.h"

namespace snapstore::spot {

struct WantedAction {
  NodeAction action = NodeAction::kRecycle;
  std::string trigger;  // "interruption", "terminated", "unhealthy", "schedule", "rebalance", …
  std::string reason;
  int64_t deadline_ms = 0;  // of an interruption: when the instance goes
};

struct NewEvent {
  std::string type;
  Severity severity = Severity::kInfo;
  std::string message;
};

struct Findings {
  std::optional<WantedAction> action;
  std::vector<NewEvent> events;
  // The record as it is to be, if `changed`.
  NodeRuntime runtime;
  bool changed = false;
  bool wants_snapshots = false;  // a tick is due
  // Snapshots to be deleted; they leave the record once they are.
  std::vector<std::string> outdated;
  std::vector<size_t> tasks_that_are_over;  // indices of scheduling.tasks
};

// REQUIRES: the node has no operation. `instance`: looked up by itself because the view does not
// have it; null: it does not exist.
Findings WatchNode(const Services& services, const NodeRecord& node, const CloudView& view,
                   const Ec2Instance* instance);

// What an agent's report alone calls for.
std::optional<WantedAction> ActionOfNotice(const NodeRecord& node, const AgentRecord& agent,
                                           int64_t now_ms);

// The devices of which snapshots are taken while the node runs.
bool TakesPeriodicSnapshots(const NodeSpec& spec, const KeptDevice& device, bool many_zones);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_NODE_WATCH_H_
