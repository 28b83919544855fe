// Changes to resources that several actions, and the workers, make.
//
// Thread safety: free functions; the cloud's mutex guards the records.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_RESOURCES_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_RESOURCES_H_

#include <span>
#include <string>
#include <string_view>

#include "orchestrator/localcloud/call.h"

namespace snapstore::localcloud {

// {"code":16,"name":"running"}.
Json InstanceState(std::string_view name);
std::string StateOf(const Json& instance);

// Asks for an instance's end: "shutting-down". `reason_code` as of stateReason.
void BeginTermination(Records::Transaction& tx, const std::string& instance_id,
                      const std::string& reason_code, const std::string& message);

struct NewVolume {
  std::string zone = {};
  std::string snapshot_id = {};
  uint64_t size_gib = 0;
  std::string type = "gp3";
  uint64_t iops = 0;
  uint64_t throughput = 0;
  Json tags = Json::array();
};
// A record in state "creating". Checks size, type, iops and throughput against each other and the
// snapshot; the id.
ApiResult<std::string> AddVolume(Records::Transaction& tx, NewVolume volume);

struct NewInterface {
  std::string subnet_id = {};
  std::string private_ip = {};  // empty: the first that is free
  std::string description = {};
  std::vector<std::string> group_ids = {};  // empty: the default group
  Json tags = Json::array();
};
ApiResult<std::string> AddInterface(Records::Transaction& tx, const CloudFacts& facts,
                                    const NewInterface& interface);
// The groupSet of these ids.
ApiResult<Json> GroupSet(const Records::Transaction& tx, const CloudFacts& facts,
                         const std::vector<std::string>& ids);
// Takes an address away from an interface and, if it was allocated, from its allocation.
void Disassociate(Records::Transaction& tx, const std::string& interface_id);
// Gives an interface a public address that goes with it.
ApiError AssociateOwnAddress(Records::Transaction& tx, const CloudFacts& facts,
                             const std::string& interface_id);

// A record in state "pending", to be captured by the call.
std::string AddSnapshot(Call& call, const std::string& volume_id, const std::string& description,
                        Json tags);

// What DescribeInstances tells: the record with its volumes and interfaces.
Json InstanceView(const Records::Transaction& tx, const Json& instance);

// Instance types of this cloud; null when there is no such type.
struct InstanceType {
  std::string_view name;
  unsigned vcpus;
  unsigned memory_mib;
  double usd_per_hour;  // on demand
  bool burstable;
  bool previous_generation;
};
const InstanceType* FindInstanceType(std::string_view name);
std::span<const InstanceType> InstanceTypes();

// Spot price in USD an hour, and how many more instances a market takes (< 0: any number).
double SpotPrice(const Records::Transaction& tx, const InstanceType& type, const std::string& zone);
int64_t SpotCapacity(const Records::Transaction& tx, const std::string& type,
                     const std::string& zone, bool spot);
std::string MarketKey(const std::string& type, const std::string& zone);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_RESOURCES_H_
