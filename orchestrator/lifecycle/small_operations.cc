// Operations of a few steps: a volume is deleted, tags are set.
#include <fmt/format.h>

#include <algorithm>

#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/operations.h"

namespace snapstore::spot {

Flow<Ending> RunVolumeDeletion(OperationRun* run) {
  const std::string id = run->operation().input.value("volumeId", "");
  const Services& services = run->services();
  SNAP_FLOW(run->Observe("detach", [&]() -> Flow<Json> {
    const auto found = services.ec2->DescribeVolumes({.ids = {id}});
    if (!found.ok()) {
      if (!found.status().Is(StatusCode::kNotFound)) return RetryLater(found.status());
      return Json();
    }
    if (found->empty() || found->front().state == "available" ||
        found->front().state == "deleted") {
      return Json();
    }
    SNAP_FLOW(run->ReloadNode());
    const bool is_root =
        run->has_node() &&
        std::any_of(run->node().runtime.resources.devices.begin(),
                    run->node().runtime.resources.devices.end(), [&](const KeptDevice& device) {
                      return device.root && device.volume_id == id;
                    });
    if (is_root) {
      return Fail(Status::InvalidArgument(
          fmt::format("{} is the root of an instance: it cannot be detached", id)));
    }
    for (const Ec2VolumeAttachment& one : found->front().attachments) {
      if (one.status != "attached") continue;
      const auto detached = services.ec2->DetachVolume(id, one.instance_id, false);
      if (!detached.ok()) return detached.failure();
    }
    return Wait();
  }));
  SNAP_FLOW(run->Observe("delete", [&]() -> Flow<Json> {
    SNAP_FLOW(Tolerate(services.ec2->DeleteVolume(id)));
    return Json();
  }));
  SNAP_FLOW(run->Observe("snapshots", [&]() -> Flow<Json> {
    SNAP_FLOW(run->ReloadNode());
    if (!run->has_node()) return Json();
    for (const KeptDevice& device : run->node().runtime.resources.devices) {
      if (device.volume_id != id || device.root) continue;
      for (const KeptSnapshot& one : device.snapshots) {
        SNAP_FLOW(Tolerate(services.ec2->DeleteSnapshot(one.id)));
      }
    }
    return Json();
  }));
  Ending ending;
  const std::string operation_id = run->operation().id;
  ending.change = [id, operation_id](ControllerState::NodeChange* change) {
    NodeRuntime& runtime = change->node.runtime;
    std::erase_if(runtime.resources.devices,
                  [&](const KeptDevice& device) { return device.volume_id == id; });
    runtime.devices = ShownDevices(runtime.resources);
    change->AddEvent("VOLUME_DELETED", Severity::kInfo, fmt::format("{} is deleted", id),
                     operation_id);
  };
  return ending;
}

Flow<Ending> RunTagging(OperationRun* run) {
  const Services& services = run->services();
  SNAP_FLOW(run->Observe("tags", [&]() -> Flow<Json> {
    SNAP_FLOW(run->ReloadNode());
    if (!run->has_node()) return Fail(Status::NotFound("the node is gone"));
    const NodeRuntime& runtime = run->node().runtime;
    const LaunchSpecification& launch = run->node().spec.compute.launch_specification;
    Ec2Tags tags;
    for (const Tag& tag : launch.tags) tags[tag.key] = tag.value;
    if (tags.empty()) return Json();
    std::vector<std::string> ids;
    if (runtime.instance_id) ids.push_back(*runtime.instance_id);
    const ResourceTagSpecification& which = launch.resource_tags;
    for (const KeptDevice& device : runtime.resources.devices) {
      if (which.volumes.should_tag.value() && !device.volume_id.empty() && !device.foreign) {
        ids.push_back(device.volume_id);
      }
      if (!which.snapshots.should_tag.value()) continue;
      for (const KeptSnapshot& one : device.snapshots) ids.push_back(one.id);
    }
    if (which.enis.should_tag.value() && !runtime.resources.interface_id.empty()) {
      ids.push_back(runtime.resources.interface_id);
    }
    if (which.amis.should_tag.value() && !runtime.resources.image_id.empty()) {
      ids.push_back(runtime.resources.image_id);
    }
    // One by one: what is gone must not keep the others from their tags.
    for (const std::string& id : ids) SNAP_FLOW(Tolerate(services.ec2->CreateTags({id}, tags)));
    return Json();
  }));
  Ending ending;
  const std::string operation_id = run->operation().id;
  ending.change = [operation_id](ControllerState::NodeChange* change) {
    change->AddEvent("TAGS_APPLIED", Severity::kInfo, "the tags are set", operation_id);
  };
  return ending;
}

}  // namespace snapstore::spot
