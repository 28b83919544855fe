// Volumes, snapshots, images, interfaces, markets and load balancers of MemoryCloud.
#include <fmt/format.h>

#include <algorithm>

#include "tests/orchestrator/lifecycle/memory_cloud_parts.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kAttachMs = 500;
constexpr int64_t kCopyMs = 6'000;

struct Type {
  const char* name;
  double usd;
};
constexpr Type kTypes[] = {{"m5.large", 0.096}, {"c5.large", 0.085}, {"r5.large", 0.126}};

Ec2Subnet Subnet(const std::string& id, const std::string& zone, const std::string& cidr) {
  Ec2Subnet subnet;
  subnet.id = id;
  subnet.vpc_id = MemoryCloud::kVpc;
  subnet.availability_zone = zone;
  subnet.cidr = cidr;
  subnet.state = "available";
  return subnet;
}

}  // namespace

Ec2Result<Ec2Volume> MemoryCloud::CreateVolume(CreateVolumeRequest request) {
  return Change<Ec2Volume>("CreateVolume", [&]() -> Ec2Result<Ec2Volume> {
    const auto known = tokens_.find(request.client_token);
    if (known != tokens_.end()) return volumes[known->second.second];
    if (!snapshots.contains(request.snapshot_id)) {
      return Refused("InvalidSnapshot.NotFound", request.snapshot_id);
    }
    const std::string id = MakeVolume(request.availability_zone, request.snapshot_id, request.tags);
    tokens_[request.client_token] = {"", id};
    return volumes[id];
  });
}

Ec2Result<AwsReceipt> MemoryCloud::DeleteVolume(const std::string& id) {
  return Change<AwsReceipt>("DeleteVolume", [&]() -> Ec2Result<AwsReceipt> {
    const auto found = volumes.find(id);
    if (found == volumes.end()) return Refused("InvalidVolume.NotFound", id);
    if (!found->second.attachments.empty()) return Refused("VolumeInUse", id);
    volumes.erase(found);
    return AwsReceipt();
  });
}

Ec2Result<std::vector<Ec2Volume>> MemoryCloud::DescribeVolumes(const Ec2Query& query) {
  std::vector<Ec2Volume> found;
  for (const std::string& id : query.ids) {
    if (!volumes.contains(id)) return Refused("InvalidVolume.NotFound", id);
    found.push_back(volumes[id]);
  }
  if (!query.ids.empty()) return found;
  for (const auto& [id, volume] : volumes) {
    bool holds = true;
    for (const auto& [name, values] : query.filters) {
      bool fits = true;
      if (!TagsFit(name, values, volume.tags, &fits)) UnknownFilter("DescribeVolumes", name);
      holds = holds && fits;
    }
    if (holds) found.push_back(volume);
  }
  return found;
}

Ec2Result<Ec2VolumeAttachment> MemoryCloud::AttachVolume(const std::string& volume_id,
                                                         const std::string& instance_id,
                                                         const std::string& device) {
  return Change<Ec2VolumeAttachment>("AttachVolume", [&]() -> Ec2Result<Ec2VolumeAttachment> {
    const auto volume = volumes.find(volume_id);
    const auto instance = instances.find(instance_id);
    if (volume == volumes.end()) return Refused("InvalidVolume.NotFound", volume_id);
    if (instance == instances.end() || instance->second.state != "running") {
      return Refused("IncorrectState", instance_id);
    }
    if (!volume->second.attachments.empty()) return Refused("VolumeInUse", volume_id);
    if (volume->second.availability_zone != instance->second.availability_zone) {
      return Refused("InvalidVolume.ZoneMismatch", volume_id);
    }
    AttachTo(&instance->second, volume_id, device, false);
    volume->second.attachments[0].status = "attaching";
    After(kAttachMs, [this, volume_id, instance_id] {
      const auto found = volumes.find(volume_id);
      if (found == volumes.end()) return;
      for (Ec2VolumeAttachment& one : found->second.attachments) {
        if (one.instance_id == instance_id) one.status = "attached";
      }
    });
    return volume->second.attachments[0];
  });
}

Ec2Result<Ec2VolumeAttachment> MemoryCloud::DetachVolume(const std::string& volume_id,
                                                         const std::string& instance_id,
                                                         bool /*force*/) {
  return Change<Ec2VolumeAttachment>("DetachVolume", [&]() -> Ec2Result<Ec2VolumeAttachment> {
    const auto volume = volumes.find(volume_id);
    if (volume == volumes.end()) return Refused("InvalidVolume.NotFound", volume_id);
    volume->second.attachments.clear();
    volume->second.state = "available";
    std::erase_if(instances[instance_id].devices,
                  [&](const Ec2InstanceDevice& one) { return one.volume_id == volume_id; });
    return Ec2VolumeAttachment{instance_id, "", "detached", false};
  });
}

Ec2Snapshot MemoryCloud::MakeSnapshot(const std::string& volume_id, const std::string& description,
                                      const Ec2Tags& tags) {
  Ec2Snapshot snapshot;
  snapshot.id = NewId("snap-");
  snapshot.volume_id = volume_id;
  snapshot.state = "pending";
  snapshot.description = description;
  snapshot.start_time_ns = now_ms * 1'000'000;
  snapshot.tags = tags;
  snapshots[snapshot.id] = snapshot;
  const auto& attachments = volumes[volume_id].attachments;
  if (!attachments.empty() && instances[attachments[0].instance_id].state == "running") {
    writes[volume_id] = ++last_write_;
  }
  writes[snapshot.id] = writes[volume_id];
  After(kCopyMs, [this, id = snapshot.id] {
    const auto found = snapshots.find(id);
    if (found != snapshots.end()) found->second.state = "completed";
  });
  return snapshot;
}

Ec2Result<Ec2Snapshot> MemoryCloud::CreateSnapshot(const std::string& volume_id,
                                                   const std::string& description,
                                                   const Ec2Tags& tags) {
  return Change<Ec2Snapshot>("CreateSnapshot", [&]() -> Ec2Result<Ec2Snapshot> {
    if (!volumes.contains(volume_id)) return Refused("InvalidVolume.NotFound", volume_id);
    return MakeSnapshot(volume_id, description, tags);
  });
}

Ec2Result<std::vector<Ec2Snapshot>> MemoryCloud::CreateSnapshots(
    const std::string& instance_id, bool exclude_root,
    const std::vector<std::string>& exclude_volumes, const std::string& description,
    const Ec2Tags& tags) {
  return Change<std::vector<Ec2Snapshot>>(
      "CreateSnapshots", [&]() -> Ec2Result<std::vector<Ec2Snapshot>> {
        if (!instances.contains(instance_id)) {
          return Refused("InvalidInstanceID.NotFound", instance_id);
        }
        std::vector<Ec2Snapshot> made;
        for (const Ec2InstanceDevice& one : instances[instance_id].devices) {
          if (exclude_root && one.device_name == kRoot) continue;
          if (Among(exclude_volumes, one.volume_id)) continue;
          made.push_back(MakeSnapshot(one.volume_id, description, tags));
        }
        return made;
      });
}

Ec2Result<AwsReceipt> MemoryCloud::DeleteSnapshot(const std::string& id) {
  return Change<AwsReceipt>("DeleteSnapshot", [&]() -> Ec2Result<AwsReceipt> {
    if (!snapshots.contains(id)) return Refused("InvalidSnapshot.NotFound", id);
    for (const auto& [image_id, image] : images) {
      for (const Ec2BlockDevice& one : image.devices) {
        if (one.snapshot_id == id) return Refused("InvalidSnapshot.InUse", id);
      }
    }
    snapshots.erase(id);
    return AwsReceipt();
  });
}

Ec2Result<std::vector<Ec2Snapshot>> MemoryCloud::DescribeSnapshots(const Ec2Query& query) {
  std::vector<Ec2Snapshot> found;
  for (const std::string& id : query.ids) {
    if (!snapshots.contains(id)) return Refused("InvalidSnapshot.NotFound", id);
    found.push_back(snapshots[id]);
  }
  if (!query.ids.empty()) return found;
  for (const auto& [id, snapshot] : snapshots) {
    bool holds = true;
    for (const auto& [name, values] : query.filters) {
      bool fits = true;
      if (name == "snapshot-id") {
        fits = Among(values, id);
      } else if (!TagsFit(name, values, snapshot.tags, &fits)) {
        UnknownFilter("DescribeSnapshots", name);
      }
      holds = holds && fits;
    }
    if (holds) found.push_back(snapshot);
  }
  return found;
}

Ec2Result<std::string> MemoryCloud::RegisterImage(const RegisterImageRequest& request) {
  return Change<std::string>("RegisterImage", [&]() -> Ec2Result<std::string> {
    for (const auto& [id, image] : images) {
      if (image.name == request.name) return Refused("InvalidAMIName.Duplicate", request.name);
    }
    for (const Ec2BlockDevice& one : request.devices) {
      const auto snapshot = snapshots.find(one.snapshot_id);
      if (snapshot == snapshots.end()) return Refused("InvalidSnapshot.NotFound", one.snapshot_id);
      if (snapshot->second.state != "completed") {
        return Refused("InvalidSnapshot.NotCompleted", one.snapshot_id);
      }
    }
    Ec2Image image;
    image.id = NewId("ami-");
    image.state = "available";
    image.name = request.name;
    image.architecture = request.architecture;
    image.root_device_name = request.root_device_name;
    image.devices = request.devices;
    images[image.id] = image;
    return image.id;
  });
}

Ec2Result<std::string> MemoryCloud::CreateImage(const std::string& instance_id,
                                                const std::string& name, bool /*no_reboot*/,
                                                const std::map<std::string, Ec2Tags>& tags) {
  return Change<std::string>("CreateImage", [&]() -> Ec2Result<std::string> {
    if (!instances.contains(instance_id)) return Refused("InvalidInstanceID.NotFound", instance_id);
    Ec2Image image;
    image.id = NewId("ami-");
    image.state = "pending";
    image.name = name;
    image.architecture = "x86_64";
    image.root_device_name = kRoot;
    image.tags = tags.at("image");
    for (const Ec2InstanceDevice& one : instances[instance_id].devices) {
      const Ec2Snapshot snapshot = MakeSnapshot(one.volume_id, name, tags.at("snapshot"));
      image.devices.push_back({.device_name = one.device_name, .snapshot_id = snapshot.id});
    }
    images[image.id] = image;
    After(kCopyMs, [this, id = image.id] {
      if (images.contains(id)) images[id].state = "available";
    });
    return image.id;
  });
}

Ec2Result<AwsReceipt> MemoryCloud::DeregisterImage(const std::string& id) {
  return Change<AwsReceipt>("DeregisterImage", [&]() -> Ec2Result<AwsReceipt> {
    if (images.erase(id) == 0) return Refused("InvalidAMIID.NotFound", id);
    return AwsReceipt();
  });
}

Ec2Result<std::vector<Ec2Image>> MemoryCloud::DescribeImages(const Ec2Query& query) {
  std::vector<Ec2Image> found;
  for (const std::string& id : query.ids) {
    if (!images.contains(id)) return Refused("InvalidAMIID.NotFound", id);
    found.push_back(images[id]);
  }
  if (!query.ids.empty()) return found;
  for (const auto& [id, image] : images) {
    bool holds = true;
    for (const auto& [name, values] : query.filters) {
      bool fits = true;
      if (name == "name") {
        fits = Among(values, image.name);
      } else if (!TagsFit(name, values, image.tags, &fits)) {
        UnknownFilter("DescribeImages", name);
      }
      holds = holds && fits;
    }
    if (holds) found.push_back(image);
  }
  return found;
}

// ---- network ------------------------------------------------------------------------------------

Ec2Result<Ec2NetworkInterface> MemoryCloud::CreateNetworkInterface(CreateInterfaceRequest request) {
  return Change<Ec2NetworkInterface>("CreateNetworkInterface",
                                     [&]() -> Ec2Result<Ec2NetworkInterface> {
                                       RunInterface wanted;
                                       wanted.subnet_id = request.subnet_id;
                                       wanted.private_ip = request.private_ip;
                                       const auto made = MakeInterface(wanted, request.tags);
                                       if (!made.ok()) return made.failure();
                                       return interfaces[*made];
                                     });
}

Ec2Result<AwsReceipt> MemoryCloud::DeleteNetworkInterface(const std::string& id) {
  return Change<AwsReceipt>("DeleteNetworkInterface", [&]() -> Ec2Result<AwsReceipt> {
    const auto found = interfaces.find(id);
    if (found == interfaces.end()) return Refused("InvalidNetworkInterfaceID.NotFound", id);
    if (found->second.status != "available") return Refused("InvalidNetworkInterface.InUse", id);
    interfaces.erase(found);
    return AwsReceipt();
  });
}

Ec2Result<AwsReceipt> MemoryCloud::ModifyInterfaceGroups(const std::string& id,
                                                         const std::vector<std::string>& groups) {
  return Change<AwsReceipt>("ModifyNetworkInterfaceAttribute", [&]() -> Ec2Result<AwsReceipt> {
    if (!interfaces.contains(id)) return Refused("InvalidNetworkInterfaceID.NotFound", id);
    interfaces[id].groups.clear();
    for (const std::string& group : groups) interfaces[id].groups.push_back({group, group});
    return AwsReceipt();
  });
}

Ec2Result<AwsReceipt> MemoryCloud::ModifyInterfaceDeleteOnTermination(
    const std::string& id, const std::string& /*attachment_id*/, bool delete_on_termination) {
  return Change<AwsReceipt>("ModifyNetworkInterfaceAttribute", [&]() -> Ec2Result<AwsReceipt> {
    if (!interfaces.contains(id)) return Refused("InvalidNetworkInterfaceID.NotFound", id);
    interfaces[id].delete_on_termination = delete_on_termination;
    return AwsReceipt();
  });
}

Ec2Result<AwsReceipt> MemoryCloud::UnassignPrivateIpAddresses(
    const std::string& /*id*/, const std::vector<std::string>& /*addresses*/) {
  return Status::Unsupported("UnassignPrivateIpAddresses");
}

Ec2Result<std::vector<Ec2NetworkInterface>> MemoryCloud::DescribeNetworkInterfaces(
    const Ec2Query& query) {
  std::vector<Ec2NetworkInterface> found;
  for (const std::string& id : query.ids) {
    if (!interfaces.contains(id)) return Refused("InvalidNetworkInterfaceID.NotFound", id);
    found.push_back(interfaces[id]);
  }
  if (!query.ids.empty()) return found;
  for (const auto& [id, interface] : interfaces) {
    bool holds = true;
    for (const auto& [name, values] : query.filters) {
      bool fits = true;
      if (name == "addresses.private-ip-address") {
        fits = Among(values, interface.private_ip);
      } else if (name == "vpc-id") {
        fits = Among(values, kVpc);
      } else if (!TagsFit(name, values, interface.tags, &fits)) {
        UnknownFilter("DescribeNetworkInterfaces", name);
      }
      holds = holds && fits;
    }
    if (holds) found.push_back(interface);
  }
  return found;
}

Ec2Result<Ec2Address> MemoryCloud::AllocateAddress(const Ec2Tags& /*tags*/) {
  return Status::Unsupported("AllocateAddress");
}
Ec2Result<AwsReceipt> MemoryCloud::ReleaseAddress(const std::string& /*allocation_id*/) {
  return Status::Unsupported("ReleaseAddress");
}
Ec2Result<std::string> MemoryCloud::AssociateAddress(const AssociateAddressRequest& /*request*/) {
  return Status::Unsupported("AssociateAddress");
}
Ec2Result<AwsReceipt> MemoryCloud::DisassociateAddress(const std::string& /*association_id*/) {
  return Status::Unsupported("DisassociateAddress");
}
Ec2Result<std::vector<Ec2Address>> MemoryCloud::DescribeAddresses(const Ec2Query& /*query*/) {
  return std::vector<Ec2Address>();
}

Ec2Result<std::vector<Ec2Subnet>> MemoryCloud::DescribeSubnets(const Ec2Query& query) {
  std::vector<Ec2Subnet> found;
  for (const std::string& id : query.ids) {
    if (id == "subnet-a") {
      found.push_back(Subnet(id, "zone-a", "10.0.0.0/20"));
    } else if (id == "subnet-b") {
      found.push_back(Subnet(id, "zone-b", "10.0.16.0/20"));
    } else {
      return Refused("InvalidSubnetID.NotFound", id);
    }
  }
  return found;
}
Ec2Result<std::vector<Ec2Vpc>> MemoryCloud::DescribeVpcs(const Ec2Query& /*query*/) {
  return std::vector<Ec2Vpc>();
}
Ec2Result<std::vector<Ec2SecurityGroup>> MemoryCloud::DescribeSecurityGroups(
    const Ec2Query& /*query*/) {
  return std::vector<Ec2SecurityGroup>();
}

// ---- markets ------------------------------------------------------------------------------------

Ec2Result<std::vector<Ec2SpotPrice>> MemoryCloud::DescribeSpotPriceHistory(
    const SpotPriceQuery& query) {
  std::vector<Ec2SpotPrice> prices;
  for (const Type& type : kTypes) {
    if (!query.instance_types.empty() && !Among(query.instance_types, type.name)) continue;
    for (const char* zone : {"zone-a", "zone-b"}) {
      if (!query.availability_zone.empty() && query.availability_zone != zone) continue;
      prices.push_back({type.name, zone, "Linux/UNIX", type.usd * 0.35, now_ms * 1'000'000});
    }
  }
  return prices;
}

Ec2Result<std::vector<Ec2SpotRequest>> MemoryCloud::DescribeSpotInstanceRequests(
    const Ec2Query& query) {
  for (const auto& [name, values] : query.filters) {
    if (name != "status-code") UnknownFilter("DescribeSpotInstanceRequests", name);
  }
  return std::vector<Ec2SpotRequest>();
}

Ec2Result<AwsReceipt> MemoryCloud::CancelSpotInstanceRequests(
    const std::vector<std::string>& /*ids*/) {
  return Change<AwsReceipt>("CancelSpotInstanceRequests", [] { return AwsReceipt(); });
}

Ec2Result<std::vector<Ec2AvailabilityZone>> MemoryCloud::DescribeAvailabilityZones(
    const Ec2Query& /*query*/) {
  return std::vector<Ec2AvailabilityZone>();
}

Ec2Result<std::vector<Ec2InstanceType>> MemoryCloud::DescribeInstanceTypes(const Ec2Query& query) {
  std::vector<Ec2InstanceType> found;
  const auto wanted = query.filters.find("instance-type");
  for (const Type& type : kTypes) {
    if (wanted != query.filters.end() && !Among(wanted->second, type.name)) continue;
    Ec2InstanceType facts;
    facts.name = type.name;
    facts.architectures = {"x86_64"};
    facts.usage_classes = {"spot", "on-demand"};
    facts.vcpus = 2;
    facts.memory_mib = 8192;
    found.push_back(facts);
  }
  return found;
}

Ec2Result<std::vector<Ec2InstanceTypeOffering>> MemoryCloud::DescribeInstanceTypeOfferings(
    const Ec2Query& /*query*/) {
  std::vector<Ec2InstanceTypeOffering> offers;
  for (const Type& type : kTypes) {
    for (const char* zone : {"zone-a", "zone-b"}) offers.push_back({type.name, zone});
  }
  return offers;
}

Ec2Result<std::vector<Ec2ReservedInstances>> MemoryCloud::DescribeReservedInstances(
    const Ec2Query& /*query*/) {
  return std::vector<Ec2ReservedInstances>();
}
Ec2Result<std::vector<Ec2KeyPair>> MemoryCloud::DescribeKeyPairs(const Ec2Query& /*query*/) {
  return std::vector<Ec2KeyPair>();
}

// ---- load balancers -----------------------------------------------------------------------------

Ec2Result<std::vector<TargetHealth>> MemoryCloud::DescribeTargetHealth(
    const std::string& /*target_group_arn*/, const std::string& /*instance_id*/) {
  return std::vector<TargetHealth>();
}
Ec2Result<AwsReceipt> MemoryCloud::RegisterTarget(const std::string& /*target_group_arn*/,
                                                  const std::string& /*instance_id*/) {
  return Change<AwsReceipt>("RegisterTargets", [] { return AwsReceipt(); });
}
Ec2Result<AwsReceipt> MemoryCloud::DeregisterTarget(const std::string& /*target_group_arn*/,
                                                    const std::string& /*instance_id*/) {
  return Change<AwsReceipt>("DeregisterTargets", [] { return AwsReceipt(); });
}
Ec2Result<std::vector<TargetHealth>> MemoryCloud::DescribeInstanceHealth(
    const std::string& /*name*/, const std::string& /*instance_id*/) {
  return std::vector<TargetHealth>();
}
Ec2Result<AwsReceipt> MemoryCloud::RegisterInstance(const std::string& /*name*/,
                                                    const std::string& /*instance_id*/) {
  return Change<AwsReceipt>("RegisterInstancesWithLoadBalancer", [] { return AwsReceipt(); });
}
Ec2Result<AwsReceipt> MemoryCloud::DeregisterInstance(const std::string& /*name*/,
                                                      const std::string& /*instance_id*/) {
  return Change<AwsReceipt>("DeregisterInstancesFromLoadBalancer", [] { return AwsReceipt(); });
}

}  // namespace snapstore::spot
