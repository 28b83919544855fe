#include "tests/orchestrator/lifecycle/memory_cloud.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/orchestrator/lifecycle/memory_cloud_parts.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kBootMs = 3'000;
constexpr int64_t kEndMs = 4'000;
constexpr int64_t kForgetMs = 3'600'000;
constexpr const char* kNodeTag = "snapstore:node";

}  // namespace

MemoryCloud::MemoryCloud() {
  Ec2Image image;
  image.id = kImage;
  image.state = "available";
  image.name = "base";
  image.architecture = "x86_64";
  image.root_device_name = kRoot;
  image.devices.push_back({.device_name = kRoot, .snapshot_id = "snap-base"});
  images[image.id] = image;
  Ec2Snapshot snapshot;
  snapshot.id = "snap-base";
  snapshot.state = "completed";
  snapshots[snapshot.id] = snapshot;
}

std::string MemoryCloud::NewId(const std::string& prefix) {
  return fmt::format("{}{:017x}", prefix, next_id_++);
}

void MemoryCloud::After(int64_t ms, std::function<void()> what) {
  due_.emplace(now_ms + ms, std::move(what));
}

void MemoryCloud::Advance(int64_t ms) {
  const int64_t until = now_ms + ms;
  while (!due_.empty() && due_.begin()->first <= until) {
    now_ms = std::max(now_ms, due_.begin()->first);
    const std::function<void()> what = std::move(due_.begin()->second);
    due_.erase(due_.begin());
    what();
  }
  now_ms = until;
}

std::vector<std::string> MemoryCloud::LivingOf(const std::string& node) const {
  std::vector<std::string> living;
  for (const auto& [id, instance] : instances) {
    const auto tag = instance.tags.find(kNodeTag);
    if (tag != instance.tags.end() && tag->second == node && instance.state != "terminated" &&
        instance.state != "shutting-down") {
      living.push_back(id);
    }
  }
  return living;
}

bool MemoryCloud::TagsFit(const std::string& name, const std::vector<std::string>& values,
                          const Ec2Tags& tags, bool* fits) const {
  if (name == "tag-key") {
    *fits = std::any_of(values.begin(), values.end(),
                        [&](const std::string& key) { return tags.contains(key); });
    return true;
  }
  if (!name.starts_with("tag:")) return false;
  const auto tag = tags.find(name.substr(4));
  *fits = tag != tags.end() && Among(values, tag->second);
  return true;
}

void MemoryCloud::UnknownFilter(const std::string& action, const std::string& name) {
  violations.push_back(fmt::format("{}: filter {} is not known here", action, name));
}

void MemoryCloud::SetCapacity(const std::string& type, const std::string& zone, bool spot,
                              int count) {
  capacity_[fmt::format("{}/{}/{}", type, zone, spot)] = count;
}

void MemoryCloud::SetImpaired(const std::string& instance_id, bool impaired) {
  if (impaired) {
    impaired_.insert(instance_id);
  } else {
    impaired_.erase(instance_id);
  }
}

// ---- instances ----------------------------------------------------------------------------------

Ec2Result<std::string> MemoryCloud::MakeInterface(const RunInterface& wanted, const Ec2Tags& tags) {
  Ec2NetworkInterface made;
  made.id = NewId("eni-");
  made.subnet_id = wanted.subnet_id;
  made.vpc_id = kVpc;
  made.availability_zone = wanted.subnet_id == "subnet-b" ? "zone-b" : "zone-a";
  made.private_ip = wanted.private_ip;
  const char* network = wanted.subnet_id == "subnet-b" ? "10.0.16" : "10.0.0";
  if (made.private_ip.empty()) made.private_ip = fmt::format("{}.{}", network, next_address_++);
  for (const auto& [id, other] : interfaces) {
    if (other.private_ip == made.private_ip) {
      return Refused("InvalidIPAddress.InUse", made.private_ip + " is in use");
    }
  }
  made.status = "available";
  made.tags = tags;
  interfaces[made.id] = made;
  return made.id;
}

std::string MemoryCloud::MakeVolume(const std::string& zone, const std::string& snapshot_id,
                                    const Ec2Tags& tags) {
  Ec2Volume volume;
  volume.id = NewId("vol-");
  volume.state = "available";
  volume.availability_zone = zone;
  volume.snapshot_id = snapshot_id;
  volume.tags = tags;
  volumes[volume.id] = volume;
  writes[volume.id] = writes.contains(snapshot_id) ? writes[snapshot_id] : 0;
  return volume.id;
}

void MemoryCloud::AttachTo(Ec2Instance* instance, const std::string& volume_id,
                           const std::string& device, bool delete_on_termination) {
  Ec2Volume& volume = volumes[volume_id];
  if (!volume.attachments.empty()) violations.push_back(volume_id + " has two owners");
  volume.state = "in-use";
  volume.attachments = {{instance->id, device, "attached", delete_on_termination}};
  instance->devices.push_back({device, volume_id, "attached", 0, delete_on_termination});
}

Ec2Result<std::vector<Ec2Instance>> MemoryCloud::Run(const RunInstancesRequest& request) {
  std::string facts =
      fmt::format("{} {} {}", request.image_id, request.instance_type, request.spot);
  for (const Ec2BlockDevice& one : request.devices) {
    facts += " " + one.device_name + one.snapshot_id + one.no_device;
  }
  for (const RunInterface& one : request.interfaces) {
    facts += " " + one.network_interface_id + one.subnet_id + one.private_ip;
  }
  if (const auto known = tokens_.find(request.client_token); known != tokens_.end()) {
    if (known->second.first != facts) {
      return Refused("IdempotentParameterMismatch", "the token was used for another launch");
    }
    return std::vector<Ec2Instance>{instances[known->second.second]};
  }
  const auto image = images.find(request.image_id);
  if (image == images.end()) return Refused("InvalidAMIID.NotFound", request.image_id);
  const RunInterface& primary = request.interfaces.at(0);
  std::string zone = primary.subnet_id == "subnet-b" ? "zone-b" : "zone-a";
  if (!primary.network_interface_id.empty()) {
    const auto found = interfaces.find(primary.network_interface_id);
    if (found == interfaces.end()) {
      return Refused("InvalidNetworkInterfaceID.NotFound", primary.network_interface_id);
    }
    if (found->second.status != "available") {
      return Refused("InvalidNetworkInterface.InUse", found->first);
    }
    zone = found->second.availability_zone;
  }
  const std::string market = fmt::format("{}/{}/{}", request.instance_type, zone, request.spot);
  if (const auto left = capacity_.find(market); left != capacity_.end() && left->second <= 0) {
    return Refused("InsufficientInstanceCapacity", market);
  }
  for (const Ec2BlockDevice& one : request.devices) {
    if (!one.snapshot_id.empty() && !snapshots.contains(one.snapshot_id)) {
      return Refused("InvalidSnapshot.NotFound", one.snapshot_id);
    }
  }
  std::string interface_id = primary.network_interface_id;
  const auto tags = [&](const char* kind) {
    const auto found = request.tags.find(kind);
    return found == request.tags.end() ? Ec2Tags() : found->second;
  };
  if (interface_id.empty()) {
    const auto made = MakeInterface(primary, tags("network-interface"));
    if (!made.ok()) return made.failure();
    interface_id = *made;
  }

  Ec2Instance instance;
  instance.id = NewId("i-");
  instance.image_id = request.image_id;
  instance.instance_type = request.instance_type;
  instance.state = "pending";
  instance.client_token = request.client_token;
  instance.availability_zone = zone;
  instance.vpc_id = kVpc;
  instance.subnet_id = interfaces[interface_id].subnet_id;
  instance.private_ip = interfaces[interface_id].private_ip;
  instance.architecture = "x86_64";
  instance.root_device_name = image->second.root_device_name;
  if (request.spot) {
    instance.lifecycle = "spot";
    instance.spot_request_id = NewId("sir-");
  }
  instance.tags = tags("instance");
  std::map<std::string, Ec2BlockDevice> devices;
  for (const Ec2BlockDevice& one : image->second.devices) devices[one.device_name] = one;
  for (const Ec2BlockDevice& one : request.devices) {
    Ec2BlockDevice merged = one;
    const auto known = devices.find(one.device_name);
    if (merged.snapshot_id.empty() && known != devices.end()) {
      merged.snapshot_id = known->second.snapshot_id;
    }
    devices[one.device_name] = merged;
    if (!one.no_device.empty()) devices.erase(one.device_name);
  }
  for (const auto& [name, one] : devices) {
    AttachTo(&instance, MakeVolume(zone, one.snapshot_id, tags("volume")), name,
             one.delete_on_termination);
  }
  Ec2NetworkInterface& interface = interfaces[interface_id];
  interface.status = "in-use";
  interface.instance_id = instance.id;
  interface.attachment_id = NewId("eni-attach-");
  interface.delete_on_termination =
      primary.network_interface_id.empty() && primary.delete_on_termination.value_or(true);
  instance.interfaces.push_back({interface.id, interface.subnet_id, interface.private_ip, "in-use",
                                 interface.attachment_id, 0, interface.delete_on_termination});
  tokens_[request.client_token] = {facts, instance.id};
  instances[instance.id] = instance;
  const auto node = instance.tags.find(kNodeTag);
  if (node != instance.tags.end() && LivingOf(node->second).size() > 1) {
    violations.push_back(node->second + " has two instances");
  }
  After(kBootMs, [this, id = instance.id] {
    if (instances[id].state == "pending") instances[id].state = "running";
  });
  return std::vector<Ec2Instance>{instance};
}

Ec2Result<std::vector<Ec2Instance>> MemoryCloud::RunInstances(RunInstancesRequest request) {
  return Change<std::vector<Ec2Instance>>("RunInstances", [&] { return Run(request); });
}

void MemoryCloud::End(const std::string& instance_id, const std::string& reason) {
  Ec2Instance& instance = instances[instance_id];
  if (instance.state == "shutting-down" || instance.state == "terminated") return;
  // Whatever ran wrote until now.
  if (instance.state == "running") {
    for (const Ec2InstanceDevice& one : instance.devices) writes[one.volume_id] = ++last_write_;
  }
  instance.state = "shutting-down";
  instance.state_reason_code = reason;
  instance.state_reason_message = reason;
  After(kEndMs, [this, instance_id] {
    Ec2Instance& ended = instances[instance_id];
    ended.state = "terminated";
    for (const Ec2InstanceDevice& one : ended.devices) {
      Ec2Volume& volume = volumes[one.volume_id];
      volume.attachments.clear();
      volume.state = "available";
      if (one.delete_on_termination) volumes.erase(one.volume_id);
    }
    for (const Ec2InstanceInterface& one : ended.interfaces) {
      Ec2NetworkInterface& interface = interfaces[one.id];
      interface.status = "available";
      interface.instance_id.clear();
      interface.attachment_id.clear();
      if (interface.delete_on_termination) interfaces.erase(one.id);
    }
    ended.devices.clear();
    ended.interfaces.clear();
    After(kForgetMs, [this, instance_id] { instances.erase(instance_id); });
  });
}

void MemoryCloud::TakeAway(const std::string& instance_id) {
  End(instance_id, "Server.SpotInstanceTermination");
}

Ec2Result<std::vector<Ec2StateChange>> MemoryCloud::TerminateInstances(
    const std::vector<std::string>& ids) {
  return Change<std::vector<Ec2StateChange>>("TerminateInstances",
                                             [&]() -> Ec2Result<std::vector<Ec2StateChange>> {
                                               for (const std::string& id : ids) {
                                                 if (!instances.contains(id))
                                                   return Refused("InvalidInstanceID.NotFound", id);
                                                 End(id, "Client.UserInitiatedShutdown");
                                               }
                                               return std::vector<Ec2StateChange>();
                                             });
}

Ec2Result<std::vector<Ec2Instance>> MemoryCloud::DescribeInstances(const Ec2Query& query) {
  std::vector<Ec2Instance> found;
  for (const std::string& id : query.ids) {
    if (!instances.contains(id)) return Refused("InvalidInstanceID.NotFound", id);
    found.push_back(instances[id]);
  }
  if (!query.ids.empty()) return found;
  for (const auto& [id, instance] : instances) {
    bool holds = true;
    for (const auto& [name, values] : query.filters) {
      bool fits = true;
      if (name == "instance-state-name") {
        fits = Among(values, instance.state);
      } else if (!TagsFit(name, values, instance.tags, &fits)) {
        UnknownFilter("DescribeInstances", name);
      }
      holds = holds && fits;
    }
    if (holds) found.push_back(instance);
  }
  return found;
}

Ec2Result<std::vector<Ec2InstanceStatus>> MemoryCloud::DescribeInstanceStatus(
    const Ec2Query& /*query*/, bool /*all*/) {
  std::vector<Ec2InstanceStatus> found;
  for (const auto& [id, instance] : instances) {
    if (instance.state != "running") continue;
    const bool bad = impaired_.contains(id);
    found.push_back({id, instance.availability_zone, "running", "ok", bad ? "impaired" : "ok", {}});
  }
  return found;
}

Ec2Result<std::string> MemoryCloud::DescribeInstanceAttribute(const std::string& /*instance_id*/,
                                                              const std::string& /*attribute*/) {
  return std::string();
}

Ec2Result<AwsReceipt> MemoryCloud::ModifyDeleteOnTermination(
    const std::string& instance_id, const std::map<std::string, bool>& by_device) {
  return Change<AwsReceipt>("ModifyInstanceAttribute", [&]() -> Ec2Result<AwsReceipt> {
    if (!instances.contains(instance_id)) return Refused("InvalidInstanceID.NotFound", instance_id);
    for (Ec2InstanceDevice& one : instances[instance_id].devices) {
      const auto wanted = by_device.find(one.device_name);
      if (wanted != by_device.end()) one.delete_on_termination = wanted->second;
    }
    return AwsReceipt();
  });
}

// ---- tags ---------------------------------------------------------------------------------------

Ec2Result<AwsReceipt> MemoryCloud::CreateTags(const std::vector<std::string>& ids,
                                              const Ec2Tags& tags) {
  return Change<AwsReceipt>("CreateTags", [&]() -> Ec2Result<AwsReceipt> {
    for (const std::string& id : ids) {
      Ec2Tags* mine = instances.contains(id)    ? &instances[id].tags
                      : volumes.contains(id)    ? &volumes[id].tags
                      : snapshots.contains(id)  ? &snapshots[id].tags
                      : images.contains(id)     ? &images[id].tags
                      : interfaces.contains(id) ? &interfaces[id].tags
                                                : nullptr;
      if (mine == nullptr) return Refused("InvalidID.NotFound", id);
      for (const auto& [key, value] : tags) (*mine)[key] = value;
    }
    return AwsReceipt();
  });
}

Ec2Result<AwsReceipt> MemoryCloud::DeleteTags(const std::vector<std::string>& /*ids*/,
                                              const Ec2Tags& /*tags*/) {
  return Status::Unsupported("DeleteTags");
}
Ec2Result<std::vector<Ec2Tag>> MemoryCloud::DescribeTags(const Ec2Query& /*query*/) {
  return Status::Unsupported("DescribeTags");
}

}  // namespace snapstore::spot
