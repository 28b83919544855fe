// The RunInstances call of a node, from its specification and what was kept of it.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_LAUNCH_REQUEST_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_LAUNCH_REQUEST_H_

#include <string>
#include <vector>

#include "orchestrator/ec2/ec2_api.h"
#include "orchestrator/lifecycle/markets.h"
#include "orchestrator/model/records.h"

namespace snapstore::spot {

// What a launch takes up, fixed before its first try.
struct LaunchPlan {
  std::string image_id;
  std::string root_device;                 // its name, as the image has it
  std::vector<std::string> image_devices;  // the names of all that the image brings
  std::string interface_id;                // that exists; else one is made
  std::string private_ip;                  // of the one that is made; empty: any
};

// As EC2 wants it.
Ec2BlockDevice MappingOf(const BlockDeviceMapping& mapping);

RunInstancesRequest MakeLaunchRequest(const NodeRecord& node, const NodeSpec& spec,
                                      const LaunchPlan& plan, const Market& market,
                                      const std::string& client_token);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_LAUNCH_REQUEST_H_
