// Snapshots and images.
#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "orchestrator/localcloud/action_list.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

const FilterTable kSnapshotFilters = {
    {"snapshot-id", "snapshotId"}, {"volume-id", "volumeId"},     {"status", "status"},
    {"owner-id", "ownerId"},       {"volume-size", "volumeSize"}, {"description", "description"},
    {"start-time", "startTime"},   {"progress", "progress"},      {"encrypted", "encrypted"}};

const FilterTable kImageFilters = {
    {"image-id", "imageId"},
    {"name", "name"},
    {"state", "imageState"},
    {"owner-id", "imageOwnerId"},
    {"architecture", "architecture"},
    {"description", "description"},
    {"is-public", "isPublic"},
    {"root-device-name", "rootDeviceName"},
    {"root-device-type", "rootDeviceType"},
    {"virtualization-type", "virtualizationType"},
    {"block-device-mapping.snapshot-id", "blockDeviceMapping.*.ebs.snapshotId"},
    {"block-device-mapping.device-name", "blockDeviceMapping.*.deviceName"}};

ApiError CheckOwner(const Call& call) {
  for (const std::string& owner : call.p.List("Owner")) {
    if (owner != "self" && owner != call.facts.account && owner != "amazon") {
      return {"InvalidUserID.Malformed", fmt::format("Invalid user id: \"{}\"", owner)};
    }
  }
  return {};
}

// Who refers to a snapshot; empty when nobody does.
std::string ImageWith(const Call& call, const std::string& snapshot_id) {
  for (const std::string& id : call.tx.Ids("ami-")) {
    const auto used = ValuesAt(*call.tx.Find(id), "blockDeviceMapping.*.ebs.snapshotId");
    if (std::find(used.begin(), used.end(), snapshot_id) != used.end()) return id;
  }
  return {};
}

ApiError CheckName(const Call& call, const std::string& name) {
  if (name.size() < 3 || name.size() > 128) {
    return {"InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long"};
  }
  for (const std::string& id : call.tx.Ids("ami-")) {
    if (call.tx.Find(id)->value("name", "") == name) {
      return {"InvalidAMIName.Duplicate",
              fmt::format("AMI name {} is already in use by AMI {}", name, id)};
    }
  }
  return {};
}

Json ImageRecord(const Call& call, const std::string& id, const std::string& name) {
  return {{"imageId", id},
          {"imageLocation", call.facts.account + "/" + name},
          {"imageState", "available"},
          {"imageOwnerId", call.facts.account},
          {"creationDate", TimeText()},
          {"isPublic", false},
          {"imageType", "machine"},
          {"name", name},
          {"rootDeviceType", "ebs"},
          {"virtualizationType", "hvm"},
          {"hypervisor", "xen"},
          {"platformDetails", "Linux/UNIX"},
          {"usageOperation", "RunInstances"},
          {"tagSet", Json::array()}};
}

// A running or stopped instance's volumes.
ApiResult<std::vector<std::string>> AttachedVolumes(const Call& call, const Json& instance) {
  const std::string state = StateOf(instance);
  if (state != "running" && state != "stopped") {
    return ApiError{"IncorrectState", fmt::format("Instance '{}' is not 'running'.",
                                                  instance.value("instanceId", ""))};
  }
  std::vector<std::string> ids;
  for (const Json& id : instance.value("_volumes", Json::array())) {
    const Json* volume = call.tx.Find(id);
    if (volume != nullptr && !volume->at("attachmentSet").empty()) ids.push_back(id);
  }
  return ids;
}

}  // namespace

ApiResult<Json> CreateSnapshot(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"VolumeId", "Description", LOCALCLOUD_TAG_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(const std::string volume_id, call.p.Required("VolumeId"));
  SNAP_ASSIGN_OR_RETURN(const Json* volume, Lookup(call.tx, kVolumes, volume_id));
  const std::string state = volume->value("status", "");
  if (state != "available" && state != "in-use") {
    return ApiError{"IncorrectState",
                    fmt::format("Volume '{}' is in state '{}'", volume_id, state)};
  }
  SNAP_ASSIGN_OR_RETURN(Json tags, TagsFor(call.p, "snapshot", {"snapshot"}));
  return *call.tx.Find(AddSnapshot(call, volume_id, call.p.Text("Description"), std::move(tags)));
}

ApiResult<Json> CreateSnapshots(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check(
      {"InstanceSpecification.InstanceId", "InstanceSpecification.ExcludeBootVolume",
       "InstanceSpecification.ExcludeDataVolumeId.N", "Description", LOCALCLOUD_TAG_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("InstanceSpecification.InstanceId"));
  SNAP_ASSIGN_OR_RETURN(const bool no_root,
                        call.p.Truth("InstanceSpecification.ExcludeBootVolume", false));
  SNAP_ASSIGN_OR_RETURN(const Json* instance, Lookup(call.tx, kInstances, id));
  SNAP_ASSIGN_OR_RETURN(const auto volumes, AttachedVolumes(call, *instance));
  SNAP_ASSIGN_OR_RETURN(const Json tags, TagsFor(call.p, "snapshot", {"snapshot"}));
  const auto excluded = call.p.List("InstanceSpecification.ExcludeDataVolumeId");
  for (const std::string& volume : excluded) {
    if (std::find(volumes.begin(), volumes.end(), volume) == volumes.end()) {
      return ApiError{"InvalidVolume.NotFound",
                      fmt::format("The volume '{}' is not attached to {}.", volume, id)};
    }
  }
  Json set = Json::array();
  for (const std::string& volume : volumes) {
    if (std::find(excluded.begin(), excluded.end(), volume) != excluded.end()) continue;
    const Json& attachment = call.tx.Find(volume)->at("attachmentSet")[0];
    if (no_root && attachment.at("device") == instance->at("rootDeviceName")) continue;
    const std::string snapshot = AddSnapshot(call, volume, call.p.Text("Description"), tags);
    Json info = *call.tx.Find(snapshot);
    // SnapshotInfo says "state" where Snapshot says "status".
    info["state"] = info.at("status");
    info.erase("status");
    info.erase("storageTier");
    set.push_back(std::move(info));
  }
  return Json{{"snapshotSet", set}};
}

ApiResult<Json> DeleteSnapshot(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"SnapshotId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("SnapshotId"));
  API_RETURN_IF_ERROR(Lookup(call.tx, kSnapshots, id).status());
  const std::string image = ImageWith(call, id);
  if (!image.empty()) {
    return ApiError{"InvalidSnapshot.InUse",
                    fmt::format("The snapshot {} is currently in use by {}", id, image)};
  }
  // What is stored is forgotten by a worker, which needs to know of it.
  const std::string stored = call.tx.Find(id)->value("_stored", "");
  if (!stored.empty()) call.tx.Edit("!forget/" + stored) = {{"snapshot", id}};
  call.tx.Remove(id);
  return Done();
}

ApiResult<Json> DescribeSnapshots(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"SnapshotId.N", "Owner.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  API_RETURN_IF_ERROR(CheckOwner(call));
  return Describe(call, kSnapshots, kSnapshotFilters);
}

ApiResult<Json> RegisterImage(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check(
      {"Name", "Description", "Architecture", "RootDeviceName", "VirtualizationType", "BootMode",
       "ImdsSupport", "EnaSupport", "SriovNetSupport", "BlockDeviceMapping.N.DeviceName",
       "BlockDeviceMapping.N.Ebs.SnapshotId", "BlockDeviceMapping.N.Ebs.VolumeSize",
       "BlockDeviceMapping.N.Ebs.VolumeType", "BlockDeviceMapping.N.Ebs.Iops",
       "BlockDeviceMapping.N.Ebs.Throughput", "BlockDeviceMapping.N.Ebs.DeleteOnTermination"}));
  SNAP_ASSIGN_OR_RETURN(const std::string name, call.p.Required("Name"));
  API_RETURN_IF_ERROR(CheckName(call, name));
  SNAP_ASSIGN_OR_RETURN(const std::string root, call.p.Required("RootDeviceName"));
  SNAP_ASSIGN_OR_RETURN(const bool ena, call.p.Truth("EnaSupport", false));
  const std::string id = NewId("ami-");
  Json record = ImageRecord(call, id, name);
  record["description"] = call.p.Text("Description");
  record["architecture"] =
      call.p.Has("Architecture") ? call.p.Text("Architecture") : std::string("i386");
  record["rootDeviceName"] = root;
  record["enaSupport"] = ena;
  if (call.p.Has("BootMode")) record["bootMode"] = call.p.Text("BootMode");
  if (call.p.Has("ImdsSupport")) record["imdsSupport"] = call.p.Text("ImdsSupport");
  if (call.p.Has("VirtualizationType") && call.p.Text("VirtualizationType") != "hvm") {
    return ApiError{"UnsupportedOperation", "VirtualizationType: only hvm is supported here"};
  }
  Json mappings = Json::array();
  bool has_root = false;
  for (const Parameters& mapping : call.p.Structures("BlockDeviceMapping")) {
    SNAP_ASSIGN_OR_RETURN(const std::string device, mapping.Required("DeviceName"));
    SNAP_ASSIGN_OR_RETURN(const std::string snapshot_id, mapping.Required("Ebs.SnapshotId"));
    SNAP_ASSIGN_OR_RETURN(const Json* snapshot, Lookup(call.tx, kSnapshots, snapshot_id));
    if (snapshot->value("status", "") != "completed") {
      return ApiError{"InvalidSnapshot",
                      fmt::format("The snapshot {} is not completed", snapshot_id)};
    }
    SNAP_ASSIGN_OR_RETURN(
        const uint64_t size,
        mapping.Number("Ebs.VolumeSize", snapshot->value("volumeSize", uint64_t{0})));
    SNAP_ASSIGN_OR_RETURN(const bool goes, mapping.Truth("Ebs.DeleteOnTermination", true));
    mappings.push_back(
        {{"deviceName", device},
         {"ebs",
          {{"snapshotId", snapshot_id},
           {"volumeSize", size},
           {"deleteOnTermination", goes},
           {"volumeType", mapping.Has("Ebs.VolumeType") ? mapping.Text("Ebs.VolumeType") : "gp3"},
           {"encrypted", false}}}});
    has_root = has_root || device == root;
  }
  if (!has_root) {
    return ApiError{"InvalidBlockDeviceMapping",
                    fmt::format("The root device {} is not among the block device mappings", root)};
  }
  record["blockDeviceMapping"] = std::move(mappings);
  call.tx.Edit(id) = std::move(record);
  return Json{{"imageId", id}};
}

ApiResult<Json> CreateImage(Call& call) {
  API_RETURN_IF_ERROR(
      call.p.Check({"InstanceId", "Name", "Description", "NoReboot", LOCALCLOUD_TAG_PARAMETERS}));
  SNAP_ASSIGN_OR_RETURN(const std::string instance_id, call.p.Required("InstanceId"));
  SNAP_ASSIGN_OR_RETURN(const std::string name, call.p.Required("Name"));
  SNAP_ASSIGN_OR_RETURN(const bool no_reboot, call.p.Truth("NoReboot", false));
  if (!no_reboot) {
    return ApiError{"UnsupportedOperation",
                    "NoReboot=false: instances cannot be rebooted here; with NoReboot=true their "
                    "file systems are frozen while they are captured"};
  }
  API_RETURN_IF_ERROR(CheckName(call, name));
  SNAP_ASSIGN_OR_RETURN(const Json* instance, Lookup(call.tx, kInstances, instance_id));
  SNAP_ASSIGN_OR_RETURN(const auto volumes, AttachedVolumes(call, *instance));
  SNAP_ASSIGN_OR_RETURN(const Json image_tags, TagsFor(call.p, "image", {"image", "snapshot"}));
  SNAP_ASSIGN_OR_RETURN(const Json tags, TagsFor(call.p, "snapshot", {"image", "snapshot"}));
  const std::string id = NewId("ami-");
  Json record = ImageRecord(call, id, name);
  record["imageState"] = "pending";
  record["description"] = call.p.Text("Description");
  record["architecture"] = instance->at("architecture");
  record["rootDeviceName"] = instance->at("rootDeviceName");
  record["enaSupport"] = true;
  record["tagSet"] = image_tags;
  record["blockDeviceMapping"] = Json::array();
  for (const std::string& volume : volumes) {
    const Json& source = *call.tx.Find(volume);
    const Json attachment = source.at("attachmentSet")[0];
    const std::string snapshot = AddSnapshot(
        call, volume, fmt::format("Created by CreateImage({}) for {}", instance_id, id), tags);
    record["blockDeviceMapping"].push_back(
        {{"deviceName", attachment.at("device")},
         {"ebs",
          {{"snapshotId", snapshot},
           {"volumeSize", source.at("size")},
           {"deleteOnTermination", attachment.at("deleteOnTermination")},
           {"volumeType", source.at("volumeType")},
           {"encrypted", false}}}});
  }
  call.tx.Edit(id) = std::move(record);
  return Json{{"imageId", id}};
}

ApiResult<Json> DeregisterImage(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"ImageId"}));
  SNAP_ASSIGN_OR_RETURN(const std::string id, call.p.Required("ImageId"));
  API_RETURN_IF_ERROR(Lookup(call.tx, kImages, id).status());
  if (id == call.facts.base_image_id) {
    return ApiError{"OperationNotPermitted",
                    fmt::format("{} is this cloud's own image and stays", id)};
  }
  call.tx.Remove(id);
  return Done();
}

ApiResult<Json> DescribeImages(Call& call) {
  API_RETURN_IF_ERROR(call.p.Check({"ImageId.N", "Owner.N", LOCALCLOUD_DESCRIBE_PARAMETERS}));
  API_RETURN_IF_ERROR(CheckOwner(call));
  return Describe(call, kImages, kImageFilters);
}

}  // namespace snapstore::localcloud
