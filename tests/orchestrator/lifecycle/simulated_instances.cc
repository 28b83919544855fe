// Instances: launches, ends, what is said about them.
#include <algorithm>

#include "tests/orchestrator/lifecycle/simulated_call.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kTokenLifeMs = 48 * kHourMs;

const Ec2Tags& TagsFor(const RunInstancesRequest& request, const std::string& type) {
  static const Ec2Tags kNone;
  const auto found = request.tags.find(type);
  return found == request.tags.end() ? kNone : found->second;
}

// Whatever makes two requests different.
std::string Fingerprint(const RunInstancesRequest& request) {
  std::string text =
      fmt::format("{} {} {} {} {} {} {}", request.image_id, request.instance_type, request.spot,
                  request.subnet_id, request.user_data_base64, request.tenancy, request.key_name);
  for (const Ec2BlockDevice& one : request.devices) {
    text += fmt::format(" {}={}/{}/{}/{}/{}/{}/{}", one.device_name, one.snapshot_id,
                        one.volume_type, one.volume_size_gib, one.iops, one.throughput,
                        one.no_device, one.delete_on_termination);
  }
  for (const RunInterface& one : request.interfaces) {
    text += fmt::format(" {}={}/{}/{}/{}", one.device_index, one.network_interface_id,
                        one.subnet_id, one.private_ip, fmt::join(one.security_group_ids, "+"));
  }
  for (const auto& [type, tags] : request.tags) {
    for (const auto& [key, value] : tags) text += fmt::format(" {}:{}={}", type, key, value);
  }
  return text;
}

std::optional<std::string> InstanceFact(const Ec2Instance& instance, const std::string& filter) {
  if (filter == "instance-state-name") return instance.state;
  if (filter == "instance-type") return instance.instance_type;
  if (filter == "vpc-id") return instance.vpc_id;
  if (filter == "availability-zone") return instance.availability_zone;
  return std::nullopt;
}

}  // namespace

Ec2Result<std::vector<Ec2Instance>> SimulatedCloud::RunInstances(RunInstancesRequest request) {
  const std::string node = NodeOfTags(TagsFor(request, "instance"));
  auto done =
      Call<std::vector<Ec2Instance>>("RunInstances", node, true, [&]() { return Launch(request); });
  CheckSingle(node);
  return done;
}

Ec2Result<std::vector<Ec2Instance>> SimulatedCloud::Launch(const RunInstancesRequest& request) {
  const std::string fingerprint = Fingerprint(request);
  if (const auto known = tokens_.find(request.client_token); known != tokens_.end()) {
    if (known->second.first != fingerprint) {
      // The same program with the same record must ask for the same.
      Violate(NodeOfTags(TagsFor(request, "instance")),
              fmt::format("a launch is repeated with other parameters:\n  {}\n  {}",
                          known->second.first, fingerprint));
      return Refuse("IdempotentParameterMismatch", "the token was used for another request");
    }
    const SimInstance* const instance = instances_.Find(known->second.second);
    if (instance != nullptr) return std::vector<Ec2Instance>{instance->shown};
  }
  LaunchPlace place;
  if (auto refused = CheckLaunch(request, &place)) return *std::move(refused);
  std::map<std::string, Ec2BlockDevice> devices;
  const SimImage& image = *images_.Find(request.image_id);
  if (auto refused = PlanDevices(request, image, &devices)) return *std::move(refused);
  if (auto refused = CheckCapacity(request, place)) return *std::move(refused);

  SimInstance made;
  Ec2Instance& shown = made.shown;
  shown.id = NewId("i-");
  shown.image_id = request.image_id;
  shown.instance_type = request.instance_type;
  shown.state = "pending";
  shown.client_token = request.client_token;
  shown.availability_zone = place.zone;
  shown.subnet_id = place.subnet_id;
  shown.vpc_id = kVpc;
  shown.key_name = request.key_name;
  shown.metadata = request.metadata;
  shown.architecture = image.shown.architecture;
  shown.root_device_name = image.shown.root_device_name;
  shown.platform_details = "Linux/UNIX";
  shown.launch_time_ns = Now() * kNanosPerMs;
  shown.tags = TagsFor(request, "instance");
  made.user_data = request.user_data_base64;
  made.visible_ms = VisibleAt();
  if (request.spot) {
    Ec2SpotRequest spot;
    spot.id = NewId("sir-");
    spot.state = "active";
    spot.status_code = "fulfilled";
    spot.instance_id = shown.id;
    spot.instance_type = request.instance_type;
    spot.type = "one-time";
    spot.availability_zone = place.zone;
    spot.create_time_ns = Now() * kNanosPerMs;
    shown.lifecycle = "spot";
    shown.spot_request_id = spot.id;
    requests_.emplace(spot.id, spot);
  }
  GiveVolumes(request, devices, &made);
  GiveInterfaces(request, place, &made);
  TakePlace(made, 1);
  const std::string id = shown.id;
  if (!request.client_token.empty()) {
    tokens_[request.client_token] = {fingerprint, id};
    At(Now() + kTokenLifeMs, EventKind::kTokenForgotten, request.client_token);
  }
  SimInstance& added = instances_.Add(std::move(made));
  for (const std::string& other : instances_.OfNode(NodeOfTags(added.shown.tags))) {
    // Its volumes and its address are not free before it is terminated.
    if (instances_.all().at(other).shown.state != "shutting-down") continue;
    Violate(NodeOfTags(added.shown.tags),
            fmt::format("{} is launched while {} is still shutting down", id, other));
  }
  At(Now() + Between(3'000, 40'000), EventKind::kRuns, id);
  return std::vector<Ec2Instance>{added.shown};
}

std::optional<AwsFailure> SimulatedCloud::CheckLaunch(const RunInstancesRequest& request,
                                                      LaunchPlace* place) {
  const SimImage* const image = images_.Find(request.image_id);
  if (image == nullptr) return Refuse("InvalidAMIID.NotFound", request.image_id);
  if (image->shown.state != "available") return Refuse("InvalidAMIID.Unavailable", "pending");
  place->subnet_id = request.subnet_id;
  for (const RunInterface& wanted : request.interfaces) {
    if (!wanted.network_interface_id.empty()) {
      const SimInterface* const known = interfaces_.Find(wanted.network_interface_id);
      if (known == nullptr) {
        return Refuse("InvalidNetworkInterfaceID.NotFound", wanted.network_interface_id);
      }
      if (known->shown.status != "available") {
        return Refuse("InvalidNetworkInterface.InUse", wanted.network_interface_id);
      }
      if (wanted.device_index == 0) place->subnet_id = known->shown.subnet_id;
      continue;
    }
    const Ec2Subnet* const subnet = FindSubnet(wanted.subnet_id);
    if (subnet == nullptr) return Refuse("InvalidSubnetID.NotFound", wanted.subnet_id);
    if (wanted.device_index == 0) place->subnet_id = wanted.subnet_id;
    if (wanted.private_ip.empty()) continue;
    if (used_ips_.contains(wanted.private_ip)) {
      return Refuse("InvalidIPAddress.InUse", wanted.private_ip);
    }
    if (!wanted.private_ip.starts_with(subnet->cidr.substr(0, 5))) {
      return Refuse("InvalidParameterValue", "the address is not in the subnet's range");
    }
  }
  const Ec2Subnet* const subnet = FindSubnet(place->subnet_id);
  if (subnet == nullptr) return Refuse("InvalidSubnetID.NotFound", place->subnet_id);
  place->zone = subnet->availability_zone;
  return std::nullopt;
}

std::optional<AwsFailure> SimulatedCloud::CheckCapacity(const RunInstancesRequest& request,
                                                        const LaunchPlace& place) {
  SimMarket* const market = MarketOf(request.instance_type, place.zone);
  if (market == nullptr) return Refuse("InvalidParameterValue", request.instance_type);
  const int64_t until =
      request.spot ? market->drought_until_ms : market->on_demand_drought_until_ms;
  const int64_t most = request.spot ? market->spot_capacity : market->on_demand_capacity;
  const int64_t taken = request.spot ? market->spot_taken : market->on_demand_taken;
  if (Now() < until || (most >= 0 && taken >= most)) {
    Count("launches refused for capacity");
    constexpr const char* kCodes[] = {"InsufficientInstanceCapacity", "SpotMaxPriceTooLow",
                                      "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"};
    const size_t which = request.spot ? random_.Below(3) : 3 * random_.Below(2);
    return Refuse(kCodes[which], fmt::format("{} in {}", request.instance_type, place.zone));
  }
  return std::nullopt;
}

std::optional<AwsFailure> SimulatedCloud::PlanDevices(
    const RunInstancesRequest& request, const SimImage& image,
    std::map<std::string, Ec2BlockDevice>* devices) {
  for (const Ec2BlockDevice& one : image.shown.devices) (*devices)[one.device_name] = one;
  for (const Ec2BlockDevice& one : request.devices) {
    if (!one.no_device.empty()) {
      devices->erase(one.device_name);
      continue;
    }
    Ec2BlockDevice& mapping = (*devices)[one.device_name];
    const Ec2BlockDevice before = mapping;
    mapping = one;
    if (mapping.snapshot_id.empty()) mapping.snapshot_id = before.snapshot_id;
    if (mapping.volume_size_gib == 0) mapping.volume_size_gib = before.volume_size_gib;
    if (mapping.volume_type.empty()) {
      mapping.volume_type = before.volume_type;
      if (mapping.iops == 0) mapping.iops = before.iops;
      if (mapping.throughput == 0) mapping.throughput = before.throughput;
    }
    if (mapping.snapshot_id.empty() && mapping.volume_size_gib == 0) {
      return Refuse("MissingParameter", "a size or a snapshot of " + one.device_name);
    }
  }
  for (const auto& [name, one] : *devices) {
    if (auto refused = CheckVolume(one)) return refused;
  }
  return std::nullopt;
}

void SimulatedCloud::GiveVolumes(const RunInstancesRequest& request,
                                 const std::map<std::string, Ec2BlockDevice>& devices,
                                 SimInstance* instance) {
  for (const auto& [name, one] : devices) {
    SimVolume volume =
        MakeVolume(instance->shown.availability_zone, one, TagsFor(request, "volume"));
    volume.shown.state = "in-use";
    volume.shown.attachments.push_back(
        {instance->shown.id, name, "attached", one.delete_on_termination});
    instance->shown.devices.push_back(
        {name, volume.shown.id, "attached", Now() * kNanosPerMs, one.delete_on_termination});
    Note(NodeOfTags(volume.shown.tags),
         fmt::format("  {} is {} of {}", volume.shown.id, name, instance->shown.id));
    volumes_.Add(std::move(volume));
  }
}

void SimulatedCloud::GiveInterfaces(const RunInstancesRequest& request, const LaunchPlace& place,
                                    SimInstance* instance) {
  std::vector<RunInterface> wanted = request.interfaces;
  if (wanted.empty()) wanted.push_back({.subnet_id = place.subnet_id});
  for (const RunInterface& one : wanted) {
    SimInterface* interface = interfaces_.Find(one.network_interface_id);
    const bool made = interface == nullptr;
    if (made) {
      interface = &MakeInterface(one.subnet_id, one.private_ip, one.security_group_ids,
                                 TagsFor(request, "network-interface"));
    }
    Ec2NetworkInterface& shown = interface->shown;
    shown.status = "in-use";
    shown.instance_id = instance->shown.id;
    shown.attachment_id = NewId("eni-attach-");
    shown.attachment_status = "attached";
    shown.device_index = one.device_index;
    // One that existed stays unless somebody asks for its end.
    shown.delete_on_termination = one.delete_on_termination.value_or(made);
    const auto address = addresses_.find(shown.allocation_id);
    if (address != addresses_.end()) address->second.instance_id = shown.instance_id;
    instance->shown.interfaces.push_back({shown.id, shown.subnet_id, shown.private_ip, "in-use",
                                          shown.attachment_id, shown.device_index,
                                          shown.delete_on_termination});
    if (one.device_index == 0) {
      instance->shown.private_ip = shown.private_ip;
      instance->shown.public_ip = shown.public_ip;
      instance->shown.groups = shown.groups;
    }
  }
}

void SimulatedCloud::BeginRunning(SimInstance* instance) {
  instance->shown.state = "running";
  instance->ran_at_ms = Now();
  running_.insert(instance->shown.id);
  for (const Ec2InstanceDevice& device : instance->shown.devices) {
    SimVolume* const volume = volumes_.Find(device.volume_id);
    if (volume != nullptr && device.status == "attached") {
      BeginWriting(*instance, device.device_name, volume);
    }
  }
}

void SimulatedCloud::StopWriting(SimInstance* instance) {
  for (const Ec2InstanceDevice& device : instance->shown.devices) {
    SimVolume* const volume = volumes_.Find(device.volume_id);
    if (volume != nullptr) EndWriting(volume);
  }
  instance->ran_at_ms = 0;
  running_.erase(instance->shown.id);
}

void SimulatedCloud::BeginTermination(SimInstance* instance, const std::string& code,
                                      const std::string& message) {
  Ec2Instance& shown = instance->shown;
  if (shown.state == "shutting-down" || shown.state == "terminated") return;
  StopWriting(instance);
  TakePlace(*instance, -1);
  shown.state = "shutting-down";
  shown.state_reason_code = code;
  shown.state_reason_message = message;
  instance->taken_at_ms = 0;
  if (const auto request = requests_.find(shown.spot_request_id); request != requests_.end()) {
    request->second.state = "closed";
    request->second.status_code = code == "Server.SpotInstanceTermination"
                                      ? "instance-terminated-no-capacity"
                                      : "instance-terminated-by-user";
    At(Now() + kHourMs, EventKind::kRequestForgotten, request->first);
  }
  At(Now() + Between(5'000, 60'000), EventKind::kTerminated, shown.id);
}

void SimulatedCloud::Terminated(const std::string& id) {
  SimInstance* const instance = instances_.Find(id);
  if (instance == nullptr || instance->shown.state == "terminated") return;
  Ec2Instance& shown = instance->shown;
  shown.state = "terminated";
  ++changes_;
  for (const Ec2InstanceDevice& device : shown.devices) {
    SimVolume* const volume = volumes_.Find(device.volume_id);
    if (volume == nullptr) continue;
    volume->shown.attachments.clear();
    volume->shown.state = "available";
    if (!device.delete_on_termination) continue;
    RemoveVolume(device.volume_id);
    Goes("volume", device.volume_id, true);
  }
  for (const Ec2InstanceInterface& one : shown.interfaces) {
    SimInterface* const interface = interfaces_.Find(one.id);
    if (interface == nullptr) continue;
    const bool goes = interface->shown.delete_on_termination;
    interface->shown.status = "available";
    interface->shown.instance_id.clear();
    interface->shown.attachment_id.clear();
    const auto address = addresses_.find(interface->shown.allocation_id);
    if (address != addresses_.end()) address->second.instance_id.clear();
    if (!goes) continue;
    Goes("interface", one.id, true);
    RemoveInterface(one.id);
  }
  shown.devices.clear();
  shown.interfaces.clear();
  shown.private_ip.clear();
  shown.public_ip.clear();
  At(Now() + kHourMs, EventKind::kForgotten, id);
}

Ec2Result<std::vector<Ec2StateChange>> SimulatedCloud::TerminateInstances(
    const std::vector<std::string>& ids) {
  return Call<std::vector<Ec2StateChange>>(
      "TerminateInstances", ids.front(), true, [&]() -> Ec2Result<std::vector<Ec2StateChange>> {
        for (const std::string& id : ids) {
          if (instances_.Find(id) == nullptr) return Refuse("InvalidInstanceID.NotFound", id);
        }
        std::vector<Ec2StateChange> changes;
        for (const std::string& id : ids) {
          SimInstance* const instance = instances_.Find(id);
          const std::string before = instance->shown.state;
          BeginTermination(instance, "Client.UserInitiatedShutdown",
                           "Client.UserInitiatedShutdown: User initiated shutdown");
          changes.push_back({id, before, instance->shown.state});
        }
        return changes;
      });
}

Ec2Result<std::vector<Ec2Instance>> SimulatedCloud::DescribeInstances(const Ec2Query& query) {
  return Call<std::vector<Ec2Instance>>(
      "DescribeInstances", query.ids.empty() ? "" : query.ids.front(), false, [&]() {
        return Describe<SimInstance, Ec2Instance>(&instances_, query, "InvalidInstanceID.NotFound",
                                                  InstanceFact);
      });
}

Ec2Result<std::vector<Ec2InstanceStatus>> SimulatedCloud::DescribeInstanceStatus(
    const Ec2Query& query, bool all) {
  return Call<std::vector<Ec2InstanceStatus>>(
      "DescribeInstanceStatus", "", false, [&]() -> Ec2Result<std::vector<Ec2InstanceStatus>> {
        if (all || !query.ids.empty() || !query.filters.empty()) {
          return Refuse("UnsupportedOperation", "only of all that run is simulated");
        }
        std::vector<Ec2InstanceStatus> found;
        found.reserve(running_.size());
        for (const std::string& id : running_) {
          const SimInstance& instance = instances_.all().at(id);
          if (instance.visible_ms > Now()) continue;
          Ec2InstanceStatus status;
          status.id = id;
          status.availability_zone = instance.shown.availability_zone;
          status.state = "running";
          constexpr int64_t kChecksMs = 90'000;
          status.system_status = instance.impaired                        ? "impaired"
                                 : Now() - instance.ran_at_ms < kChecksMs ? "initializing"
                                                                          : "ok";
          status.instance_status = status.system_status;
          found.push_back(std::move(status));
        }
        return found;
      });
}

Ec2Result<std::string> SimulatedCloud::DescribeInstanceAttribute(const std::string& instance_id,
                                                                 const std::string& attribute) {
  return Call<std::string>("DescribeInstanceAttribute", instance_id, false,
                           [&]() -> Ec2Result<std::string> {
                             const SimInstance* const instance = instances_.Find(instance_id);
                             if (instance == nullptr) {
                               return Refuse("InvalidInstanceID.NotFound", instance_id);
                             }
                             if (attribute != "userData") {
                               return Refuse("UnsupportedOperation", attribute);
                             }
                             return instance->user_data;
                           });
}

Ec2Result<AwsReceipt> SimulatedCloud::ModifyDeleteOnTermination(
    const std::string& instance_id, const std::map<std::string, bool>& by_device) {
  return Call<AwsReceipt>(
      "ModifyDeleteOnTermination", instance_id, true, [&]() -> Ec2Result<AwsReceipt> {
        SimInstance* const instance = instances_.Find(instance_id);
        if (instance == nullptr) return Refuse("InvalidInstanceID.NotFound", instance_id);
        if (instance->shown.state == "terminated" || instance->shown.state == "shutting-down") {
          return Refuse("IncorrectInstanceState", instance_id);
        }
        for (Ec2InstanceDevice& device : instance->shown.devices) {
          const auto wanted = by_device.find(device.device_name);
          if (wanted != by_device.end()) device.delete_on_termination = wanted->second;
        }
        return AwsReceipt{};
      });
}

}  // namespace snapstore::spot
