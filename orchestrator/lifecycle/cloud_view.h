// CloudView: what the cloud says of all nodes' instances, read with as few calls as can be.
//
// Thread safety: a value.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_CLOUD_VIEW_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_CLOUD_VIEW_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "orchestrator/lifecycle/operation_run.h"

namespace snapstore::spot {

enum class Health { kUnknown, kHealthy, kUnhealthy };

struct CloudView {
  int64_t time_ms = 0;
  std::map<std::string, Ec2Instance> instances;        // by id, those that ended lately included
  std::map<std::string, Health> checks;                // EC2's status checks, by instance
  std::set<std::string> marked;                        // instances about to be taken away
  std::map<std::string, std::string> snapshot_states;  // of those that were pending, by id
  // By load balancer (name or ARN) and instance.
  std::map<std::pair<std::string, std::string>, Health> targets;
  std::map<std::string, AgentRecord> agents;  // by instance
};

// Of these nodes. A part that cannot be read is logged and left out, so that nothing follows from
// it; the instances themselves must be read.
Flow<CloudView> LookAtCloud(const Services& services, const NodeList& nodes);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_CLOUD_VIEW_H_
