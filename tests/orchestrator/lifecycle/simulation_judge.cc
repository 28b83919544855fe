// What a simulation must not do: leak, lose, or let two own the same.
#include <algorithm>

#include "orchestrator/lifecycle/node_parts.h"
#include "tests/orchestrator/lifecycle/simulation.h"

namespace snapstore::spot {

void Simulation::JudgeLoss(const std::string& node_id, const std::string& device, int64_t lost_ms) {
  const auto node = Node(node_id);
  if (!node || excused_.contains(node_id)) return;
  const Persistence& persistence = node->spec.persistence;
  const bool kept = device == "/dev/xvda" ? persistence.persist_root_device.value()
                                          : persistence.persist_block_devices.value();
  if (!kept) return;
  // Its volume was deleted as a user wished: once.
  if (emptied_.erase({node_id, device}) > 0) return;
  lost_ms_ += lost_ms;
  cloud.Violate(node_id, fmt::format("{} goes on from data that is {} s older than what was there",
                                     device, static_cast<double>(lost_ms) / 1000.0));
}

void Simulation::NodeLeaks(const NodeRecord& node, std::set<std::string>* accounted) {
  const KeptResources& kept = node.runtime.resources;
  if (node.runtime.instance_id) {
    accounted->insert(*node.runtime.instance_id);
    if (const SimInstance* instance = cloud.instances().Find(*node.runtime.instance_id)) {
      for (const auto& one : instance->shown.devices) accounted->insert(one.volume_id);
      for (const auto& one : instance->shown.interfaces) accounted->insert(one.id);
    }
  }
  accounted->insert(kept.image_id);
  accounted->insert(kept.image_snapshot_id);
  accounted->insert(kept.interface_id);
  accounted->insert(node.spec.compute.launch_specification.image_id);
  for (const KeptDevice& device : kept.devices) {
    accounted->insert(device.volume_id);
    for (const KeptSnapshot& one : device.snapshots) accounted->insert(one.id);
  }
}

std::string Simulation::Leaks() {
  std::set<std::string> accounted = foreign_;
  const auto nodes = state_.ListAllNodes();
  for (const auto& node : *nodes) NodeLeaks(*node, &accounted);
  const auto retained = state_.ListRetained();
  for (const RetainedRecord& one : *retained) accounted.insert(one.id);
  // The image that an import was launched from holds its snapshots.
  for (const auto& [id, image] : cloud.images().all()) {
    if (!accounted.contains(id)) continue;
    for (const Ec2BlockDevice& one : image.shown.devices) accounted.insert(one.snapshot_id);
  }
  std::string leaks;
  std::set<std::string> nodes_with_leaks;
  const auto look = [&](const auto& shelf, const char* kind) {
    for (const auto& known : shelf.all()) {
      const std::string& id = known.first;
      const auto& thing = known.second;
      const auto node = thing.shown.tags.find(NodeTag::kNode);
      if (node == thing.shown.tags.end() || accounted.contains(id)) continue;
      if (let_run_.contains(node->second) && (id[0] == 'i' || id[0] == 'v' || id[0] == 'e')) {
        continue;
      }
      if constexpr (requires {
                      thing.shown.private_ip;
                      thing.shown.launch_time_ns;
                    }) {
        if (!IsAlive(thing.shown)) continue;
      }
      const auto token = thing.shown.tags.find(NodeTag::kToken);
      leaks += fmt::format("{} {} of {} (made with {}) is in no record\n", kind, id, node->second,
                           token == thing.shown.tags.end() ? "no token" : token->second);
      nodes_with_leaks.insert(node->second);
    }
  };
  look(cloud.instances(), "instance");
  look(cloud.volumes(), "volume");
  look(cloud.snapshots(), "snapshot");
  look(cloud.images(), "image");
  look(cloud.interfaces(), "interface");
  leaks += DanglingNames();
  for (const std::string& node : nodes_with_leaks) {
    leaks += fmt::format("  the last calls of {}:\n{}", node, cloud.Account(node));
  }
  return leaks;
}

std::string Simulation::Problems() {
  std::string problems = cloud.Violations();
  std::map<std::string, std::string> owners;
  const auto claim = [&](const std::string& id, const std::string& node) {
    if (id.empty()) return;
    const auto [known, is_new] = owners.emplace(id, node);
    if (!is_new && known->second != node) {
      problems += fmt::format("{} is claimed by {} and {}\n", id, known->second, node);
    }
  };
  const auto nodes = state_.ListAllNodes();
  for (const auto& known : *nodes) {
    const NodeRecord& node = *known;
    claim(node.runtime.instance_id.value_or(""), node.id);
    claim(node.runtime.resources.interface_id, node.id);
    for (const KeptDevice& device : node.runtime.resources.devices) {
      claim(device.volume_id, node.id);
      for (const KeptSnapshot& one : device.snapshots) claim(one.id, node.id);
    }
    if (node.state == NodeState::kActive && node.runtime.instance_id &&
        !node.runtime.private_ip.value_or("").empty()) {
      claim(*node.runtime.private_ip, node.id);
    }
  }
  return problems;
}

}  // namespace snapstore::spot
