#include "orchestrator/localcloud/launch_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/base64.h"
#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

constexpr uint64_t kUserDataMax = 16384 / 3 * 4 + 4;  // 16 KiB in base64

ApiError CheckParameters(const Parameters& p) {
  return p.Check({"ImageId",
                  "InstanceType",
                  "MinCount",
                  "MaxCount",
                  "ClientToken",
                  "SubnetId",
                  "KeyName",
                  "SecurityGroupId.N",
                  "PrivateIpAddress",
                  "UserData",
                  "EbsOptimized",
                  "Monitoring.Enabled",
                  "Placement.AvailabilityZone",
                  "Placement.Tenancy",
                  "IamInstanceProfile.Arn",
                  "IamInstanceProfile.Name",
                  "InstanceInitiatedShutdownBehavior",
                  "CreditSpecification.CpuCredits",
                  "InstanceMarketOptions.MarketType",
                  "InstanceMarketOptions.SpotOptions.MaxPrice",
                  "InstanceMarketOptions.SpotOptions.SpotInstanceType",
                  "InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior",
                  "MetadataOptions.HttpTokens",
                  "MetadataOptions.HttpPutResponseHopLimit",
                  "MetadataOptions.HttpEndpoint",
                  "MetadataOptions.InstanceMetadataTags",
                  "BlockDeviceMapping.N.DeviceName",
                  "BlockDeviceMapping.N.NoDevice",
                  "BlockDeviceMapping.N.Ebs.SnapshotId",
                  "BlockDeviceMapping.N.Ebs.VolumeSize",
                  "BlockDeviceMapping.N.Ebs.VolumeType",
                  "BlockDeviceMapping.N.Ebs.Iops",
                  "BlockDeviceMapping.N.Ebs.Throughput",
                  "BlockDeviceMapping.N.Ebs.DeleteOnTermination",
                  "NetworkInterface.N.DeviceIndex",
                  "NetworkInterface.N.NetworkInterfaceId",
                  "NetworkInterface.N.SubnetId",
                  "NetworkInterface.N.PrivateIpAddress",
                  "NetworkInterface.N.Description",
                  "NetworkInterface.N.SecurityGroupId.N",
                  "NetworkInterface.N.DeleteOnTermination",
                  "NetworkInterface.N.AssociatePublicIpAddress",
                  LOCALCLOUD_TAG_PARAMETERS});
}

// What is understood, but cannot be had here.
ApiError CheckOffered(const Parameters& p) {
  const auto only = [&p](const std::string& name, std::string_view value) -> ApiError {
    if (!p.Has(name) || p.Text(name) == value) return {};
    return {"UnsupportedOperation",
            fmt::format("{}={} is not supported here, only {}", name, p.Text(name), value)};
  };
  API_RETURN_IF_ERROR(only("Placement.Tenancy", "default"));
  API_RETURN_IF_ERROR(only("InstanceMarketOptions.MarketType", "spot"));
  API_RETURN_IF_ERROR(only("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time"));
  API_RETURN_IF_ERROR(
      only("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate"));
  API_RETURN_IF_ERROR(only("InstanceInitiatedShutdownBehavior", "terminate"));
  API_RETURN_IF_ERROR(only("MetadataOptions.HttpEndpoint", "enabled"));
  if (p.Text("UserData").size() > kUserDataMax) {
    return InvalidValue("User data is limited to 16384 bytes");
  }
  if (!Base64Decode(p.Text("UserData")).ok()) {
    return {"InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."};
  }
  return {};
}

ApiError ReadMarket(const Call& call, Launch* launch) {
  launch->spot = call.p.Has("InstanceMarketOptions.MarketType");
  launch->max_price = call.p.Text("InstanceMarketOptions.SpotOptions.MaxPrice");
  if (!launch->spot && !launch->max_price.empty()) {
    return {"InvalidParameterCombination", "SpotOptions need MarketType=spot"};
  }
  launch->most_usd = launch->type->usd_per_hour;
  const std::string& text = launch->max_price;
  if (!text.empty() &&
      std::from_chars(text.data(), text.data() + text.size(), launch->most_usd).ptr !=
          text.data() + text.size()) {
    return InvalidValue(fmt::format("'{}' is not a price", text));
  }
  return {};
}

ApiError ReadDevice(const Parameters& p, LaunchDevice* device) {
  NewVolume& volume = device->volume;
  if (p.Has("Ebs.SnapshotId")) volume.snapshot_id = p.Text("Ebs.SnapshotId");
  if (p.Has("Ebs.VolumeType")) volume.type = p.Text("Ebs.VolumeType");
  SNAP_ASSIGN_OR_RETURN(volume.size_gib, p.Number("Ebs.VolumeSize", volume.size_gib));
  SNAP_ASSIGN_OR_RETURN(volume.iops, p.Number("Ebs.Iops", volume.iops));
  SNAP_ASSIGN_OR_RETURN(volume.throughput, p.Number("Ebs.Throughput", volume.throughput));
  SNAP_ASSIGN_OR_RETURN(device->delete_on_termination,
                        p.Truth("Ebs.DeleteOnTermination", device->delete_on_termination));
  return {};
}

// The image's devices, changed by those of the call.
ApiError ChooseDevices(const Call& call, Launch* launch) {
  std::map<std::string, LaunchDevice> by_name;
  for (const Json& mapping : launch->image->at("blockDeviceMapping")) {
    const Json& ebs = mapping.at("ebs");
    LaunchDevice device{.name = mapping.at("deviceName"), .volume = {}};
    device.volume.snapshot_id = ebs.value("snapshotId", "");
    device.volume.size_gib = ebs.value("volumeSize", uint64_t{0});
    device.volume.type = ebs.value("volumeType", "gp3");
    device.delete_on_termination = ebs.value("deleteOnTermination", true);
    by_name[device.name] = std::move(device);
  }
  const std::string root = launch->image->at("rootDeviceName");
  for (const Parameters& p : call.p.Structures("BlockDeviceMapping")) {
    SNAP_ASSIGN_OR_RETURN(const std::string name, p.Required("DeviceName"));
    if (!name.starts_with("/dev/")) {
      return {"InvalidBlockDeviceMapping",
              fmt::format("Invalid device name {}: write it as /dev/sdf", name)};
    }
    if (p.Has("NoDevice")) {
      if (name == root) {
        return {"InvalidBlockDeviceMapping", "The root device cannot be left out"};
      }
      by_name.erase(name);
      continue;
    }
    LaunchDevice& device = by_name[name];
    device.name = name;
    const std::string image_snapshot = device.volume.snapshot_id;
    // The image's size is that of its own snapshot.
    if (p.Has("Ebs.SnapshotId") && p.Text("Ebs.SnapshotId") != image_snapshot) {
      device.volume.size_gib = 0;
    }
    API_RETURN_IF_ERROR(ReadDevice(p, &device));
  }
  for (auto& [name, device] : by_name) {
    device.volume.zone = launch->zone;
    launch->devices.push_back(std::move(device));
  }
  return {};
}

ApiError ReadInterface(const Call& call, const Parameters& p, LaunchInterface* interface) {
  if (!p.Has("DeviceIndex")) {
    return {"MissingParameter", "Each network interface requires a device index."};
  }
  SNAP_ASSIGN_OR_RETURN(interface->index, p.Number("DeviceIndex", 0));
  interface->id = p.Text("NetworkInterfaceId");
  // One that exists stays, as in EC2; one that is made goes.
  SNAP_ASSIGN_OR_RETURN(interface->delete_on_termination,
                        p.Truth("DeleteOnTermination", interface->id.empty()));
  SNAP_ASSIGN_OR_RETURN(interface->public_address, p.Truth("AssociatePublicIpAddress", false));
  interface->made = {.subnet_id = p.Text("SubnetId"),
                     .private_ip = p.Text("PrivateIpAddress"),
                     .description = p.Text("Description"),
                     .group_ids = p.List("SecurityGroupId")};
  if (interface->id.empty()) return {};
  if (p.Has("SubnetId") || p.Has("PrivateIpAddress") || p.Has("SecurityGroupId.1") ||
      interface->public_address) {
    return {"InvalidParameterCombination",
            "A network interface may not specify both a network interface ID and what it is made "
            "of"};
  }
  SNAP_ASSIGN_OR_RETURN(const Json* record, Lookup(call.tx, kInterfaces, interface->id));
  if (record->value("status", "") != "available") {
    return {"InvalidNetworkInterface.InUse", fmt::format("Interface: [{}] in use.", interface->id)};
  }
  interface->made.subnet_id = record->value("subnetId", "");
  return {};
}

ApiError ChooseInterfaces(const Call& call, Launch* launch) {
  const auto structures = call.p.Structures("NetworkInterface");
  if (structures.empty()) {
    NewInterface& made = launch->interfaces.emplace_back().made;
    made.subnet_id = call.p.Text("SubnetId");
    made.private_ip = call.p.Text("PrivateIpAddress");
    made.group_ids = call.p.List("SecurityGroupId");
  } else if (call.p.Has("SubnetId") || call.p.Has("PrivateIpAddress") ||
             call.p.Has("SecurityGroupId.1")) {
    return {"InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID, address or security groups may "
            "not be specified on the same request"};
  }
  for (const Parameters& p : structures) {
    API_RETURN_IF_ERROR(ReadInterface(call, p, &launch->interfaces.emplace_back()));
  }
  std::sort(launch->interfaces.begin(), launch->interfaces.end(),
            [](const LaunchInterface& a, const LaunchInterface& b) { return a.index < b.index; });
  for (size_t i = 0; i < launch->interfaces.size(); ++i) {
    if (launch->interfaces[i].index != i) {
      return InvalidValue("Device indexes of network interfaces must be 0, 1, …");
    }
  }
  return {};
}

// The zone follows from the primary interface's subnet, or names it.
ApiError ChoosePlace(const Call& call, Launch* launch) {
  const std::string zone = call.p.Text("Placement.AvailabilityZone");
  std::string subnet = launch->interfaces.front().made.subnet_id;
  if (subnet.empty()) {
    for (const std::string& id : call.tx.Ids("subnet-")) {
      const Json& record = *call.tx.Find(id);
      if (!zone.empty() && record.value("availabilityZone", "") != zone) continue;
      // The first zone's, when none is asked for.
      if (subnet.empty() || record.value("availabilityZone", "") <
                                call.tx.Find(subnet)->value("availabilityZone", "")) {
        subnet = id;
      }
    }
    if (subnet.empty()) return InvalidValue(fmt::format("Invalid availability zone: [{}]", zone));
  }
  SNAP_ASSIGN_OR_RETURN(const Json* record, Lookup(call.tx, kSubnets, subnet));
  launch->zone = record->value("availabilityZone", "");
  launch->subnet_id = subnet;
  if (!zone.empty() && zone != launch->zone) {
    return InvalidValue(fmt::format("Subnet {} is in zone {}, not {}", subnet, launch->zone, zone));
  }
  for (LaunchInterface& interface : launch->interfaces) {
    if (interface.made.subnet_id.empty()) interface.made.subnet_id = subnet;
    SNAP_ASSIGN_OR_RETURN(const Json* other, Lookup(call.tx, kSubnets, interface.made.subnet_id));
    if (other->value("availabilityZone", "") != launch->zone) {
      return InvalidValue("All network interfaces must be in one availability zone");
    }
  }
  return {};
}

}  // namespace

ApiError CheckLaunchParameters(const Parameters& p) {
  API_RETURN_IF_ERROR(CheckParameters(p));
  return CheckOffered(p);
}

ApiError CheckMarket(const Records::Transaction& tx, const Launch& launch, uint64_t count) {
  const std::string type(launch.type->name);
  if (launch.spot) {
    const double price = SpotPrice(tx, *launch.type, launch.zone);
    if (price > launch.most_usd) {
      return {"SpotMaxPriceTooLow",
              fmt::format("Your Spot request price of {} is lower than the minimum required Spot "
                          "request fulfillment price of {}.",
                          launch.most_usd, price)};
    }
  }
  const int64_t room = SpotCapacity(tx, type, launch.zone, launch.spot);
  if (room >= 0 && static_cast<uint64_t>(room) < count) {
    return {"InsufficientInstanceCapacity",
            fmt::format("There is no {} capacity available that matches your request ({} in {}).",
                        launch.spot ? "Spot" : "on-demand", type, launch.zone),
            500};
  }
  return {};
}

ApiResult<Launch> ReadLaunch(const Call& call, uint64_t count) {
  Launch launch;
  SNAP_ASSIGN_OR_RETURN(const std::string image, call.p.Required("ImageId"));
  SNAP_ASSIGN_OR_RETURN(launch.image, Lookup(call.tx, kImages, image));
  if (launch.image->value("imageState", "") != "available") {
    return ApiError{"InvalidAMIID.Unavailable",
                    fmt::format("The image ID '{}' is not available", image)};
  }
  const std::string type =
      call.p.Has("InstanceType") ? call.p.Text("InstanceType") : std::string("t3.micro");
  launch.type = FindInstanceType(type);
  if (launch.type == nullptr) {
    return InvalidValue(fmt::format("Invalid value '{}' for InstanceType.", type));
  }
  API_RETURN_IF_ERROR(ChooseInterfaces(call, &launch));
  API_RETURN_IF_ERROR(ChoosePlace(call, &launch));
  if (count > 1 && (!launch.interfaces.front().id.empty() ||
                    !launch.interfaces.front().made.private_ip.empty())) {
    return ApiError{"InvalidParameterCombination",
                    "A fixed interface or address is for one instance only"};
  }
  API_RETURN_IF_ERROR(ReadMarket(call, &launch));
  API_RETURN_IF_ERROR(ChooseDevices(call, &launch));
  return launch;
}

}  // namespace snapstore::localcloud
