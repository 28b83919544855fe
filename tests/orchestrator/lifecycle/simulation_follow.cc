// What is judged while a simulation runs: with every commit, and whenever something goes.
#include <algorithm>

#include "orchestrator/lifecycle/node_parts.h"
#include "tests/orchestrator/lifecycle/simulation.h"

namespace snapstore::spot {
namespace {

constexpr std::string_view kNodes = "node/";
constexpr std::string_view kRetained = "retained/";

std::string IdOf(const std::string& key) { return key.substr(key.rfind('/') + 1); }

bool AllFlagged(const DeallocationConfig& config) {
  return config.should_delete_images.value() && config.should_delete_snapshots.value() &&
         config.should_delete_volumes.value() && config.should_delete_network_interfaces.value();
}

}  // namespace

std::set<std::string> Simulation::ClaimsOf(const NodeRecord& node) {
  std::set<std::string> ids;
  const auto claim = [&](const std::string& id) {
    if (!id.empty()) ids.insert(id);
  };
  const NodeRuntime& runtime = node.runtime;
  claim(runtime.resources.image_id);
  claim(runtime.resources.image_snapshot_id);
  claim(runtime.resources.interface_id);
  for (const KeptDevice& device : runtime.resources.devices) {
    claim(device.volume_id);
    claim(device.old_volume_id);
    for (const KeptSnapshot& one : device.snapshots) claim(one.id);
  }
  if (!runtime.instance_id) return ids;
  claim(*runtime.instance_id);
  // The addresses of an instance that is gone are free.
  const SimInstance* const instance = cloud.instances().Find(*runtime.instance_id);
  if (node.state == NodeState::kActive && instance != nullptr && IsAlive(instance->shown)) {
    claim(runtime.private_ip.value_or(""));
    claim(runtime.public_ip.value_or(""));
  }
  return ids;
}

void Simulation::BeforeCommit(const Transaction& transaction) {
  leaving_.reset();
  for (const Transaction::Change& change : transaction.changes) {
    if (change.deleted && change.key.starts_with(kNodes)) leaving_ = Node(IdOf(change.key));
  }
  if (in_controller_) MayDie(CrashPoint::Kind::kBeforeCommit, counted_commits_);
}

void Simulation::FollowRecords(const Transaction& transaction) {
  std::set<std::string> touched;
  for (const Transaction::Change& change : transaction.changes) {
    const bool is_node = change.key.starts_with(kNodes);
    if (change.key.starts_with(kActiveOperations)) FollowOperation(change);
    if (!is_node && !change.key.starts_with(kRetained)) continue;
    std::set<std::string> claims;
    if (is_node && change.deleted) {
      if (leaving_) KeepLeftovers(*leaving_);
    } else if (is_node) {
      if (const auto node = Node(IdOf(change.key))) claims = ClaimsOf(*node);
    } else if (!change.deleted) {
      claims.insert(IdOf(change.key));
      FollowRetained(change);
    }
    touched.insert(claims.begin(), claims.end());
    owners_.Claim(change.key, std::move(claims));
  }
  for (const std::string& id : touched) {
    if (owners_.OwnersOf(id).size() > 1) JudgeOwners(id);
  }
}

void Simulation::JudgeOwners(const std::string& id) {
  // An address may have become free without a commit.
  const std::set<std::string> owners = owners_.OwnersOf(id);
  for (const std::string& owner : owners) {
    if (!owner.starts_with(kNodes)) continue;
    if (const auto node = Node(IdOf(owner))) owners_.Claim(owner, ClaimsOf(*node));
  }
  const std::set<std::string>& left = owners_.OwnersOf(id);
  if (left.size() > 1) {
    cloud.Violate(IdOf(*left.begin()),
                  fmt::format("{} is claimed by {}", id, fmt::join(left, " and ")));
  }
}

// Users and schedules say how a node is to be; what the life-cycle does by itself changes nothing.
void Simulation::FollowOperation(const Transaction::Change& change) {
  const std::string id = IdOf(change.key);
  if (change.deleted) {
    known_operations_.erase(id);
    return;
  }
  if (!known_operations_.insert(id).second) return;
  const auto operation = DecodeRecord<Operation>(change.value, id);
  if (!operation.ok() || (operation->trigger != "api" && operation->trigger != "schedule")) return;
  switch (operation->kind) {
    case OperationKind::kLaunch:
    case OperationKind::kImport:
    case OperationKind::kResume:
    case OperationKind::kRecycle:
      wishes_[operation->node_id] = NodeState::kActive;
      return;
    case OperationKind::kPause:
      wishes_[operation->node_id] = NodeState::kPaused;
      return;
    case OperationKind::kDeallocate:
      wishes_[operation->node_id] = NodeState::kDeallocated;
      return;
    default:
      return;
  }
}

// Of a living node: what it no longer keeps.
void Simulation::FollowRetained(const Transaction::Change& change) {
  const auto record = DecodeRecord<RetainedRecord>(change.value, change.key);
  if (!record.ok() || leftovers_.contains(record->id)) return;
  // A deleted node's own are in the list already, or nothing is asked for them.
  const auto node = Node(record->node_id);
  if (!node) return;
  int64_t earliest =
      record->delete_at_ms ? clock.now_ms() + services_.options.retention_ms : INT64_MAX;
  const Compute& compute = node->spec.compute;
  const SimInterface* const interface = cloud.interfaces().Find(record->id);
  const bool wanted = !compute.private_ips.empty() ||
                      (interface != nullptr && compute.private_ip == interface->shown.private_ip);
  if (wanted && record->kind == "interface") earliest = clock.now_ms();
  leftovers_[record->id] = {record->node_id, earliest};
}

// What may go, of a node that is gone, follows from what was asked for with its deletion.
void Simulation::KeepLeftovers(const NodeRecord& node) {
  const auto asked = deletions_.find(node.id);
  if (asked == deletions_.end() || excused_.contains(node.id)) return;
  const Deallocation& wanted = asked->second.wanted;
  if (!wanted.config.should_terminate_instance.value()) {
    // They point to the instance that runs on.
    for (const KeptName& one : node.runtime.resources.names) foreign_.insert(one.name);
  }
  if (AllFlagged(wanted.config)) return;
  const int64_t due = asked->second.asked_ms + services_.options.retention_ms;
  const auto keep = [&](const std::string& id, bool flagged) {
    if (!id.empty()) leftovers_[id] = {node.id, flagged ? due : INT64_MAX};
  };
  const bool images = wanted.config.should_delete_images.value();
  const bool snapshots = wanted.config.should_delete_snapshots.value();
  const bool volumes = wanted.config.should_delete_volumes.value();
  const bool interfaces = wanted.config.should_delete_network_interfaces.value();
  const KeptResources& kept = node.runtime.resources;
  keep(kept.image_id, images);
  keep(kept.image_snapshot_id, snapshots);
  for (const KeptDevice& device : kept.devices) {
    for (const KeptSnapshot& one : device.snapshots) keep(one.id, snapshots);
  }
  const auto& shelves = cloud;
  for (const std::string& id : shelves.images().OfNode(node.id)) keep(id, images);
  for (const std::string& id : shelves.snapshots().OfNode(node.id)) keep(id, snapshots);
  // With an instance that runs on, its volumes and interfaces are its owner's.
  if (!wanted.config.should_terminate_instance.value()) return;
  for (const KeptDevice& device : kept.devices) {
    if (!device.foreign && IsKept(node.spec, device)) keep(device.volume_id, volumes);
  }
  if (node.spec.persistence.persist_private_ip.value()) keep(kept.interface_id, interfaces);
  for (const std::string& id : shelves.volumes().OfNode(node.id)) keep(id, volumes);
  for (const std::string& id : shelves.interfaces().OfNode(node.id)) keep(id, interfaces);
}

void Simulation::JudgeDeletion(const std::string& kind, const std::string& id, bool by_itself) {
  if (!by_itself && !in_controller_) return;  // by hand
  if (const auto left = leftovers_.find(id); left != leftovers_.end()) {
    // Who deletes a node with all it has means what it had before, too.
    const auto asked = deletions_.find(left->second.node);
    const bool at_once = asked != deletions_.end() && AllFlagged(asked->second.wanted.config);
    if (!at_once && clock.now_ms() < left->second.earliest_ms) {
      cloud.Violate(left->second.node,
                    left->second.earliest_ms == INT64_MAX
                        ? fmt::format("{} {} is to stay, and goes", kind, id)
                        : fmt::format("{} {} goes {} s before its time", kind, id,
                                      (left->second.earliest_ms - clock.now_ms()) / kSecondMs));
    }
    leftovers_.erase(left);
    return;
  }
  // Of volumes and snapshots the newest copy counts: MayDelete.
  if (kind != "image" && kind != "interface") return;
  for (const std::string& owner : owners_.OwnersOf(id)) {
    if (!owner.starts_with(kNodes)) continue;
    const auto node = Node(IdOf(owner));
    if (!node || excused_.contains(node->id)) continue;
    const auto asked = deletions_.find(node->id);
    if (asked != deletions_.end() && AllFlagged(asked->second.wanted.config)) continue;
    if (kind == "interface" && !node->spec.persistence.persist_private_ip.value()) continue;
    cloud.Violate(node->id, fmt::format("{} {} goes, which its record keeps", kind, id));
  }
}

bool Simulation::MayDelete(const std::string& /*kind*/, const std::string& id,
                           const std::string& node_id) {
  // Judged by its time.
  if (leftovers_.contains(id) || given_up_.contains(id)) return true;
  const SimSnapshot* const snapshot = cloud.snapshots().Find(id);
  if (snapshot != nullptr && given_up_.contains(snapshot->shown.volume_id)) return true;
  const auto node = Node(node_id);
  if (!node || excused_.contains(node_id)) return true;
  const auto asked = deletions_.find(node_id);
  if (asked != deletions_.end() && AllFlagged(asked->second.wanted.config)) return true;
  const Persistence& persistence = node->spec.persistence;
  const bool all =
      persistence.persist_root_device.value() && persistence.persist_block_devices.value();
  if (all) return false;
  for (const KeptDevice& device : node->runtime.resources.devices) {
    const bool mine = device.volume_id == id ||
                      std::any_of(device.snapshots.begin(), device.snapshots.end(),
                                  [&](const KeptSnapshot& one) { return one.id == id; });
    if (mine) return !IsKept(node->spec, device);
  }
  // A device that the record does not have (any more): of one that only some devices are kept of.
  return true;
}

std::string Simulation::Missing(const std::string& node_id) {
  const auto node = Node(node_id);
  if (!node || node->state != NodeState::kActive) return "";
  const std::string id = node->runtime.instance_id.value_or("");
  const SimInstance* const instance = cloud.instances().Find(id);
  if (instance == nullptr || instance->shown.state != "running") {
    return fmt::format("{} is active, and {} does not run\n", node_id, id);
  }
  std::string missing;
  const auto miss = [&](const std::string& what) {
    missing += fmt::format("{} is active without {}\n", node_id, what);
  };
  if (const auto& elastic = node->spec.compute.elastic_ip) {
    const auto address = cloud.addresses().find(*elastic);
    const SimInterface* const at =
        address == cloud.addresses().end()
            ? nullptr
            : cloud.interfaces().Find(address->second.network_interface_id);
    if (at == nullptr || at->shown.instance_id != id) miss(*elastic);
  }
  for (const VolumeAttachment& one : node->spec.compute.volume_attachments.volumes) {
    const auto& devices = instance->shown.devices;
    const bool has = std::any_of(devices.begin(), devices.end(), [&](const auto& device) {
      return device.volume_id == one.volume_id && device.device_name == one.device_name;
    });
    if (!has) miss(one.volume_id);
  }
  for (const LoadBalancer& one : node->spec.integrations.load_balancers_config.load_balancers) {
    const std::string name =
        one.type == LoadBalancerType::kClassic ? one.name.value_or("") : one.arn.value_or("");
    if (!cloud.TargetsOf(name).contains(id)) miss("a place in " + name);
  }
  for (const Domain& domain : node->spec.integrations.route53.domains) {
    if (domain.record_set_type.value() != RecordSetType::kA) continue;
    for (const RecordSet& set : domain.record_sets) {
      const std::string value =
          set.use_public_ip.value() ? instance->shown.public_ip : instance->shown.private_ip;
      const auto record = cloud.names().find({domain.hosted_zone_id, set.name, "A"});
      const bool points =
          record != cloud.names().end() && record->second.values == std::vector<std::string>{value};
      if (!points && !value.empty()) miss(fmt::format("{} for {}", set.name, value));
    }
  }
  return missing;
}

std::string Simulation::DanglingNames() {
  std::set<std::string> wanted = foreign_;
  const auto nodes = state_.ListAllNodes();
  for (const auto& node : *nodes) {
    for (const KeptName& one : node->runtime.resources.names) wanted.insert(one.name);
  }
  std::string dangling;
  for (const auto& [key, record] : cloud.names()) {
    if (!wanted.contains(record.name)) {
      dangling += fmt::format("the name {} is in no record\n", record.name);
    }
  }
  for (const auto& [id, address] : cloud.addresses()) {
    if (address.association_id.empty()) continue;
    const SimInterface* const at = cloud.interfaces().Find(address.network_interface_id);
    const std::string node = at == nullptr ? "" : NodeOfTags(at->shown.tags);
    if (node.empty() || Node(node) || let_run_.contains(node)) continue;
    dangling += fmt::format("{} still points to what {} left\n", id, node);
  }
  return dangling;
}

}  // namespace snapstore::spot
