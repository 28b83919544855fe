#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

const FilterTable kVolumeFilters = {
    {"volume-id", "volumeId"},
    {"status", "status"},
    {"size", "size"},
    {"snapshot-id", "snapshotId"},
    {"volume-type", "volumeType"},
    {"availability-zone", "availabilityZone"},
    {"create-time", "createTime"},
    {"encrypted", "encrypted"},
    {"attachment.instance-id", "attachmentSet.*.instanceId"},
    {"attachment.device", "attachmentSet.*.device"},
    {"attachment.status", "attachmentSet.*.status"},
    {"attachment.delete-on-termination", "attachmentSet.*.deleteOnTermination"}};

bool HasZone(const Call& call, const std::string& zone) {
  const auto subnets = call.tx.Ids("subnet-");
  return std::any_of(subnets.begin(), subnets.end(), [&](const std::string& id) {
    return call.tx.Find(id)->value("availabilityZone", "") == zone;
  });
}

// The attached instance's list of volumes, which keeps the order of attachment.
void ListVolume(Call& call, const std::string& instance_id, const std::string& volume_id) {
  Json& list = call.tx.Edit(instance_id)["_volumes"];
  if (std::find(list.begin(), list.end(), volume_id) == list.end()) list.push_back(volume_id);
}

ApiError CheckDevice(const Call& call, const Json& instance, const std::string& device) {
  if (!device.starts_with("/dev/") || device.size() > 32 ||
      device.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789", 5) != std::string::npos) {
    return InvalidValue(
        fmt::format("Value ({}) for parameter device is invalid. {} is not a valid EBS device "
                    "name.",
                    device, device));
  }
  for (const Json& id : instance.value("_volumes", Json::array())) {
    const Json* other = call.tx.Find(id);
    if (other == nullptr || other->at("attachmentSet").empty()) continue;
    if (other->at("attachmentSet")[0].value("device", "") == device) {
      return InvalidValue(
          fmt::format("Invalid value '{}' for unixDevice. Attachment point {} is already in use",
                      device, device));
    }
  }
  return {};
}

}  // namespace

ApiResult<Json> CreateVolume(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"AvailabilityZone", "SnapshotId", "Size", "VolumeType", "Iops",
                                    "Throughput", "ClientToken", LOCALCLOUD_TAG_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(const Json known, FindByToken(call));
  if (!known.is_null() && call.tx.Find(known[0]) != nullptr) return *call.tx.Find(known[0]);
  NewVolume wanted;
  SNAP_ASSIGN_OR_RETURN(wanted.zone, call.p.Required("AvailabilityZone"));
  if (!HasZone(call, wanted.zone)) {
    return ApiError{"InvalidZone.NotFound",
                    fmt::format("The zone '{}' does not exist.", wanted.zone)};
  }
  wanted.snapshot_id = call.p.Text("SnapshotId");
  if (call.p.Has("VolumeType")) wanted.type = call.p.Text("VolumeType");
  SNAP_ASSIGN_OR_RETURN(wanted.size_gib, call.p.Number("Size", 0));
  SNAP_ASSIGN_OR_RETURN(wanted.iops, call.p.Number("Iops", 0));
  SNAP_ASSIGN_OR_RETURN(wanted.throughput, call.p.Number("Throughput", 0));
  SNAP_ASSIGN_OR_RETURN(wanted.tags, TagsFor(call.p, "volume", {"volume"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, AddVolume(call.tx, wanted));
  RememberToken(call, Json::array({id}));
  return *call.tx.Find(id);
}

ApiResult<Json> DeleteVolume(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"VolumeId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("VolumeId"));
  SNAP_ASSIGN_OR_RETURN(const Json* volume, Lookup(call.tx, kVolumes, id));
  if (!volume->at("attachmentSet").empty()) {
    return ApiError{"VolumeInUse",
                    fmt::format("Volume {} is currently attached to {}", id,
                                volume->at("attachmentSet")[0].value("instanceId", ""))};
  }
  const std::string state = volume->value("status", "");
  if (state != "available" && state != "error") {
    return ApiError{"IncorrectState",
                    fmt::format("Volume {} is in state {}, not available", id, state)};
  }
  call.tx.Edit(id)["status"] = "deleting";
  return Done();
}

ApiResult<Json> DescribeVolumes(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"VolumeId.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  return Describe(call, kVolumes, kVolumeFilters);
}

ApiResult<Json> AttachVolume(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"VolumeId", "InstanceId", "Device"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("VolumeId"));
  SNAP_ASSIGN_OR_RETURN(const std::string instance_id, call.p.Required("InstanceId"));
  SNAP_ASSIGN_OR_RETURN(const std::string device, call.p.Required("Device"));
  SNAP_ASSIGN_OR_RETURN(const Json* volume, Lookup(call.tx, kVolumes, id));
  SNAP_ASSIGN_OR_RETURN(const Json* instance, Lookup(call.tx, kInstances, instance_id));
  if (!volume->at("attachmentSet").empty()) {
    return ApiError{"VolumeInUse", fmt::format("{} is already attached to an instance", id)};
  }
  if (volume->value("status", "") != "available") {
    return ApiError{"IncorrectState", fmt::format("{} is not 'available'.", id)};
  }
  if (StateOf(*instance) != "running" && StateOf(*instance) != "stopped") {
    return ApiError{"IncorrectState", fmt::format("Instance '{}' is not 'running'.", instance_id)};
  }
  if (volume->at("availabilityZone") != instance->at("placement").at("availabilityZone")) {
    return ApiError{"InvalidVolume.ZoneMismatch",
                    fmt::format("The volume '{}' is not in the same availability zone as instance "
                                "'{}'",
                                id, instance_id)};
  }
  API_RETURN_IF_ERROR(CheckDevice(call, *instance, device));
  const Json attachment = {{"volumeId", id},           {"instanceId", instance_id},
                           {"device", device},         {"status", "attaching"},
                           {"attachTime", TimeText()}, {"deleteOnTermination", false}};
  Json& record = call.tx.Edit(id);
  record["status"] = "in-use";
  record["attachmentSet"].push_back(attachment);
  ListVolume(call, instance_id, id);
  return attachment;
}

ApiResult<Json> DetachVolume(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"VolumeId", "InstanceId", "Device", "Force"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("VolumeId"));
  SNAP_ASSIGN_OR_RETURN(const bool force, call.p.Truth("Force", false));
  SNAP_ASSIGN_OR_RETURN(const Json* volume, Lookup(call.tx, kVolumes, id));
  if (volume->at("attachmentSet").empty()) {
    return ApiError{"IncorrectState", fmt::format("Volume '{}' is in the 'available' state.", id)};
  }
  const Json& attachment = volume->at("attachmentSet")[0];
  const std::string instance_id = attachment.at("instanceId");
  for (const char* name : {"InstanceId", "Device"}) {
    const char* field = std::string_view(name) == "Device" ? "device" : "instanceId";
    if (call.p.Has(name) && call.p.Text(name) != attachment.value(field, "")) {
      return ApiError{
          "InvalidAttachment.NotFound",
          fmt::format("Volume '{}' is not attached to {} '{}'", id, field, call.p.Text(name))};
    }
  }
  const Json* instance = call.tx.Find(instance_id);
  if (instance != nullptr && StateOf(*instance) != "stopped" &&
      instance->value("rootDeviceName", "") == attachment.at("device")) {
    return ApiError{
        "OperationNotPermitted",
        fmt::format("Unable to detach root volume '{}' from instance '{}'", id, instance_id)};
  }
  Json& record = call.tx.Edit(id);
  record["attachmentSet"][0]["status"] = "detaching";
  if (force) record["_force"] = true;
  return record["attachmentSet"][0];
}

}  // namespace snapstore::localcloud
