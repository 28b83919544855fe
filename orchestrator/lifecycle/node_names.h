// Names of a node in Route 53: they point to its instance while it has one.
//
// Thread safety: as OperationRun.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_NODE_NAMES_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_NODE_NAMES_H_

#include <string>

#include "orchestrator/lifecycle/operation_run.h"

namespace snapstore::spot {

// Sets the records of integrations.route53. What is refused for good is told in an event: the node
// runs without it.
Flow<Done> PublishNames(OperationRun* run, const Ec2Instance& instance);
// Takes them back, as far as they still say what was set. Steps are named "<prefix>/names".
Flow<Done> WithdrawNames(OperationRun* run, const std::string& prefix);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_NODE_NAMES_H_
