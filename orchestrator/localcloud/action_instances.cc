#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

const FilterTable kInstanceFilters = {
    {"instance-id", "instanceId"},
    {"instance-state-name", "instanceState.name"},
    {"instance-state-code", "instanceState.code"},
    {"instance-type", "instanceType"},
    {"instance-lifecycle", "instanceLifecycle"},
    {"image-id", "imageId"},
    {"availability-zone", "placement.availabilityZone"},
    {"subnet-id", "subnetId"},
    {"vpc-id", "vpcId"},
    {"private-ip-address", "privateIpAddress"},
    {"ip-address", "ipAddress"},
    {"key-name", "keyName"},
    {"client-token", "clientToken"},
    {"architecture", "architecture"},
    {"reservation-id", "_reservation"},
    {"root-device-name", "rootDeviceName"},
    {"spot-instance-request-id", "spotInstanceRequestId"},
    {"iam-instance-profile.arn", "iamInstanceProfile.arn"},
    {"instance.group-id", "groupSet.*.groupId"},
    {"block-device-mapping.volume-id", "blockDeviceMapping.*.ebs.volumeId"},
    {"block-device-mapping.device-name", "blockDeviceMapping.*.deviceName"},
    {"network-interface.network-interface-id", "networkInterfaceSet.*.networkInterfaceId"}};

const FilterTable kStatusFilters = {{"instance-state-name", "instanceState.name"},
                                    {"instance-state-code", "instanceState.code"},
                                    {"instance-status.status", "instanceStatus.status"},
                                    {"system-status.status", "systemStatus.status"},
                                    {"availability-zone", "availabilityZone"}};

Json StatusView(const Json& instance) {
  std::string status = "not-applicable";
  const std::string state = StateOf(instance);
  if (state == "running") status = instance.value("_status", "ok");
  if (state == "pending") status = "initializing";
  const Json summary = {
      {"status", status},
      {"details", Json::array({Json{{"name", "reachability"},
                                    {"status", status == "ok"         ? "passed"
                                               : status == "impaired" ? "failed"
                                                                      : "initializing"}}})}};
  return {{"instanceId", instance.at("instanceId")},
          {"availabilityZone", instance.at("placement").at("availabilityZone")},
          {"instanceState", instance.at("instanceState")},
          {"systemStatus", summary},
          {"instanceStatus", summary}};
}

}  // namespace

ApiResult<Json> DescribeInstances(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"InstanceId.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(
      Json answer, Describe(call, kInstances, kInstanceFilters,
                            [&](const Json& record) { return InstanceView(call.tx, record); }));
  // One reservation for each instance, in the order of the page.
  Json reservations = Json::array();
  for (Json& instance : answer["reservationSet"]) {
    reservations.push_back({{"reservationId", instance.value("_reservation", "")},
                            {"ownerId", call.facts.account},
                            {"groupSet", Json::array()},
                            {"instancesSet", Json::array({instance})}});
  }
  answer["reservationSet"] = std::move(reservations);
  return answer;
}

ApiResult<Json> TerminateInstances(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"InstanceId.N"}));
  const std::vector<std::string> ids = call.p.List("InstanceId");
  if (ids.empty()) {
    return ApiError{"MissingParameter", "The request must contain the parameter InstanceId"};
  }
  for (const std::string& id : ids) {
    API_RETURN_IF_ERROR(Lookup(call.tx, kInstances, id).status());
  }
  Json changes = Json::array();
  for (const std::string& id : ids) {
    const Json before = call.tx.Find(id)->at("instanceState");
    BeginTermination(call.tx, id, "Client.UserInitiatedShutdown",
                     "Client.UserInitiatedShutdown: User initiated shutdown");
    changes.push_back({{"instanceId", id},
                       {"previousState", before},
                       {"currentState", call.tx.Find(id)->at("instanceState")}});
  }
  return Json{{"instancesSet", changes}};
}

ApiResult<Json> DescribeInstanceStatus(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"InstanceId.N", "IncludeAllInstances", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(const bool all, call.p.Truth("IncludeAllInstances", false));
  SNAP_ASSIGN_OR_RETURN(Json answer, Describe(call, kInstances, kStatusFilters, StatusView));
  Json set = Json::array();
  for (Json& status : answer["reservationSet"]) {
    if (all || status["instanceState"].value("name", "") == "running") {
      set.push_back(std::move(status));
    }
  }
  answer.erase("reservationSet");
  answer["instanceStatusSet"] = std::move(set);
  return answer;
}

ApiResult<Json> DescribeInstanceAttribute(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"InstanceId", "Attribute"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("InstanceId"));
  SNAP_ASSIGN_OR_RETURN(const std::string attribute, call.p.Required("Attribute"));
  SNAP_ASSIGN_OR_RETURN(const Json* record, Lookup(call.tx, kInstances, id));
  const Json view = InstanceView(call.tx, *record);
  Json answer = {{"instanceId", id}};
  if (attribute == "userData") {
    answer["userData"] = Json::object();
    const std::string data = view.value("_userData", "");
    if (!data.empty()) answer["userData"]["value"] = data;
  } else if (attribute == "instanceType") {
    answer[attribute] = {{"value", view.at("instanceType")}};
  } else if (attribute == "rootDeviceName") {
    answer[attribute] = {{"value", view.at("rootDeviceName")}};
  } else if (attribute == "ebsOptimized") {
    answer[attribute] = {{"value", view.at("ebsOptimized")}};
  } else if (attribute == "instanceInitiatedShutdownBehavior") {
    answer[attribute] = {{"value", "terminate"}};
  } else if (attribute == "disableApiTermination") {
    answer[attribute] = {{"value", false}};
  } else if (attribute == "blockDeviceMapping" || attribute == "groupSet") {
    answer[attribute] = view.at(attribute);
  } else {
    return InvalidValue(fmt::format(
        "Value ({}) for parameter attribute is invalid. Unknown attribute.", attribute));
  }
  return answer;
}

ApiResult<Json> ModifyInstanceAttribute(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"InstanceId", "BlockDeviceMapping.N.DeviceName",
                                    "BlockDeviceMapping.N.Ebs.DeleteOnTermination",
                                    "BlockDeviceMapping.N.Ebs.VolumeId", "GroupId.N"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("InstanceId"));
  SNAP_ASSIGN_OR_RETURN(const Json* record, Lookup(call.tx, kInstances, id));
  const std::string state = StateOf(*record);
  if (state == "terminated" || state == "shutting-down") {
    return ApiError{"IncorrectInstanceState",
                    fmt::format("The instance '{}' is not in a state from which it can be "
                                "modified: {}",
                                id, state)};
  }
  for (const Parameters& mapping : call.p.Structures("BlockDeviceMapping")) {
    SNAP_ASSIGN_OR_RETURN(const std::string device, mapping.Required("DeviceName"));
    SNAP_ASSIGN_OR_RETURN(const bool goes, mapping.Truth("Ebs.DeleteOnTermination", true));
    bool found = false;
    for (const Json& volume : record->value("_volumes", Json::array())) {
      const Json& attachments = call.tx.Find(volume)->at("attachmentSet");
      if (attachments.empty() || attachments[0].value("device", "") != device) continue;
      const std::string wanted = mapping.Text("Ebs.VolumeId");
      if (!wanted.empty() && volume != wanted) continue;
      call.tx.Edit(volume)["attachmentSet"][0]["deleteOnTermination"] = goes;
      found = true;
    }
    if (!found) {
      return ApiError{"InvalidInstanceAttributeValue",
                      fmt::format("No device is currently mapped at {}", device)};
    }
  }
  if (const auto groups = call.p.List("GroupId"); !groups.empty()) {
    SNAP_ASSIGN_OR_RETURN(const Json set, GroupSet(call.tx, call.facts, groups));
    const Json interfaces = record->value("_interfaces", Json::array());
    call.tx.Edit(id)["groupSet"] = set;
    if (!interfaces.empty()) call.tx.Edit(interfaces[0])["groupSet"] = set;
  }
  return Done();
}

}  // namespace snapstore::localcloud
