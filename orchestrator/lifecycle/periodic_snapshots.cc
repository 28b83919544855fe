// The part of Reconciler that snapshots volumes while their node runs.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/reconciler.h"
#include "orchestrator/lifecycle/volume_facts.h"

namespace snapstore::spot {
namespace {

// A snapshot that no record names belongs to nobody after that time.
constexpr int64_t kOrphanMs = 600'000;

// Whether the node's subnets span zones, so that its volumes may have to follow it.
Result<bool> HasManyZones(const Services& services, const NodeSpec& spec) {
  if (spec.persistence.persist_private_ip.value() || spec.compute.subnet_ids.size() < 2) {
    return false;
  }
  const auto subnets = services.ec2->DescribeSubnets({.ids = spec.compute.subnet_ids});
  if (!subnets.ok()) return subnets.status();
  std::set<std::string> zones;
  for (const Ec2Subnet& subnet : *subnets) zones.insert(subnet.availability_zone);
  return zones.size() > 1;
}

// What one call of CreateSnapshots is to take.
struct Round {
  bool root = false;
  bool data = false;
  std::vector<std::string> excluded;
};

// Volumes that were attached by hand are looked at once.
bool IsNew(const NodeSpec& spec, const KeptDevice& device) {
  return HasFacts(spec, device) && (!device.facts || device.facts->volume_id != device.volume_id);
}

Status AdoptInto(const Services& services, const NodeRecord& node,
                 std::map<std::string, Ec2Volume>* volumes) {
  std::string refused;
  std::set<std::string> looked_at;
  for (const KeptDevice& device : node.runtime.resources.devices) {
    const auto volume = volumes->find(device.volume_id);
    if (volume == volumes->end() || !IsNew(node.spec, device)) continue;
    const auto why = AdoptVolume(services.ec2, node, device, &volume->second);
    if (!why.ok()) return why.halt().status;
    if (!why->empty()) refused = *why;
    looked_at.insert(device.volume_id);
  }
  if (looked_at.empty()) return {};
  const auto keep = [&](ControllerState::NodeChange* change) -> Status {
    if (change->node.operation_id) return Status::Cancelled("an operation is under way");
    for (KeptDevice& device : change->node.runtime.resources.devices) {
      if (!looked_at.contains(device.volume_id)) continue;
      KeepFacts(change->node, volumes->at(device.volume_id), &device);
    }
    ReportRefusedTags(refused, change);
    return Status::Ok();
  };
  return services.state->ChangeNode(node.account_id, node.id, keep).status();
}

Status AdoptVolumes(const Services& services, const NodeList& nodes) {
  std::vector<std::string> ids;
  for (const auto& node : nodes) {
    if (node->operation_id) continue;
    for (const KeptDevice& device : node->runtime.resources.devices) {
      if (IsNew(node->spec, device)) ids.push_back(device.volume_id);
    }
  }
  if (ids.empty()) return {};
  auto volumes = ReadVolumes(services.ec2, ids);
  if (!volumes.ok()) return volumes.status();
  for (const auto& node : nodes) {
    if (node->operation_id) continue;
    const Status done = AdoptInto(services, *node, &*volumes);
    if (!done.ok()) LogInfo("{}: {}", node->id, done.message());
  }
  return {};
}

Round RoundOf(const NodeRecord& node, bool many_zones) {
  Round round;
  for (const KeptDevice& device : node.runtime.resources.devices) {
    const bool wanted = TakesPeriodicSnapshots(node.spec, device, many_zones);
    if (device.root) {
      round.root = wanted;
    } else if (wanted) {
      round.data = true;
    } else if (!device.volume_id.empty()) {
      round.excluded.push_back(device.volume_id);
    }
  }
  return round;
}

}  // namespace

Status Reconciler::TakeSnapshots(const NodeName& name) {
  ControllerState* state = services_->state;
  const int64_t now = state->Now();
  SNAP_ASSIGN_OR_RETURN(const NodeRecord known, state->GetNode(name.account_id, name.node_id));
  SNAP_ASSIGN_OR_RETURN(const bool many_zones, HasManyZones(*services_, known.spec));
  Round round;
  // The next tick is fixed before this one is tried: whatever happens, it is not done twice.
  const auto begin = [&](ControllerState::NodeChange* change) -> Status {
    KeptResources& kept = change->node.runtime.resources;
    if (change->node.operation_id || change->node.state != NodeState::kActive ||
        now < kept.snapshot_after_ms) {
      return Status::Cancelled("no snapshots are due");
    }
    kept.snapshot_after_ms = now + services_->options.snapshot_interval_ms;
    round = RoundOf(change->node, many_zones);
    if (round.root || round.data) kept.snapshot_asked_ms = now;
    return Status::Ok();
  };
  const auto begun = state->ChangeNode(name.account_id, name.node_id, begin);
  if (!begun.ok()) {
    return begun.status().Is(StatusCode::kCancelled) ? Status::Ok() : begun.status();
  }
  if (!round.root && !round.data) return {};
  const NodeRecord& node = *begun;
  Ec2Tags tags = TagsOfNode(node, "");
  const LaunchSpecification& launch = node.spec.compute.launch_specification;
  if (launch.resource_tags.snapshots.should_tag.value()) tags = WithUserTags(tags, launch.tags);
  const std::string instance = node.runtime.instance_id.value_or("");
  const auto made = services_->ec2->CreateSnapshots(
      instance, !round.root, round.excluded, fmt::format("{} of {}", node.id, instance), tags);
  // Without an answer nobody knows; a refusal made nothing.
  if (!made.ok() && made.code().empty()) return made.status();
  const auto end = [&](ControllerState::NodeChange* change) {
    change->node.runtime.resources.snapshot_asked_ms = 0;
    if (!made.ok()) return Status::Ok();
    for (KeptDevice& device : change->node.runtime.resources.devices) {
      for (const Ec2Snapshot& one : *made) {
        if (one.volume_id != device.volume_id) continue;
        AddSnapshot(&device, {one.id, one.volume_id, now, one.state == "completed"});
      }
    }
    return Status::Ok();
  };
  const Status ended = state->ChangeNode(name.account_id, name.node_id, end).status();
  return made.ok() ? ended : made.status();
}

bool Reconciler::Adopt(const Ec2Snapshot& snapshot, const std::set<std::string>& retained,
                       ControllerState::NodeChange* change) {
  KeptResources& kept = change->node.runtime.resources;
  if (!IsOwnSnapshot(snapshot, change->node.id) || retained.contains(snapshot.id) ||
      snapshot.id == kept.image_snapshot_id) {
    return false;
  }
  for (const KeptDevice& device : kept.devices) {
    for (const KeptSnapshot& known : device.snapshots) {
      if (known.id == snapshot.id) return false;
    }
  }
  const int64_t made_ms = snapshot.start_time_ns / kNanosPerMs;
  for (KeptDevice& device : kept.devices) {
    if (device.volume_id.empty() || device.volume_id != snapshot.volume_id) continue;
    AddSnapshot(&device, {snapshot.id, snapshot.volume_id, made_ms, snapshot.state == "completed"});
    return true;
  }
  // Of a volume that is no longer the node's: it serves nothing, but is not given up in haste.
  if (services_->state->Now() - made_ms < kOrphanMs) return false;
  change->AddRetained(Retain(*services_, change->node, "snapshot", snapshot.id, true));
  return true;
}

Status Reconciler::AdoptSnapshots() {
  const auto found =
      services_->ec2->DescribeSnapshots({.filters = {{"tag-key", {NodeTag::kNode}}}});
  if (!found.ok()) return found.status();
  std::map<std::string, std::vector<const Ec2Snapshot*>> by_node;
  for (const Ec2Snapshot& one : *found) by_node[one.tags.at(NodeTag::kNode)].push_back(&one);
  SNAP_ASSIGN_OR_RETURN(const auto records, services_->state->ListRetained());
  std::set<std::string> retained;
  for (const RetainedRecord& record : records) retained.insert(record.id);
  SNAP_ASSIGN_OR_RETURN(const auto nodes, services_->state->ListAllNodes());
  for (const auto& node : nodes) {
    const auto mine = by_node.find(node->id);
    if (mine == by_node.end() || node->operation_id) continue;
    const auto adopt = [&](ControllerState::NodeChange* change) -> Status {
      // An operation knows what it made.
      if (change->node.operation_id) return Status::Cancelled("an operation is under way");
      bool adopted = false;
      for (const Ec2Snapshot* one : mine->second) {
        adopted = Adopt(*one, retained, change) || adopted;
      }
      return adopted ? Status::Ok() : Status::Cancelled("nothing is new");
    };
    const Status done = services_->state->ChangeNode(node->account_id, node->id, adopt).status();
    if (!done.ok() && !done.Is(StatusCode::kCancelled)) return done;
  }
  return AdoptVolumes(*services_, nodes);
}

}  // namespace snapstore::spot
