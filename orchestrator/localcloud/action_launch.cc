// RunInstances.
#include <fmt/format.h>

#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/launch_request.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

constexpr uint64_t kCountMax = 20;

ApiResult<Json> InstanceRecord(const Call& call, const Launch& launch, const std::string& id) {
  const Parameters& p = call.p;
  SNAP_ASSIGN_OR_RETURN(const bool monitoring, p.Truth("Monitoring.Enabled", false));
  SNAP_ASSIGN_OR_RETURN(const bool ebs_optimized, p.Truth("EbsOptimized", false));
  SNAP_ASSIGN_OR_RETURN(const uint64_t hops,
                        p.Number("MetadataOptions.HttpPutResponseHopLimit", 1));
  const auto or_else = [&p](const char* name, const char* otherwise) {
    return p.Has(name) ? p.Text(name) : std::string(otherwise);
  };
  Json record = {
      {"instanceId", id},
      {"imageId", launch.image->at("imageId")},
      {"instanceState", InstanceState("pending")},
      {"reason", ""},
      {"dnsName", ""},
      {"amiLaunchIndex", 0},
      {"instanceType", launch.type->name},
      {"launchTime", TimeText()},
      {"placement", {{"availabilityZone", launch.zone}, {"groupName", ""}, {"tenancy", "default"}}},
      {"monitoring", {{"state", monitoring ? "enabled" : "disabled"}}},
      {"subnetId", launch.subnet_id},
      {"vpcId", call.facts.vpc_id},
      {"sourceDestCheck", true},
      {"architecture", launch.image->value("architecture", "x86_64")},
      {"rootDeviceType", "ebs"},
      {"rootDeviceName", launch.image->at("rootDeviceName")},
      {"virtualizationType", "hvm"},
      {"hypervisor", "nitro"},
      {"clientToken", p.Text("ClientToken")},
      {"ebsOptimized", ebs_optimized},
      {"enaSupport", true},
      {"platformDetails", "Linux/UNIX"},
      {"usageOperation", "RunInstances"},
      {"cpuOptions", {{"coreCount", launch.type->vcpus}, {"threadsPerCore", 1}}},
      {"metadataOptions",
       {{"state", "applied"},
        {"httpTokens", or_else("MetadataOptions.HttpTokens", "optional")},
        {"httpPutResponseHopLimit", hops},
        {"httpEndpoint", "enabled"},
        {"instanceMetadataTags", or_else("MetadataOptions.InstanceMetadataTags", "disabled")}}},
      {"_userData", p.Text("UserData")}};
  if (p.Has("KeyName")) {
    if (call.tx.Find("key-name/" + p.Text("KeyName")) == nullptr) {
      return ApiError{"InvalidKeyPair.NotFound",
                      fmt::format("The key pair '{}' does not exist", p.Text("KeyName"))};
    }
    record["keyName"] = p.Text("KeyName");
  }
  std::string profile = p.Text("IamInstanceProfile.Arn");
  if (profile.empty() && p.Has("IamInstanceProfile.Name")) {
    profile = fmt::format("arn:aws:iam::{}:instance-profile/{}", call.facts.account,
                          p.Text("IamInstanceProfile.Name"));
  }
  if (!profile.empty()) {
    if (profile.find(":instance-profile/") == std::string::npos) {
      return InvalidValue(fmt::format(
          "Value ({}) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance "
          "Profile ARN",
          profile));
    }
    record["iamInstanceProfile"] = {{"arn", profile}, {"id", "AIPALOCALCLOUD0000000"}};
  }
  return record;
}

ApiError AddDevices(Call& call, const Launch& launch, const Json& tags, Json* record) {
  (*record)["_volumes"] = Json::array();
  for (const LaunchDevice& device : launch.devices) {
    NewVolume wanted = device.volume;
    wanted.tags = tags;
    SNAP_ASSIGN_OR_RETURN(const std::string id, AddVolume(call.tx, std::move(wanted)));
    call.tx.Edit(id)["attachmentSet"].push_back(
        {{"volumeId", id},
         {"instanceId", record->at("instanceId")},
         {"device", device.name},
         {"status", "attaching"},
         {"attachTime", TimeText()},
         {"deleteOnTermination", device.delete_on_termination}});
    (*record)["_volumes"].push_back(id);
  }
  return {};
}

ApiError AddInterfaces(Call& call, const Launch& launch, const Json& tags, Json* record) {
  (*record)["_interfaces"] = Json::array();
  for (const LaunchInterface& interface : launch.interfaces) {
    std::string id = interface.id;
    if (id.empty()) {
      NewInterface made = interface.made;
      made.tags = tags;
      SNAP_ASSIGN_OR_RETURN(id, AddInterface(call.tx, call.facts, made));
    }
    if (interface.public_address) {
      API_RETURN_IF_ERROR(AssociateOwnAddress(call.tx, call.facts, id));
    }
    Json& eni = call.tx.Edit(id);
    eni["status"] = "in-use";
    eni["attachment"] = {{"attachmentId", NewId("eni-attach-")},
                         {"instanceId", record->at("instanceId")},
                         {"instanceOwnerId", call.facts.account},
                         {"deviceIndex", interface.index},
                         {"networkCardIndex", 0},
                         {"status", "attaching"},
                         {"attachTime", TimeText()},
                         {"deleteOnTermination", interface.delete_on_termination}};
    (*record)["_interfaces"].push_back(id);
    if (interface.index != 0) continue;
    (*record)["privateIpAddress"] = eni.at("privateIpAddress");
    (*record)["privateDnsName"] = eni.at("privateDnsName");
    (*record)["groupSet"] = eni.at("groupSet");
  }
  return {};
}

// The request that a spot instance belongs to: `id`, a new one if that is empty.
void FulfilRequest(Call& call, const Launch& launch, const Json& tags, std::string id,
                   Json* record) {
  if (id.empty()) {
    id = "sir-" + NewId("").substr(0, 8);
    call.tx.Edit(id) = {
        {"spotInstanceRequestId", id},
        {"spotPrice", launch.max_price.empty() ? fmt::format("{:.6f}", launch.type->usd_per_hour)
                                               : launch.max_price},
        {"type", "one-time"},
        {"createTime", TimeText()},
        {"productDescription", "Linux/UNIX"},
        {"instanceInterruptionBehavior", "terminate"},
        {"launchSpecification",
         {{"imageId", record->at("imageId")}, {"instanceType", launch.type->name}}},
        {"tagSet", tags}};
  }
  Json& request = call.tx.Edit(id);
  request["state"] = "active";
  request["status"] = {{"code", "fulfilled"},
                       {"message", "Your spot request is fulfilled."},
                       {"updateTime", TimeText()}};
  request["instanceId"] = record->at("instanceId");
  request["launchedAvailabilityZone"] = launch.zone;
  (*record)["instanceLifecycle"] = "spot";
  (*record)["spotInstanceRequestId"] = id;
}

Json Answer(const Call& call, const Json& ids) {
  Json instances = Json::array();
  std::string reservation;
  for (const Json& id : ids) {
    const Json* record = call.tx.Find(id);
    if (record == nullptr) continue;
    reservation = record->value("_reservation", "");
    instances.push_back(InstanceView(call.tx, *record));
  }
  return {{"reservationId", reservation},
          {"ownerId", call.facts.account},
          {"groupSet", Json::array()},
          {"instancesSet", instances}};
}

}  // namespace

ApiResult<std::string> AddInstance(Call& call, const Launch& launch, const std::string& reservation,
                                   uint64_t index, const std::string& request_id) {
  const auto tags_for = [&call](std::string_view type) {
    return TagsFor(call.p, type,
                   {"instance", "volume", "network-interface", "spot-instances-request"});
  };
  SNAP_ASSIGN_OR_RETURN(const Json instance_tags, tags_for("instance"));
  SNAP_ASSIGN_OR_RETURN(const Json volume_tags, tags_for("volume"));
  SNAP_ASSIGN_OR_RETURN(const Json interface_tags, tags_for("network-interface"));
  SNAP_ASSIGN_OR_RETURN(const Json spot_tags, tags_for("spot-instances-request"));
  std::string id = NewId("i-");
  SNAP_ASSIGN_OR_RETURN(Json record, InstanceRecord(call, launch, id));
  record["amiLaunchIndex"] = index;
  record["tagSet"] = instance_tags;
  record["_reservation"] = reservation;
  API_RETURN_IF_ERROR(AddDevices(call, launch, volume_tags, &record));
  API_RETURN_IF_ERROR(AddInterfaces(call, launch, interface_tags, &record));
  if (launch.spot) FulfilRequest(call, launch, spot_tags, request_id, &record);
  call.tx.Edit(id) = record;
  return id;
}

ApiResult<Json> RunInstances(Call& call) {
  API_RETURN_IF_ERROR(CheckLaunchParameters(call.p));
  SNAP_ASSIGN_OR_RETURN(const Json known, FindByToken(call));
  if (!known.is_null()) return Answer(call, known);
  SNAP_ASSIGN_OR_RETURN(const uint64_t least, call.p.Number("MinCount", 1));
  SNAP_ASSIGN_OR_RETURN(const uint64_t most, call.p.Number("MaxCount", 1));
  if (least == 0 || least > most || most > kCountMax) {
    return InvalidValue(fmt::format("MinCount and MaxCount must be from 1 to {}", kCountMax));
  }
  SNAP_ASSIGN_OR_RETURN(const Launch launch, ReadLaunch(call, most));
  API_RETURN_IF_ERROR(CheckMarket(call.tx, launch, most));
  const std::string reservation = NewId("r-");
  Json ids = Json::array();
  for (uint64_t i = 0; i < most; ++i) {
    SNAP_ASSIGN_OR_RETURN(const std::string id,
                          AddInstance(call, launch, reservation, i, /*request_id=*/""));
    ids.push_back(id);
  }
  RememberToken(call, ids);
  return Answer(call, ids);
}

}  // namespace snapstore::localcloud
