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
  double most_usd = 0;  // what a spot instance may cost an hour
  std::vector<LaunchDevice> devices;
  std::vector<LaunchInterface> interfaces;
};

// Whether all parameters are known, and what they ask for is offered.
ApiError CheckLaunchParameters(const Parameters& p);
// REQUIRES: CheckLaunchParameters said OK. `count`: of instances.
ApiResult<Launch> ReadLaunch(const Call& call, uint64_t count);
// Whether the market gives that many now: SpotMaxPriceTooLow, InsufficientInstanceCapacity.
ApiError CheckMarket(const Records::Transaction& tx, const Launch& launch, uint64_t count);
// The records of one instance (action_launch.cc); its id. `request_id`: of the spot request that it
// fulfils; empty: a spot instance gets one.
ApiResult<std::string> AddInstance(Call& call, const Launch& launch, const std::string& reservation,
                                   uint64_t index, const std::string& request_id);

// Decides on a spot request that is open (action_spot_requests.cc). True: its record has changed.
bool EvaluateSpotRequest(Records::Transaction& tx, const CloudFacts& facts, const std::string& id);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_LAUNCH_REQUEST_H_
