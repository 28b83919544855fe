// Operations of a few steps: a volume is deleted, tags are set. While one goes on nobody watches
// over its node: it ends in time, whatever is in its way.
#include <fmt/format.h>

#include <algorithm>

#include "orchestrator/lifecycle/clean_up.h"
#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/operations.h"
#include "orchestrator/lifecycle/volume_facts.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kLimitMs = 900'000;

// What is gone needs nothing; a refusal is final.
template <typename T>
Flow<Done> Accept(const Ec2Result<T>& result) {
  if (result.ok() || result.status().Is(StatusCode::kNotFound)) return Done{};
  if (result.status().Is(StatusCode::kPermissionDenied) ||
      result.status().Is(StatusCode::kNoSpace)) {
    return Fail(result.status());
  }
  return result.failure();
}

bool LostItsInstance(OperationRun* run) {
  if (!run->has_node() || !run->node().runtime.instance_id) return false;
  const auto instance = FindInstance(run->services(), *run->node().runtime.instance_id);
  if (!instance.ok()) return false;
  // One that was just launched may not be known everywhere yet.
  const int64_t age = run->Now() - run->node().runtime.launched_at_ms.value_or(0);
  return *instance ? !IsAlive(**instance) : age >= kConsistencyMs;
}

// Ends what has not ended in time, or keeps a node from being replaced.
Flow<Ending> InTime(OperationRun* run, const std::function<Flow<Ending>()>& steps) {
  SNAP_FLOW_ASSIGN(const Json begun, run->Observe("begun", [&] {
    return Flow<Json>(Json{{"at", run->Now()}});
  }));
  Flow<Ending> ended = steps();
  if (ended.ok()) return ended;
  const Halt& halt = ended.halt();
  const bool retries = halt.kind == Halt::Kind::kRetry;
  if (!retries && halt.kind != Halt::Kind::kWait) return ended;
  const std::string why = halt.status.ok() ? "" : ": " + halt.status.message();
  if (run->Now() - begun.value("at", int64_t{0}) >= kLimitMs) {
    return Fail(Status::Timeout(
        fmt::format("given up after {} minutes{}", kLimitMs / (60 * kMsPerSecond), why)));
  }
  if (retries && LostItsInstance(run)) {
    return Fail(Status::Cancelled(fmt::format("the node's instance is gone{}", why)));
  }
  return ended;
}

class VolumeDeletion {
 public:
  explicit VolumeDeletion(OperationRun* run)
      : run_(run), services_(run->services()), id_(run->operation().input.value("volumeId", "")) {}

  Flow<Ending> Run() {
    Flow<Ending> ended = InTime(run_, [this] { return Steps(); });
    if (ended.ok() || ended.halt().kind != Halt::Kind::kFail) return ended;
    return Failed(ended.halt().status.message());
  }

 private:
  Flow<Ending> Steps() {
    SNAP_FLOW(run_->Observe("detach", [this] { return Detach(); }));
    SNAP_FLOW(run_->Observe("delete", [this]() -> Flow<Json> {
      SNAP_FLOW(Accept(services_.ec2->DeleteVolume(id_)));
      return Json();
    }));
    SNAP_FLOW_ASSIGN(const Json deleted,
                     run_->Observe("snapshots", [this] { return DeleteSnapshots(); }));
    Ending ending;
    ending.change = [id = id_, services = &services_, deleted,
                     operation_id = run_->operation().id](ControllerState::NodeChange* change) {
      Drop(id, &change->node.runtime);
      LeaveToPurge(*services, deleted, change);
      change->AddEvent("VOLUME_DELETED", Severity::kInfo, fmt::format("{} is deleted", id),
                       operation_id);
    };
    return ending;
  }

  Flow<Json> Detach() {
    const auto found = services_.ec2->DescribeVolumes({.ids = {id_}});
    if (!found.ok()) {
      SNAP_FLOW(Accept(found));
      return Json();
    }
    if (found->empty() || found->front().state == "available" ||
        found->front().state == "deleted") {
      return Json();
    }
    SNAP_FLOW(run_->ReloadNode());
    const KeptDevice* device = run_->has_node() ? Find(run_->node()) : nullptr;
    if (device != nullptr && device->root) {
      return Fail(Status::InvalidArgument(
          fmt::format("{} is the root of an instance: it cannot be detached", id_)));
    }
    for (const Ec2VolumeAttachment& one : found->front().attachments) {
      if (one.status != "attached") continue;
      SNAP_FLOW(Accept(services_.ec2->DetachVolume(id_, one.instance_id, false)));
    }
    return Wait();
  }

  Flow<Json> DeleteSnapshots() {
    SNAP_FLOW(run_->ReloadNode());
    const KeptDevice* device = run_->has_node() ? Find(run_->node()) : nullptr;
    if (device == nullptr || device->root) return Json();
    CleanUp clean_up(services_);
    for (const KeptSnapshot& one : device->snapshots) {
      SNAP_FLOW(clean_up.Delete("snapshot", one.id));
    }
    return Json{{"left", clean_up.left()}};
  }

  // A volume that is kept stays the node's. Of another one, once it is detached, no record would
  // tell any more.
  Flow<Ending> Failed(const std::string& why) {
    Ending ending;
    ending.state = OperationState::kFailed;
    ending.error = why;
    ending.change = [id = id_, why, services = &services_, detached = run_->IsDone("detach"),
                     operation_id = run_->operation().id](ControllerState::NodeChange* change) {
      const KeptDevice* device = Find(change->node, id);
      if (detached && device != nullptr && !IsKept(change->node.spec, *device)) {
        change->AddRetained(Retain(*services, change->node, "volume", id, true));
        Drop(id, &change->node.runtime);
      }
      change->AddEvent("OPERATION_FAILED", Severity::kError,
                       fmt::format("{}: {}", OperationKindName(OperationKind::kDeleteVolume), why),
                       operation_id);
    };
    return ending;
  }

  const KeptDevice* Find(const NodeRecord& node) const { return Find(node, id_); }
  static const KeptDevice* Find(const NodeRecord& node, const std::string& id) {
    const auto& devices = node.runtime.resources.devices;
    const auto found = std::find_if(devices.begin(), devices.end(), [&](const KeptDevice& device) {
      return device.volume_id == id;
    });
    return found == devices.end() ? nullptr : &*found;
  }

  static void Drop(const std::string& id, NodeRuntime* runtime) {
    std::erase_if(runtime->resources.devices,
                  [&](const KeptDevice& device) { return device.volume_id == id; });
    runtime->devices = ShownDevices(runtime->resources);
  }

  OperationRun* const run_;
  const Services& services_;
  const std::string id_;
};

// Those that earlier specifications put there, as they put them, whatever is to be tagged by now.
Flow<Done> DropFormerTags(OperationRun* run, const Ec2Tags& wanted) {
  const NodeRecord& node = run->node();
  std::vector<Ec2Tags> calls;  // a key stands in a call once
  for (const Tag& tag : node.former.tags) {
    if (wanted.contains(tag.key) || WithUserTags({}, {tag}).empty()) continue;
    auto call = std::find_if(calls.begin(), calls.end(),
                             [&](const Ec2Tags& one) { return !one.contains(tag.key); });
    if (call == calls.end()) call = calls.insert(call, Ec2Tags());
    (*call)[tag.key] = tag.value;
  }
  if (calls.empty()) return Done{};
  const KeptResources& kept = node.runtime.resources;
  std::vector<std::string> ids = {node.runtime.instance_id.value_or(""), kept.interface_id,
                                  kept.image_id};
  for (const KeptDevice& device : kept.devices) {
    if (!device.foreign) ids.push_back(device.volume_id);
    for (const KeptSnapshot& one : device.snapshots) ids.push_back(one.id);
  }
  std::erase(ids, "");
  for (const std::string& id : ids) {
    for (const Ec2Tags& tags : calls)
      SNAP_FLOW(Accept(run->services().ec2->DeleteTags({id}, tags)));
  }
  return Done{};
}

Flow<Json> SetTags(OperationRun* run) {
  SNAP_FLOW(run->ReloadNode());
  if (!run->has_node()) return Fail(Status::NotFound("the node is gone"));
  const NodeRuntime& runtime = run->node().runtime;
  const LaunchSpecification& launch = run->node().spec.compute.launch_specification;
  const Ec2Tags tags = WithUserTags({}, launch.tags);
  SNAP_FLOW(DropFormerTags(run, tags));
  const Json done = {{"generation", run->node().generation}};
  if (tags.empty()) return done;
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
  for (const std::string& id : ids) {
    SNAP_FLOW(Accept(run->services().ec2->CreateTags({id}, tags)));
  }
  return done;
}

}  // namespace

Flow<Ending> RunVolumeDeletion(OperationRun* run) { return VolumeDeletion(run).Run(); }

Flow<Ending> RunTagging(OperationRun* run) {
  return InTime(run, [run]() -> Flow<Ending> {
    SNAP_FLOW_ASSIGN(const Json set, run->Observe("tags", [run] { return SetTags(run); }));
    Ending ending;
    ending.change = [operation_id = run->operation().id,
                     generation = set.is_object() ? set.value("generation", int64_t{0})
                                                  : 0](ControllerState::NodeChange* change) {
      // What was changed meanwhile may have left more.
      if (change->node.generation == generation) change->node.former.tags.clear();
      change->AddEvent("TAGS_APPLIED", Severity::kInfo, "the tags are set", operation_id);
    };
    return ending;
  });
}

}  // namespace snapstore::spot
