#include "orchestrator/lifecycle/volume_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "orchestrator/lifecycle/node_parts.h"

namespace snapstore::spot {
namespace {

constexpr uint64_t kIopsPerThroughput = 4;

bool TakesIops(const std::string& type) { return type == "gp3" || type == "io1" || type == "io2"; }

bool IsUsers(const std::string& key) { return !key.starts_with("aws:") && !IsOwnTag(key); }

bool WasMadeFrom(const Ec2Volume& volume, const KeptDevice& device) {
  return !volume.snapshot_id.empty() &&
         std::any_of(device.snapshots.begin(), device.snapshots.end(),
                     [&](const KeptSnapshot& one) { return one.id == volume.snapshot_id; });
}

// A launch tags all volumes alike: what only one of them had it lacks.
Ec2Tags MissingTags(const NodeRecord& node, const KeptDevice& device, const Ec2Volume& volume) {
  if (!volume.tags.contains(NodeTag::kNode)) return TagsOfNode(node, "");
  Ec2Tags missing;
  const bool follows = device.facts && device.facts->volume_id != volume.id &&
                       volume.tags.at(NodeTag::kNode) == node.id && WasMadeFrom(volume, device);
  if (!follows) return missing;
  for (const Tag& tag : device.facts->tags) {
    if (volume.tags.size() + missing.size() >= kTagsMax) break;
    if (IsUsers(tag.key) && !volume.tags.contains(tag.key)) missing[tag.key] = tag.value;
  }
  return missing;
}

}  // namespace

Ec2Tags WithUserTags(const Ec2Tags& ours, const std::vector<Tag>& users) {
  Ec2Tags tags = ours;
  for (const Tag& tag : users) {
    const bool fits = tags.size() < kTagsMax || tags.contains(tag.key);
    if (IsUsers(tag.key) && fits) tags[tag.key] = tag.value;
  }
  return tags;
}

Ec2Result<std::map<std::string, Ec2Volume>> ReadVolumes(Ec2Api* ec2,
                                                        const std::vector<std::string>& ids) {
  std::map<std::string, Ec2Volume> volumes;
  for (size_t begin = 0; begin < ids.size(); begin += kIdsAtOnce) {
    const std::vector<std::string> some(
        ids.begin() + static_cast<int64_t>(begin),
        ids.begin() + static_cast<int64_t>(std::min(ids.size(), begin + kIdsAtOnce)));
    // By filter: an id that is gone must not hide the others.
    auto found = ec2->DescribeVolumes({.filters = {{"volume-id", some}}});
    if (!found.ok()) return found.failure();
    for (Ec2Volume& volume : *found) {
      const std::string id = volume.id;
      volumes.emplace(id, std::move(volume));
    }
  }
  return volumes;
}

bool HasFacts(const NodeSpec& spec, const KeptDevice& device) {
  return !device.foreign && !device.volume_id.empty() && IsKept(spec, device);
}

Flow<std::string> AdoptVolume(Ec2Api* ec2, const NodeRecord& node, const KeptDevice& device,
                              Ec2Volume* volume) {
  const Ec2Tags missing = MissingTags(node, device, *volume);
  if (missing.empty()) return std::string();
  const auto tagged = ec2->CreateTags({volume->id}, missing);
  if (tagged.ok()) {
    volume->tags.insert(missing.begin(), missing.end());
    return std::string();
  }
  switch (tagged.status().code()) {
    case StatusCode::kNotFound:
      return std::string();
    case StatusCode::kPermissionDenied:
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnsupported:
    case StatusCode::kNoSpace:
      return fmt::format("{}: {}", volume->id, tagged.status().message());
    default:
      return RetryLater(tagged.status());
  }
}

void KeepFacts(const NodeRecord& node, const Ec2Volume& volume, KeptDevice* device) {
  VolumeFacts facts;
  facts.volume_id = volume.id;
  facts.type = volume.volume_type;
  facts.iops = static_cast<int64_t>(volume.iops);
  facts.throughput = static_cast<int64_t>(volume.throughput);
  facts.encrypted = volume.encrypted;
  facts.kms_key_id = volume.kms_key_id;
  // Those of the specification are given anew, as it is then.
  const LaunchSpecification& launch = node.spec.compute.launch_specification;
  std::set<std::string> given;
  if (launch.resource_tags.volumes.should_tag.value()) {
    for (const Tag& tag : launch.tags) given.insert(tag.key);
  }
  for (const auto& [key, value] : volume.tags) {
    const bool former = std::any_of(node.former.tags.begin(), node.former.tags.end(),
                                    [&, &name = key, &text = value](const Tag& one) {
                                      return one.key == name && one.value == text;
                                    });
    if (IsUsers(key) && !given.contains(key) && !former) facts.tags.push_back({key, value});
  }
  device->facts = std::move(facts);
  device->size_gib = static_cast<int64_t>(volume.size_gib);
}

void ReportRefusedTags(const std::string& refused, ControllerState::NodeChange* change) {
  if (refused.empty()) return;
  change->AddEvent(
      "VOLUME_NOT_TAGGED", Severity::kWarning,
      fmt::format("a volume could not be tagged; it may not be deleted later: {}", refused));
}

Flow<Done> LookAtVolumes(OperationRun* run, const std::string& step) {
  std::map<std::string, Ec2Volume> volumes;
  const auto look = [&]() -> Flow<Json> {
    std::vector<std::string> ids;
    for (const KeptDevice& device : run->node().runtime.resources.devices) {
      if (HasFacts(run->spec(), device)) ids.push_back(device.volume_id);
    }
    Ec2Api* ec2 = run->services().ec2;
    auto found = ReadVolumes(ec2, ids);
    if (!found.ok()) return RetryLater(found.status());
    volumes = *std::move(found);
    // One that was just made may not be known everywhere yet.
    const auto launched = run->node().runtime.launched_at_ms;
    const bool young = launched && run->Now() - *launched < kConsistencyMs;
    if (volumes.size() < ids.size() && young) return Wait();
    std::string refused;
    for (const KeptDevice& device : run->node().runtime.resources.devices) {
      const auto volume = volumes.find(device.volume_id);
      if (volume == volumes.end()) continue;
      SNAP_FLOW_ASSIGN(const std::string why,
                       AdoptVolume(ec2, run->node(), device, &volume->second));
      if (!why.empty()) refused = why;
    }
    return Json{{"refused", refused}};
  };
  const auto update = [&](const Json& output, ControllerState::NodeChange* change) {
    for (KeptDevice& device : change->node.runtime.resources.devices) {
      const auto volume = volumes.find(device.volume_id);
      if (volume != volumes.end()) KeepFacts(change->node, volume->second, &device);
    }
    ReportRefusedTags(output.value("refused", ""), change);
  };
  SNAP_FLOW(run->Observe(step, look, update));
  return Done{};
}

void TakeFacts(const KeptDevice& device, Ec2BlockDevice* mapping) {
  mapping->volume_size_gib = std::max(mapping->volume_size_gib,
                                      static_cast<uint64_t>(std::max<int64_t>(0, device.size_gib)));
  if (!device.facts || device.facts->type.empty()) return;
  const VolumeFacts& facts = *device.facts;
  const bool fits = mapping->volume_type.empty() ? mapping->iops == 0 || TakesIops(facts.type)
                                                 : mapping->volume_type == facts.type;
  if (fits) {
    mapping->volume_type = facts.type;
    if (mapping->iops == 0 && TakesIops(facts.type)) {
      mapping->iops = static_cast<uint64_t>(facts.iops);
    }
    if (mapping->throughput == 0 && facts.type == "gp3") {
      mapping->throughput = static_cast<uint64_t>(facts.throughput);
      // EC2 allows no more for the iops that the specification names.
      if (mapping->iops > 0) {
        mapping->throughput = std::min(mapping->throughput, mapping->iops / kIopsPerThroughput);
      }
    }
  }
  if (facts.encrypted && mapping->kms_key_id.empty()) {
    mapping->encrypted = true;
    mapping->kms_key_id = facts.kms_key_id;
  }
}

}  // namespace snapstore::spot
