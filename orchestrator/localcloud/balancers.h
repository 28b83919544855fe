// Load balancers' target groups and classic load balancers, as far as instances are registered with
// them: what is kept of one, and what a health check makes of it. No traffic goes through any.
// Source: "Health checks for your target groups" and "Configure health checks for your Classic
// Load Balancer", Elastic Load Balancing User Guides.
//
// Thread safety: free functions; the cloud's mutex guards the records.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_BALANCERS_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_BALANCERS_H_

#include <string>
#include <vector>

#include "orchestrator/localcloud/call.h"

namespace snapstore::localcloud {

// The versions of the two APIs.
inline constexpr const char* kTargetGroupVersion = "2015-12-01";
inline constexpr const char* kClassicVersion = "2012-06-01";
// A record's key is one of these and the group's or balancer's name.
inline constexpr const char* kTargetGroupKey = "!balancer/group/";
inline constexpr const char* kClassicKey = "!balancer/classic/";
inline constexpr const char* kBalancerKeys = "!balancer/";

// A health check as a record has it, member "check".
struct HealthCheck {
  bool http = false;  // else the port must take a connection
  std::string path = "/";
  uint64_t port = 0;
  uint64_t interval_seconds = 30;
  uint64_t timeout_seconds = 5;
  uint64_t healthy_count = 5;
  uint64_t unhealthy_count = 2;
};
Json HealthCheckJson(const HealthCheck& check);
HealthCheck HealthCheckOf(const Json& balancer);

// Whether a server at `address` answers as it should (200 to 399 to HTTP).
bool Probe(const HealthCheck& check, const std::string& address, uint64_t port);

// Takes one result in: {"state": "initial|healthy|unhealthy", "streak": how often in a row}.
void CountProbe(const HealthCheck& check, bool good, Json* target);

// What the actions of both versions ask of their parameters.
ApiError InRange(const char* name, uint64_t value, uint64_t least, uint64_t most);
ApiResult<std::string> CheckedName(const Parameters& p, const char* parameter);
// Instances by id, at least one; all must exist, else `code`.
ApiError CheckTargets(const Call& call, const std::vector<std::string>& ids, const char* code);
// The targets that are asked for: those named, else all.
std::vector<std::string> AskedTargets(std::vector<std::string> named, const Json& balancer);

// Of each version (action_target_groups.cc, action_classic_balancers.cc); null when there is no
// action of this name.
Action FindTargetGroupAction(const std::string& name);
Action FindClassicBalancerAction(const std::string& name);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_BALANCERS_H_
