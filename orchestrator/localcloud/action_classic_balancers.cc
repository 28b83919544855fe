// Classic load balancers of Elastic Load Balancing, version 2012-06-01.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/status_macros.h"
#include "orchestrator/localcloud/balancers.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

ApiResult<std::string> NamedBalancer(const Call& call) {
  SNAP_ASSIGN_OR_RETURN(const std::string name, call.p.Required("LoadBalancerName"));
  if (call.tx.Find(kClassicKey + name) != nullptr) return kClassicKey + name;
  return ApiError{"LoadBalancerNotFound",
                  fmt::format("There is no ACTIVE Load Balancer named '{}'", name)};
}

std::string CheckTarget(const HealthCheck& check) {
  return check.http ? fmt::format("HTTP:{}{}", check.port, check.path)
                    : fmt::format("TCP:{}", check.port);
}

Json CheckView(const HealthCheck& check) {
  return {{"Target", CheckTarget(check)},
          {"Interval", check.interval_seconds},
          {"Timeout", check.timeout_seconds},
          {"HealthyThreshold", check.healthy_count},
          {"UnhealthyThreshold", check.unhealthy_count}};
}

Json InstanceList(const Json& balancer) {
  Json list = Json::array();
  for (const auto& [id, target] : balancer.at("targets").items()) {
    list.push_back({{"InstanceId", id}});
  }
  return list;
}

ApiResult<Json> CreateLoadBalancer(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check(
      {"LoadBalancerName", "Listeners.member.N.Protocol", "Listeners.member.N.LoadBalancerPort",
       "Listeners.member.N.InstanceProtocol", "Listeners.member.N.InstancePort",
       "AvailabilityZones.member.N", "Subnets.member.N"}));
  SNAP_ASSIGN_OR_RETURN(const std::string name, CheckedName(call.p, "LoadBalancerName"));
  SNAP_ASSIGN_OR_RETURN(const uint64_t port, call.p.Number("Listeners.member.1.InstancePort", 0));
  API_RETURN_IF_ERROR(InRange("InstancePort", port, 1, 65'535));
  if (call.tx.Find(kClassicKey + name) != nullptr) {
    return ApiError{"DuplicateLoadBalancerName",
                    fmt::format("Load balancer '{}' exists already", name)};
  }
  // As EC2 makes one that nothing else was said of.
  const HealthCheck check{.port = port, .healthy_count = 10};
  const std::string dns = fmt::format("{}.{}.elb.localcloud", name, call.facts.region);
  call.tx.Edit(kClassicKey + name) = {
      {"name", name}, {"dns", dns}, {"check", HealthCheckJson(check)}, {"targets", Json::object()}};
  return Json{{"DNSName", dns}};
}

ApiResult<Json> DeleteLoadBalancer(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"LoadBalancerName"}));
  SNAP_ASSIGN_OR_RETURN(const std::string name, call.p.Required("LoadBalancerName"));
  // Of one that does not exist: done, as the API has it.
  if (call.tx.Find(kClassicKey + name) != nullptr) call.tx.Remove(kClassicKey + name);
  return Json::object();
}

ApiResult<Json> ConfigureHealthCheck(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check(
      {"LoadBalancerName", "HealthCheck.Target", "HealthCheck.Interval", "HealthCheck.Timeout",
       "HealthCheck.HealthyThreshold", "HealthCheck.UnhealthyThreshold"}));
  SNAP_ASSIGN_OR_RETURN(const std::string key, NamedBalancer(call));
  SNAP_ASSIGN_OR_RETURN(const std::string target, call.p.Required("HealthCheck.Target"));
  HealthCheck check;
  const size_t colon = target.find(':');
  const size_t slash = std::min(target.find('/'), target.size());
  const std::string how = target.substr(0, colon);
  const Parameters port({{"HealthCheck.Target's port",
                          colon >= slash ? "" : target.substr(colon + 1, slash - colon - 1)}});
  check.http = how == "HTTP";
  if ((how != "HTTP" && how != "TCP") || check.http != (slash < target.size())) {
    return ApiError{
        "ValidationError",
        fmt::format("HealthCheck Target '{}' must be TCP:port or HTTP:port/path", target)};
  }
  if (check.http) check.path = target.substr(slash);
  SNAP_ASSIGN_OR_RETURN(check.port, port.Number("HealthCheck.Target's port", 0));
  SNAP_ASSIGN_OR_RETURN(check.interval_seconds, call.p.Number("HealthCheck.Interval", 30));
  SNAP_ASSIGN_OR_RETURN(check.timeout_seconds, call.p.Number("HealthCheck.Timeout", 5));
  SNAP_ASSIGN_OR_RETURN(check.healthy_count, call.p.Number("HealthCheck.HealthyThreshold", 10));
  SNAP_ASSIGN_OR_RETURN(check.unhealthy_count, call.p.Number("HealthCheck.UnhealthyThreshold", 2));
  API_RETURN_IF_ERROR(InRange("HealthCheck Port", check.port, 1, 65'535));
  API_RETURN_IF_ERROR(InRange("HealthCheck Interval", check.interval_seconds, 5, 300));
  API_RETURN_IF_ERROR(InRange("HealthCheck Timeout", check.timeout_seconds, 2, 60));
  API_RETURN_IF_ERROR(InRange("HealthCheck HealthyThreshold", check.healthy_count, 2, 10));
  API_RETURN_IF_ERROR(InRange("HealthCheck UnhealthyThreshold", check.unhealthy_count, 2, 10));
  call.tx.Edit(key)["check"] = HealthCheckJson(check);
  return Json{{"HealthCheck", CheckView(check)}};
}

std::vector<std::string> InstanceIds(const Parameters& p) {
  std::vector<std::string> ids;
  for (const Parameters& instance : p.Structures("Instances.member")) {
    ids.push_back(instance.Text("InstanceId"));
  }
  return ids;
}

ApiResult<Json> RegisterInstancesWithLoadBalancer(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"LoadBalancerName", "Instances.member.N.InstanceId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string key, NamedBalancer(call));
  const std::vector<std::string> ids = InstanceIds(call.p);
  API_RETURN_IF_ERROR(CheckTargets(call, ids, "InvalidInstance"));
  for (const std::string& id : ids) {
    Json& target = call.tx.Edit(key)["targets"][id];
    if (target.is_null()) target = {{"state", "initial"}, {"streak", 0}};
  }
  return Json{{"Instances", InstanceList(*call.tx.Find(key))}};
}

ApiResult<Json> DeregisterInstancesFromLoadBalancer(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"LoadBalancerName", "Instances.member.N.InstanceId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string key, NamedBalancer(call));
  for (const std::string& id : InstanceIds(call.p)) call.tx.Edit(key)["targets"].erase(id);
  return Json{{"Instances", InstanceList(*call.tx.Find(key))}};
}

Json InstanceStateOf(const Call& call, const std::string& id, const Json& target) {
  const Json* instance = call.tx.Find(id);
  const bool runs = instance != nullptr && StateOf(*instance) == "running";
  const std::string state = target.value("state", "initial");
  if (runs && state == "healthy") {
    return {
        {"InstanceId", id}, {"State", "InService"}, {"ReasonCode", "N/A"}, {"Description", "N/A"}};
  }
  if (runs && state == "initial") {
    return {{"InstanceId", id},
            {"State", "OutOfService"},
            {"ReasonCode", "ELB"},
            {"Description", "Instance registration is still in progress."}};
  }
  return {{"InstanceId", id},
          {"State", "OutOfService"},
          {"ReasonCode", "Instance"},
          {"Description", runs ? "Instance has failed at least the UnhealthyThreshold number of "
                                 "health checks consecutively."
                               : "Instance is in stopped state."}};
}

ApiResult<Json> DescribeInstanceHealth(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"LoadBalancerName", "Instances.member.N.InstanceId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string key, NamedBalancer(call));
  const Json& balancer = *call.tx.Find(key);
  Json states = Json::array();
  for (const std::string& id : AskedTargets(InstanceIds(call.p), balancer)) {
    const auto target = balancer.at("targets").find(id);
    if (target == balancer.at("targets").end()) {
      return ApiError{"InvalidInstance",
                      fmt::format("Could not find EC2 instance {} in the load balancer", id)};
    }
    states.push_back(InstanceStateOf(call, id, *target));
  }
  return Json{{"InstanceStates", states}};
}

}  // namespace

#define LOCALCLOUD_ACTION(name) std::pair<std::string_view, Action>(#name, name)

Action FindClassicBalancerAction(const std::string& name) {
  static constexpr std::array kActions = {LOCALCLOUD_ACTION(CreateLoadBalancer),
                                          LOCALCLOUD_ACTION(DeleteLoadBalancer),
                                          LOCALCLOUD_ACTION(ConfigureHealthCheck),
                                          LOCALCLOUD_ACTION(RegisterInstancesWithLoadBalancer),
                                          LOCALCLOUD_ACTION(DeregisterInstancesFromLoadBalancer),
                                          LOCALCLOUD_ACTION(DescribeInstanceHealth)};
  const auto found = std::find_if(kActions.begin(), kActions.end(),
                                  [&](const auto& action) { return action.first == name; });
  return found == kActions.end() ? nullptr : found->second;
}

#undef LOCALCLOUD_ACTION

}  // namespace snapstore::localcloud
