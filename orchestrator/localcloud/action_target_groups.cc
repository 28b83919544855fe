// Target groups of Elastic Load Balancing, version 2015-12-01.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/balancers.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

ApiResult<std::string> GroupKey(const Call& call, const std::string& arn) {
  for (const std::string& key : call.tx.Ids(kTargetGroupKey)) {
    if (call.tx.Find(key)->value("targetGroupArn", "") == arn) return key;
  }
  return ApiError{"TargetGroupNotFound", fmt::format("Target groups '{}' not found", arn)};
}

ApiResult<std::string> NamedGroup(const Call& call) {
  SNAP_ASSIGN_OR_RETURN(const std::string arn, call.p.Required("TargetGroupArn"));
  return GroupKey(call, arn);
}

Json GroupView(const Json& record) {
  const HealthCheck check = HealthCheckOf(record);
  Json view = {{"TargetGroupArn", record.at("targetGroupArn")},
               {"TargetGroupName", record.at("name")},
               {"Protocol", record.at("protocol")},
               {"Port", record.at("port")},
               {"VpcId", record.at("vpcId")},
               {"TargetType", "instance"},
               {"HealthCheckEnabled", true},
               {"HealthCheckProtocol", check.http ? "HTTP" : "TCP"},
               {"HealthCheckPort", check.port == 0 ? "traffic-port" : std::to_string(check.port)},
               {"HealthCheckIntervalSeconds", check.interval_seconds},
               {"HealthCheckTimeoutSeconds", check.timeout_seconds},
               {"HealthyThresholdCount", check.healthy_count},
               {"UnhealthyThresholdCount", check.unhealthy_count}};
  if (check.http) view["HealthCheckPath"] = check.path;
  return view;
}

ApiResult<HealthCheck> ReadGroupCheck(const Parameters& p, const std::string& protocol) {
  HealthCheck check;
  const std::string how = p.Has("HealthCheckProtocol") ? p.Text("HealthCheckProtocol") : protocol;
  if (how != "HTTP" && how != "TCP") {
    return ApiError{"UnsupportedOperation",
                    fmt::format("Protocol={} is not supported here, only HTTP and TCP", how)};
  }
  check.http = how == "HTTP";
  if (p.Has("HealthCheckPath")) check.path = p.Text("HealthCheckPath");
  if (p.Has("HealthCheckPort") && p.Text("HealthCheckPort") != "traffic-port") {
    SNAP_ASSIGN_OR_RETURN(check.port, p.Number("HealthCheckPort", 0));
    API_RETURN_IF_ERROR(InRange("HealthCheckPort", check.port, 1, 65'535));
  }
  SNAP_ASSIGN_OR_RETURN(check.interval_seconds, p.Number("HealthCheckIntervalSeconds", 30));
  SNAP_ASSIGN_OR_RETURN(check.timeout_seconds, p.Number("HealthCheckTimeoutSeconds", 5));
  SNAP_ASSIGN_OR_RETURN(check.healthy_count, p.Number("HealthyThresholdCount", 5));
  SNAP_ASSIGN_OR_RETURN(check.unhealthy_count, p.Number("UnhealthyThresholdCount", 2));
  API_RETURN_IF_ERROR(InRange("HealthCheckIntervalSeconds", check.interval_seconds, 5, 300));
  API_RETURN_IF_ERROR(InRange("HealthCheckTimeoutSeconds", check.timeout_seconds, 2, 120));
  API_RETURN_IF_ERROR(InRange("HealthyThresholdCount", check.healthy_count, 2, 10));
  API_RETURN_IF_ERROR(InRange("UnhealthyThresholdCount", check.unhealthy_count, 2, 10));
  return check;
}

ApiResult<Json> CreateTargetGroup(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"Name", "Protocol", "Port", "VpcId", "TargetType",
                                    "HealthCheckProtocol", "HealthCheckPath", "HealthCheckPort",
                                    "HealthCheckIntervalSeconds", "HealthCheckTimeoutSeconds",
                                    "HealthyThresholdCount", "UnhealthyThresholdCount"}));
  SNAP_ASSIGN_OR_RETURN(const std::string name, CheckedName(call.p, "Name"));
  SNAP_ASSIGN_OR_RETURN(const std::string protocol, call.p.Required("Protocol"));
  SNAP_ASSIGN_OR_RETURN(const std::string vpc, call.p.Required("VpcId"));
  API_RETURN_IF_ERROR(Lookup(call.tx, kVpcs, vpc).status());
  SNAP_ASSIGN_OR_RETURN(const uint64_t port, call.p.Number("Port", 0));
  API_RETURN_IF_ERROR(InRange("Port", port, 1, 65'535));
  if (call.p.Has("TargetType") && call.p.Text("TargetType") != "instance") {
    return ApiError{"UnsupportedOperation", "TargetType: only instance is supported here"};
  }
  SNAP_ASSIGN_OR_RETURN(const HealthCheck check, ReadGroupCheck(call.p, protocol));
  const std::string key = kTargetGroupKey + name;
  if (call.tx.Find(key) != nullptr) {
    return ApiError{"DuplicateTargetGroupName",
                    fmt::format("A target group with the name '{}' exists", name)};
  }
  std::array<uint8_t, 8> random{};
  SecureRandom(random);
  call.tx.Edit(key) = {
      {"name", name},
      {"targetGroupArn",
       fmt::format("arn:aws:elasticloadbalancing:{}:{}:targetgroup/{}/{}", call.facts.region,
                   call.facts.account, name, HexEncode(random))},
      {"protocol", protocol},
      {"port", port},
      {"vpcId", vpc},
      {"check", HealthCheckJson(check)},
      {"targets", Json::object()}};
  return Json{{"TargetGroups", Json::array({GroupView(*call.tx.Find(key))})}};
}

ApiResult<Json> DeleteTargetGroup(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"TargetGroupArn"}));
  SNAP_ASSIGN_OR_RETURN(const std::string key, NamedGroup(call));
  call.tx.Remove(key);
  return Json::object();
}

ApiResult<Json> DescribeTargetGroups(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"TargetGroupArns.member.N", "Names.member.N"}));
  std::vector<std::string> keys;
  for (const std::string& arn : call.p.List("TargetGroupArns.member")) {
    SNAP_ASSIGN_OR_RETURN(const std::string key, GroupKey(call, arn));
    keys.push_back(key);
  }
  for (const std::string& name : call.p.List("Names.member")) {
    if (call.tx.Find(kTargetGroupKey + name) == nullptr) return GroupKey(call, name).status();
    keys.push_back(kTargetGroupKey + name);
  }
  if (!call.p.Has("TargetGroupArns.member.1") && !call.p.Has("Names.member.1")) {
    keys = call.tx.Ids(kTargetGroupKey);
  }
  Json groups = Json::array();
  for (const std::string& key : keys) groups.push_back(GroupView(*call.tx.Find(key)));
  return Json{{"TargetGroups", groups}};
}

ApiResult<Json> RegisterTargets(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"TargetGroupArn", "Targets.member.N.Id", "Targets.member.N.Port"}));
  SNAP_ASSIGN_OR_RETURN(const std::string key, NamedGroup(call));
  std::vector<std::string> ids;
  for (const Parameters& target : call.p.Structures("Targets.member")) {
    ids.push_back(target.Text("Id"));
  }
  API_RETURN_IF_ERROR(CheckTargets(call, ids, "InvalidTarget"));
  Json& group = call.tx.Edit(key);
  for (const Parameters& target : call.p.Structures("Targets.member")) {
    SNAP_ASSIGN_OR_RETURN(const uint64_t port,
                          target.Number("Port", group.value("port", uint64_t{0})));
    Json& kept = group["targets"][target.Text("Id")];
    if (kept.is_null() || kept.value("port", uint64_t{0}) != port) {
      kept = {{"port", port}, {"state", "initial"}, {"streak", 0}};
    }
  }
  return Json::object();
}

ApiResult<Json> DeregisterTargets(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"TargetGroupArn", "Targets.member.N.Id", "Targets.member.N.Port"}));
  SNAP_ASSIGN_OR_RETURN(const std::string key, NamedGroup(call));
  // Nothing is under way through it, so nothing drains.
  for (const Parameters& target : call.p.Structures("Targets.member")) {
    call.tx.Edit(key)["targets"].erase(target.Text("Id"));
  }
  return Json::object();
}

Json TargetHealthOf(const Call& call, const Json& group, const std::string& id) {
  const Json& targets = group.at("targets");
  const auto target = targets.find(id);
  const Json* instance = call.tx.Find(id);
  if (target == targets.end()) {
    return {{"State", "unused"},
            {"Reason", "Target.NotRegistered"},
            {"Description", "Target is not registered to the target group"}};
  }
  if (instance == nullptr || StateOf(*instance) != "running") {
    return {{"State", "unused"},
            {"Reason", "Target.InvalidState"},
            {"Description", "Target is in the stopped state"}};
  }
  const std::string state = target->value("state", "initial");
  if (state == "healthy") return {{"State", state}};
  if (state == "initial") {
    return {{"State", state},
            {"Reason", "Elb.RegistrationInProgress"},
            {"Description", "Target registration is in progress"}};
  }
  return {{"State", state},
          {"Reason", "Target.FailedHealthChecks"},
          {"Description", "Health checks failed"}};
}

ApiResult<Json> DescribeTargetHealth(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"TargetGroupArn", "Targets.member.N.Id", "Targets.member.N.Port"}));
  SNAP_ASSIGN_OR_RETURN(const std::string key, NamedGroup(call));
  const Json& group = *call.tx.Find(key);
  std::vector<std::string> named;
  for (const Parameters& target : call.p.Structures("Targets.member")) {
    named.push_back(target.Text("Id"));
  }
  Json list = Json::array();
  for (const std::string& id : AskedTargets(std::move(named), group)) {
    const uint64_t port =
        group.at("targets").value(id, Json::object()).value("port", group.value("port", 0U));
    list.push_back({{"Target", {{"Id", id}, {"Port", port}}},
                    {"HealthCheckPort", std::to_string(port)},
                    {"TargetHealth", TargetHealthOf(call, group, id)}});
  }
  return Json{{"TargetHealthDescriptions", list}};
}

}  // namespace

#define LOCALCLOUD_ACTION(name) std::pair<std::string_view, Action>(#name, name)

Action FindTargetGroupAction(const std::string& name) {
  static constexpr std::array kActions = {
      LOCALCLOUD_ACTION(CreateTargetGroup),    LOCALCLOUD_ACTION(DeleteTargetGroup),
      LOCALCLOUD_ACTION(DescribeTargetGroups), LOCALCLOUD_ACTION(RegisterTargets),
      LOCALCLOUD_ACTION(DeregisterTargets),    LOCALCLOUD_ACTION(DescribeTargetHealth)};
  const auto found = std::find_if(kActions.begin(), kActions.end(),
                                  [&](const auto& action) { return action.first == name; });
  return found == kActions.end() ? nullptr : found->second;
}

#undef LOCALCLOUD_ACTION

}  // namespace snapstore::localcloud
