#include "orchestrator/lifecycle/node_parts.h"

#include <algorithm>
#include <set>

#include "base/log.h"

namespace snapstore::spot {

bool Beginning::ManyZones(const NodeSpec& spec) const {
  std::set<std::string> zones;
  for (const SubnetZone& subnet : subnets) zones.insert(subnet.zone);
  return zones.size() > 1 && !spec.persistence.persist_private_ip.value();
}

Flow<Places> FindPlaces(const Services& services, const NodeSpec& spec) {
  Places places;
  if (!services.region.empty() && services.region != spec.region) {
    places.problem = fmt::format("this controller works in {}, the node is to be in {}",
                                 services.region, spec.region);
  }
  const auto found = services.ec2->DescribeSubnets({.ids = spec.compute.subnet_ids});
  if (!found.ok()) {
    if (HaltOf(found.failure()).kind != Halt::Kind::kFail &&
        !found.status().Is(StatusCode::kNotFound)) {
      return found.failure();
    }
    places.problem = found.status().message();
    return places;
  }
  for (const Ec2Subnet& subnet : *found) {
    if (subnet.vpc_id != spec.compute.vpc_id) {
      places.problem = fmt::format("{} is not in {}", subnet.id, spec.compute.vpc_id);
    }
    places.subnets.push_back({subnet.id, subnet.availability_zone});
    places.cidrs.push_back(subnet.cidr);
  }
  return places;
}

Flow<Beginning> Begin(OperationRun* run, NodeState state) {
  const auto look = [run]() -> Flow<Json> {
    SNAP_FLOW(run->ReloadNode());
    if (!run->has_node()) return Fail(Status::NotFound("the node is gone"));
    const NodeSpec& spec = run->node().spec;
    SNAP_FLOW_ASSIGN(const Places places, FindPlaces(run->services(), spec));
    Json subnets = Json::array();
    for (size_t i = 0; i < places.subnets.size(); ++i) {
      subnets.push_back({{"id", places.subnets[i].subnet_id},
                         {"zone", places.subnets[i].zone},
                         {"cidr", places.cidrs[i]}});
    }
    const Json& input = run->operation().input;
    return Json{{"spec", NodeSpecJson(spec)},
                {"instanceId", run->node().runtime.instance_id.value_or("")},
                {"subnets", std::move(subnets)},
                {"problem", places.problem},
                {"deadline", input.is_object() ? input.value("deadline", int64_t{0}) : 0}};
  };
  const auto update = [state](const Json&, ControllerState::NodeChange* change) {
    change->node.state = state;
    change->node.state_reason.reset();
  };
  SNAP_FLOW_ASSIGN(const Json begun, run->Observe("begin", look, update));
  SNAP_FLOW(run->UseSpec(begun.at("spec")));
  Beginning beginning;
  beginning.instance_id = begun.value("instanceId", "");
  beginning.problem = begun.value("problem", "");
  beginning.deadline_ms = begun.value("deadline", int64_t{0});
  for (const Json& subnet : begun.at("subnets")) {
    beginning.subnets.push_back({subnet.value("id", ""), subnet.value("zone", "")});
    beginning.cidrs.push_back(subnet.value("cidr", ""));
  }
  return beginning;
}

Flow<Done> LeaveBalancers(OperationRun* run, const std::string& instance_id,
                          const std::string& step) {
  const auto& balancers = run->spec().integrations.load_balancers_config.load_balancers;
  if (balancers.empty()) return Done{};
  SNAP_FLOW(run->Observe(step, [&]() -> Flow<Json> {
    ElbApi* elb = run->services().elb;
    for (const LoadBalancer& one : balancers) {
      const auto done = one.type == LoadBalancerType::kClassic
                            ? elb->DeregisterInstance(one.name.value_or(""), instance_id)
                            : elb->DeregisterTarget(one.arn.value_or(""), instance_id);
      if (!done.ok() && done.status().Is(StatusCode::kThrottled)) return done.failure();
      if (!done.ok()) LogWarning("{}: {}", run->operation().node_id, done.status().message());
    }
    return Json();
  }));
  return Done{};
}

Flow<Done> CloseUsage(OperationRun* run, const std::string& step) {
  SNAP_FLOW(run->Observe(step, [&]() -> Flow<Json> {
    const Operation& operation = run->operation();
    ControllerState* state = run->services().state;
    // What ran before this instance has ended.
    const auto usage = state->ListUsage(operation.account_id, operation.node_id,
                                        run->node().runtime.launched_at_ms.value_or(0));
    if (!usage.ok()) return RetryLater(usage.status());
    const auto close = [&](UsageRecord* stretch) {
      stretch->ended_at_ms = std::max(run->Now(), stretch->started_at_ms);
      return Status::Ok();
    };
    for (const UsageRecord& stretch : *usage) {
      if (stretch.ended_at_ms) continue;
      const Status put =
          state->ChangeUsage(operation.account_id, operation.node_id, stretch.started_at_ms, close);
      if (!put.ok()) return RetryLater(put);
    }
    return Json();
  }));
  return Done{};
}

Flow<std::optional<Ec2Address>> FindAssociated(const Services& services,
                                               const std::string& allocation_id) {
  const auto found = services.ec2->DescribeAddresses({.ids = {allocation_id}});
  if (!found.ok() && !found.status().Is(StatusCode::kNotFound)) return RetryLater(found.status());
  if (!found.ok() || found->empty() || found->front().association_id.empty()) {
    return std::optional<Ec2Address>();
  }
  return std::optional<Ec2Address>(found->front());
}

bool IsOwnSnapshot(const Ec2Snapshot& snapshot, const std::string& node_id) {
  return snapshot.description.starts_with(node_id + " ");
}

std::string ImageName(const std::string& node_id, const std::string& client_token) {
  return fmt::format("snapstore-{}-{}", node_id, client_token);
}

bool IsOwnImage(const Ec2Image& image, const std::string& node_id) {
  return image.name.starts_with(ImageName(node_id, ""));
}

bool HasToken(const Ec2Tags& tags) { return tags.contains(NodeTag::kToken); }

bool IsOwnInstance(const Ec2Instance& instance) {
  const auto token = instance.tags.find(NodeTag::kToken);
  return token != instance.tags.end() && token->second == instance.client_token;
}

RetainedRecord Retain(const Services& services, const NodeRecord& node, const char* kind,
                      const std::string& id, bool goes) {
  RetainedRecord record;
  record.kind = kind;
  record.id = id;
  record.account_id = node.account_id;
  record.node_id = node.id;
  record.created_at_ms = services.state->Now();
  if (goes) record.delete_at_ms = record.created_at_ms + services.options.retention_ms;
  return record;
}

void LetGoOfUnkept(const Services& services, const NodeSpec& spec,
                   ControllerState::NodeChange* change) {
  KeptResources& kept = change->node.runtime.resources;
  std::set<std::string> known;  // an image's snapshot may be the root's newest
  const auto retain = [&](const char* kind, const std::string& id, bool goes, bool now = false) {
    if (id.empty() || !known.insert(id).second) return;
    RetainedRecord record = Retain(services, change->node, kind, id, goes);
    if (now) record.delete_at_ms = record.created_at_ms;
    change->AddRetained(record);
  };
  const auto stays = [&](const std::string& device_name) {
    const auto& mappings = spec.compute.launch_specification.block_device_mappings;
    return std::any_of(mappings.begin(), mappings.end(), [&](const BlockDeviceMapping& one) {
      return one.device_name == device_name && one.ebs &&
             !one.ebs->delete_on_termination.value_or(true);
    });
  };
  std::erase_if(kept.devices, [&](const KeptDevice& device) {
    if (IsKept(spec, device)) return false;
    retain("volume", device.volume_id, !stays(device.device_name));
    retain("volume", device.old_volume_id, true);
    for (const KeptSnapshot& one : device.snapshots) retain("snapshot", one.id, true);
    return true;
  });
  if (!spec.persistence.persist_root_device.value() && !kept.image_id.empty()) {
    retain("image", kept.image_id, true);
    retain("snapshot", kept.image_snapshot_id, true);
    kept.image_id.clear();
    kept.image_snapshot_id.clear();
  }
  if (!spec.persistence.persist_private_ip.value()) {
    // An address that is wanted again must be free: its interface does not stay.
    const bool wanted =
        !spec.compute.private_ips.empty() || spec.compute.private_ip == kept.private_ip;
    retain("interface", kept.interface_id, true, wanted);
    kept.interface_id.clear();
    kept.subnet_id.clear();
    kept.private_ip.clear();
  }
}

KeptDevice* FindDevice(KeptResources* kept, const std::string& device_name) {
  const auto found =
      std::find_if(kept->devices.begin(), kept->devices.end(),
                   [&](const KeptDevice& device) { return device.device_name == device_name; });
  return found == kept->devices.end() ? nullptr : &*found;
}

const KeptSnapshot* NewestCompleted(const KeptDevice& device) {
  const auto found = std::find_if(device.snapshots.rbegin(), device.snapshots.rend(),
                                  [](const KeptSnapshot& one) { return one.completed; });
  return found == device.snapshots.rend() ? nullptr : &*found;
}

void AddSnapshot(KeptDevice* device, const KeptSnapshot& snapshot) {
  auto& all = device->snapshots;
  const bool known = std::any_of(all.begin(), all.end(),
                                 [&](const KeptSnapshot& one) { return one.id == snapshot.id; });
  if (known) return;
  const auto place =
      std::upper_bound(all.begin(), all.end(), snapshot.time_ms,
                       [](int64_t time, const KeptSnapshot& one) { return time < one.time_ms; });
  all.insert(place, snapshot);
}

bool IsKept(const NodeSpec& spec, const KeptDevice& device) {
  if (device.foreign) return true;
  return device.root ? spec.persistence.persist_root_device.value()
                     : spec.persistence.persist_block_devices.value();
}

void MergeDevices(const Ec2Instance& instance, const NodeSpec& spec, KeptResources* kept) {
  // A device that is not kept lives and dies with its instance.
  std::erase_if(kept->devices, [&](const KeptDevice& device) {
    return !IsKept(spec, device) && std::none_of(instance.devices.begin(), instance.devices.end(),
                                                 [&](const Ec2InstanceDevice& one) {
                                                   return one.device_name == device.device_name;
                                                 });
  });
  for (const Ec2InstanceDevice& one : instance.devices) {
    KeptDevice* device = FindDevice(kept, one.device_name);
    if (device == nullptr) {
      kept->devices.push_back({.device_name = one.device_name});
      device = &kept->devices.back();
    }
    device->volume_id = one.volume_id;
    device->copied = false;  // it is being written to
    device->zone = instance.availability_zone;
    device->root = one.device_name == instance.root_device_name;
    const auto& listed = spec.compute.volume_attachments.volumes;
    device->foreign = std::any_of(listed.begin(), listed.end(), [&](const VolumeAttachment& own) {
      return own.volume_id == one.volume_id;
    });
  }
}

void MergeInterface(const Ec2Instance& instance, const NodeSpec& spec, KeptResources* kept) {
  if (!spec.persistence.persist_private_ip.value()) return;
  for (const Ec2InstanceInterface& one : instance.interfaces) {
    if (one.device_index != 0) continue;
    kept->interface_id = one.id;
    kept->subnet_id = one.subnet_id;
    kept->private_ip = one.private_ip;
  }
}

std::vector<Device> ShownDevices(const KeptResources& kept) {
  std::vector<Device> shown;
  shown.reserve(kept.devices.size());
  for (const KeptDevice& device : kept.devices) {
    const KeptSnapshot* newest = NewestCompleted(device);
    shown.push_back({device.device_name, device.volume_id,
                     newest == nullptr ? std::nullopt : std::optional(newest->id)});
  }
  return shown;
}

Flow<std::optional<Ec2Instance>> FindInstance(const Services& services, const std::string& id) {
  auto found = services.ec2->DescribeInstances({.ids = {id}});
  if (!found.ok()) {
    if (found.status().Is(StatusCode::kNotFound)) return std::optional<Ec2Instance>();
    return RetryLater(found.status());
  }
  if (found->empty()) return std::optional<Ec2Instance>();
  return std::optional<Ec2Instance>(std::move(found->front()));
}

bool IsAlive(const Ec2Instance& instance) {
  return instance.state != "terminated" && instance.state != "shutting-down";
}

Ec2Tags TagsOfNode(const NodeRecord& node, const std::string& token) {
  Ec2Tags tags = {{NodeTag::kNode, node.id}, {NodeTag::kAccount, node.account_id}};
  if (!token.empty()) tags[NodeTag::kToken] = token;
  return tags;
}

}  // namespace snapstore::spot
