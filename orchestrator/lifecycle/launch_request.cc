#include "orchestrator/lifecycle/launch_request.h"

#include <algorithm>
#include <cctype>

#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/volume_facts.h"

namespace snapstore::spot {
namespace {

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

uint64_t Unsigned(const std::optional<int64_t>& number) {
  return number && *number > 0 ? static_cast<uint64_t>(*number) : 0;
}

Ec2BlockDevice* FindMapping(std::vector<Ec2BlockDevice>* devices, const std::string& name) {
  const auto found = std::find_if(devices->begin(), devices->end(), [&](const Ec2BlockDevice& one) {
    return one.device_name == name;
  });
  return found == devices->end() ? nullptr : &*found;
}

// The specification's devices; those that were kept come from where they are now.
std::vector<Ec2BlockDevice> Devices(const NodeSpec& spec, const KeptResources& kept) {
  std::vector<Ec2BlockDevice> devices;
  for (const BlockDeviceMapping& mapping :
       spec.compute.launch_specification.block_device_mappings) {
    devices.push_back(MappingOf(mapping));
  }
  const bool reattach = spec.persistence.block_devices_mode.value() == BlockDevicesMode::kReattach;
  for (const KeptDevice& device : kept.devices) {
    if (device.foreign || !IsKept(spec, device)) continue;
    const KeptSnapshot* newest = NewestCompleted(device);
    Ec2BlockDevice* mapping = FindMapping(&devices, device.device_name);
    if (device.root) {
      // The image brings it.
      if (mapping == nullptr || kept.image_id.empty()) continue;
      mapping->snapshot_id.clear();
      if (mapping->volume_size_gib > 0) {
        mapping->volume_size_gib =
            std::max(mapping->volume_size_gib, static_cast<uint64_t>(device.size_gib));
      }
      continue;
    }
    // A volume that is still there has what was written last, whatever the mode is now.
    const bool comes_later = !device.volume_id.empty() || (reattach && newest != nullptr);
    if (comes_later) {
      if (mapping == nullptr) {
        devices.push_back({.device_name = device.device_name});
        mapping = &devices.back();
      }
      *mapping = {.device_name = device.device_name, .no_device = "true"};
      continue;
    }
    if (newest == nullptr) continue;
    if (mapping == nullptr) {
      devices.push_back({.device_name = device.device_name});
      mapping = &devices.back();
    }
    mapping->snapshot_id = newest->id;
    mapping->no_device.clear();
    TakeFacts(device, mapping);
  }
  return devices;
}

// Volumes that are kept must not go with an instance that EC2 takes away, those that the image
// brings included.
void KeepVolumes(const NodeSpec& spec, const LaunchPlan& plan,
                 std::vector<Ec2BlockDevice>* devices) {
  const auto is_kept = [&](const std::string& name) {
    return name == plan.root_device ? spec.persistence.persist_root_device.value()
                                    : spec.persistence.persist_block_devices.value();
  };
  for (const std::string& name : plan.image_devices) {
    if (is_kept(name) && FindMapping(devices, name) == nullptr) {
      devices->push_back({.device_name = name});
    }
  }
  for (Ec2BlockDevice& device : *devices) {
    if (is_kept(device.device_name)) device.delete_on_termination = false;
  }
}

}  // namespace

Ec2BlockDevice MappingOf(const BlockDeviceMapping& mapping) {
  Ec2BlockDevice device;
  device.device_name = mapping.device_name;
  device.no_device = mapping.no_device.value_or("");
  device.virtual_name = mapping.virtual_name.value_or("");
  if (!mapping.ebs) return device;
  const Ebs& ebs = *mapping.ebs;
  device.volume_type = Lower(ebs.volume_type.value_or(""));
  device.volume_size_gib = Unsigned(ebs.volume_size_gib);
  device.iops = Unsigned(ebs.iops);
  // Other types than gp3 have none, and EC2 refuses it.
  if (device.volume_type == "gp3") device.throughput = Unsigned(ebs.throughput);
  device.delete_on_termination = ebs.delete_on_termination.value_or(true);
  device.kms_key_id = ebs.kms_key_id.value_or("");
  device.encrypted = ebs.encrypted.value_or(false) || !device.kms_key_id.empty();
  device.snapshot_id = ebs.snapshot_id.value_or("");
  return device;
}

RunInstancesRequest MakeLaunchRequest(const NodeRecord& node, const NodeSpec& spec,
                                      const LaunchPlan& plan, const Market& market,
                                      const std::string& client_token) {
  const LaunchSpecification& launch = spec.compute.launch_specification;
  RunInstancesRequest request;
  request.image_id = plan.image_id;
  request.instance_type = market.instance_type;
  request.client_token = client_token;
  request.spot = market.spot;
  if (launch.tenancy.value() == Tenancy::kDedicated) request.tenancy = "dedicated";
  request.key_name = launch.key_pair.value_or("");
  if (launch.iam_role) {
    request.instance_profile_arn = launch.iam_role->arn.value_or("");
    request.instance_profile_name = launch.iam_role->name.value_or("");
  }
  request.user_data_base64 = launch.user_data.value_or("");
  if (market.burstable && launch.credit_specification.cpu_credits) {
    request.cpu_credits = *launch.credit_specification.cpu_credits == CpuCredits::kUnlimited
                              ? "unlimited"
                              : "standard";
  }
  if (launch.ebs_optimized.given) request.ebs_optimized = launch.ebs_optimized.value();
  if (launch.monitoring.given) request.monitoring = launch.monitoring.value();
  if (launch.metadata_options) {
    const MetadataOptions& metadata = *launch.metadata_options;
    request.metadata.http_tokens =
        metadata.http_tokens == HttpTokens::kRequired ? "required" : "optional";
    request.metadata.http_put_response_hop_limit =
        static_cast<int>(metadata.http_put_response_hop_limit.value_or(0));
    request.metadata.instance_metadata_tags = Lower(metadata.instance_metadata_tags.value_or(""));
  }
  request.devices = Devices(spec, node.runtime.resources);
  KeepVolumes(spec, plan, &request.devices);

  RunInterface primary;
  if (!plan.interface_id.empty()) {
    primary.network_interface_id = plan.interface_id;
  } else {
    primary.subnet_id = market.subnet_id;
    primary.private_ip = plan.private_ip;
    primary.security_group_ids = launch.security_group_ids;
    primary.delete_on_termination = !spec.persistence.persist_private_ip.value();
  }
  std::vector<RunInterface> more;
  for (const NetworkInterface& wanted : launch.network_interfaces) {
    RunInterface interface;
    RunInterface* target = &primary;
    if (wanted.device_index != 0) {
      interface.device_index = static_cast<int>(wanted.device_index);
      interface.subnet_id = market.subnet_id;
      interface.security_group_ids = launch.security_group_ids;
      interface.delete_on_termination = true;
      target = &interface;
    }
    if (wanted.network_interface_id && target->network_interface_id.empty()) {
      *target = {.device_index = target->device_index,
                 .network_interface_id = *wanted.network_interface_id};
    }
    // Only a new interface gets a public address or one of version 6.
    if (target->network_interface_id.empty()) {
      if (wanted.associate_public_ip_address) {
        target->associate_public_ip = *wanted.associate_public_ip_address;
      }
      if (wanted.associate_ipv6_address.value()) target->ipv6_address_count = 1;
    }
    if (wanted.device_index != 0) more.push_back(std::move(interface));
  }
  const bool makes_interface = primary.network_interface_id.empty();
  request.interfaces.push_back(std::move(primary));
  for (RunInterface& interface : more) request.interfaces.push_back(std::move(interface));

  const Ec2Tags ours = TagsOfNode(node, client_token);
  const Ec2Tags users = WithUserTags(ours, launch.tags);
  request.tags["instance"] = users;
  request.tags["volume"] = launch.resource_tags.volumes.should_tag.value() ? users : ours;
  if (makes_interface) {
    request.tags["network-interface"] = launch.resource_tags.enis.should_tag.value() ? users : ours;
  }
  return request;
}

}  // namespace snapstore::spot
