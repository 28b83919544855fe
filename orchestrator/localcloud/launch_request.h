// A call of RunInstances, read and checked: nothing is changed until all of it is.
//
// Thread safety: see call.h.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_LAUNCH_REQUEST_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_LAUNCH_REQUEST_H_

#include <string>
#include <vector>

#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {

struct LaunchDevice {
  std::string name = {};
  NewVolume volume = {};
  bool delete_on_termination = true;
};

struct LaunchInterface {
  std::string id = {};  // one that exists; else `made` says what to make
  NewInterface made = {};
  uint64_t index = 0;
  bool delete_on_termination = true;
  bool public_address = false;
};

struct Launch {
  const InstanceType* type = nullptr;
  const Json* image = nullptr;
  std::string zone;
  std::string subnet_id;
  bool spot = false;
  std::string max_price;
  std::vector<LaunchDevice> devices;
  std::vector<LaunchInterface> interfaces;
};

// Whether all parameters are known, and what they ask for is offered.
ApiError CheckLaunchParameters(const Parameters& p);
// REQUIRES: CheckLaunchParameters said OK. `count`: of instances.
ApiResult<Launch> ReadLaunch(const Call& call, uint64_t count);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_LAUNCH_REQUEST_H_
