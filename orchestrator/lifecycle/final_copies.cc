// What a release leaves behind: final snapshots of the volumes, the image of the root.
#include <algorithm>
#include <map>

#include "orchestrator/lifecycle/clean_up.h"
#include "orchestrator/lifecycle/launch_request.h"
#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/volume_facts.h"

namespace snapstore::spot {
namespace {

class FinalCopies {
 public:
  FinalCopies(OperationRun* run, const Beginning& beginning, const std::string& prefix)
      : run_(run), services_(run->services()), beginning_(beginning), prefix_(prefix) {}

  Flow<Done> Run() {
    // Those that were written to: before the first goes.
    if (!run_->IsDone(Name("dropped"))) SNAP_FLOW(LookAtVolumes(run_, Name("volumes")));
    SNAP_FLOW(TakeSnapshots());
    SNAP_FLOW(RegisterRoot());
    return DropOutdated();
  }

 private:
  std::string Name(const std::string& step) const { return prefix_ + "/" + step; }

  std::string Maker(const std::string& device_name) const { return Name("snapshot" + device_name); }

  bool WantsFinalSnapshot(const KeptDevice& device) const {
    const Persistence& persistence = run_->spec().persistence;
    if (device.foreign || device.volume_id.empty() || device.copied ||
        !IsKept(run_->spec(), device)) {
      return false;
    }
    return device.root || persistence.block_devices_mode.value() == BlockDevicesMode::kOnLaunch ||
           beginning_.ManyZones(run_->spec());
  }

  Flow<Done> TakeSnapshots() {
    std::vector<KeptDevice> wanted;
    // The list is the same on every try: volumes are dropped after the last step that reads it.
    if (!run_->IsDone(Name("dropped"))) {
      for (const KeptDevice& device : run_->node().runtime.resources.devices) {
        if (WantsFinalSnapshot(device)) wanted.push_back(device);
      }
    }
    std::map<std::string, std::string> taken;  // by device
    for (const KeptDevice& device : wanted) {
      SNAP_FLOW_ASSIGN(
          const Json made,
          run_->Do(
              Maker(device.device_name), {{"volumeId", device.volume_id}},
              [&](const StepRecord& step) { return SnapshotOnce(step, device); },
              [&](const Json& output, ControllerState::NodeChange* change) {
                KeptDevice* kept = FindDevice(&change->node.runtime.resources, device.device_name);
                const std::string id = output.value("id", "");
                if (kept == nullptr || id.empty()) return;
                AddSnapshot(kept, {id, device.volume_id, output.value("time", int64_t{0}), false});
              }));
      const std::string id = made.value("id", "");
      if (!id.empty()) taken[device.device_name] = id;
    }
    for (const auto& [device_name, id] : taken) SNAP_FLOW(AwaitSnapshot(device_name, id));
    return Done{};
  }

  // CreateSnapshot takes no client token: one that was made by an earlier try has it as a tag.
  Flow<Json> SnapshotOnce(const StepRecord& step, const KeptDevice& device) {
    const auto made = services_.ec2->DescribeSnapshots(
        {.filters = {{std::string("tag:") + NodeTag::kToken, {step.client_token}}}});
    if (!made.ok()) return RetryLater(made.status());
    if (!made->empty()) return Json{{"id", made->front().id}, {"time", run_->Now()}};
    const std::string maker = Maker(device.device_name);
    if (!run_->IsFirstTry(maker)) {
      // An earlier try may have made it, and it is not listed yet.
      if (run_->Now() - step.started_at_ms < kConsistencyMs) return Wait();
      SNAP_FLOW(run_->Forget(maker));
      return Wait(1);
    }
    Ec2Tags tags = TagsOfNode(run_->node(), step.client_token);
    const auto& launch = run_->spec().compute.launch_specification;
    if (launch.resource_tags.snapshots.should_tag.value()) tags = WithUserTags(tags, launch.tags);
    const auto snapshot = services_.ec2->CreateSnapshot(
        device.volume_id,
        fmt::format("{} {} of {}", run_->node().id, device.device_name, beginning_.instance_id),
        tags);
    if (snapshot.ok()) return Json{{"id", snapshot->id}, {"time", run_->Now()}};
    // Somebody deleted the volume meanwhile: what there is has to do.
    if (snapshot.status().Is(StatusCode::kNotFound) &&
        run_->Now() - run_->BegunAt(Name("free")).value_or(0) > kConsistencyMs) {
      return Json{{"error", snapshot.status().message()}};
    }
    // A refusal made nothing.
    if (!snapshot.code().empty()) SNAP_FLOW(run_->Forget(maker));
    return RetryLater(snapshot.status());
  }

  Flow<Done> AwaitSnapshot(const std::string& device_name, const std::string& id) {
    const std::string step = Name("completed" + device_name);
    const std::string maker = Maker(device_name);
    SNAP_FLOW_ASSIGN(
        const Json seen,
        run_->Observe(
            step,
            [&]() -> Flow<Json> {
              const auto found = services_.ec2->DescribeSnapshots({.ids = {id}});
              if (!found.ok() && !found.status().Is(StatusCode::kNotFound)) {
                return RetryLater(found.status());
              }
              if (!found.ok() || found->empty()) {
                const int64_t age = run_->Now() - run_->BegunAt(maker).value_or(run_->Now());
                if (age < kConsistencyMs) return Wait();
                return Json{{"failed", true}};
              }
              if (found->front().state == "pending") return Wait();
              return Json{{"failed", found->front().state == "error"}};
            },
            [&](const Json& output, ControllerState::NodeChange* change) {
              KeptDevice* kept = FindDevice(&change->node.runtime.resources, device_name);
              if (kept == nullptr) return;
              if (output.value("failed", false)) {
                std::erase_if(kept->snapshots, [&](const auto& one) { return one.id == id; });
              }
              for (KeptSnapshot& one : kept->snapshots) {
                if (one.id != id) continue;
                one.completed = true;
                kept->copied = true;
              }
            }));
    if (!seen.value("failed", false)) return Done{};
    CleanUp clean_up(services_);
    SNAP_FLOW(clean_up.Delete("snapshot", id));
    if (!clean_up.left().empty()) {
      SNAP_FLOW(run_->ChangeNode([&](ControllerState::NodeChange* change) {
        LeaveToPurge(services_, {{"left", clean_up.left()}}, change);
      }));
    }
    SNAP_FLOW(run_->Forget(step));
    SNAP_FLOW(run_->Forget(maker));
    return RetryLater(Status::Io(fmt::format("snapshot {} of {} failed", id, device_name)));
  }

  // The root's newest snapshot becomes the image that is launched next.
  Flow<Done> RegisterRoot() {
    if (!run_->spec().persistence.persist_root_device.value()) return Done{};
    SNAP_FLOW_ASSIGN(const Json plan, run_->Observe(Name("image/plan"), [&]() -> Flow<Json> {
      const KeptResources& kept = run_->node().runtime.resources;
      for (const KeptDevice& device : kept.devices) {
        const KeptSnapshot* newest = device.root ? NewestCompleted(device) : nullptr;
        if (newest == nullptr || newest->id == kept.image_snapshot_id) continue;
        return Json{{"device", device.device_name},
                    {"snapshot", newest->id},
                    {"source", run_->node().runtime.image_id.value_or(
                                   run_->spec().compute.launch_specification.image_id)},
                    {"oldImage", kept.image_id}};
      }
      return Json();
    }));
    if (!plan.is_object()) return Done{};
    SNAP_FLOW_ASSIGN(const Json made, run_->Do(Name("image"), plan, [&](const StepRecord& step) {
      return RegisterOnce(step);
    }));
    const std::string image = made.value("imageId", "");
    if (made.contains("left out")) {
      SNAP_FLOW(run_->Report(
          Name("image/left-out"), "IMAGE_DEVICES_LEFT_OUT", Severity::kWarning,
          fmt::format("the node's image has only a plain root, and not all that {} brings: {}",
                      plan.value("source", ""), made.value("left out", ""))));
    }
    SNAP_FLOW(run_->Observe(
        Name("image/available"),
        [&]() -> Flow<Json> {
          const auto found = services_.ec2->DescribeImages({.ids = {image}});
          if (!found.ok() && !found.status().Is(StatusCode::kNotFound)) {
            return RetryLater(found.status());
          }
          if (!found.ok() || found->empty() || found->front().state == "pending") return Wait();
          return Json{{"state", found->front().state}};
        },
        [&](const Json&, ControllerState::NodeChange* change) {
          KeptResources& kept = change->node.runtime.resources;
          kept.image_id = image;
          kept.image_snapshot_id = plan.value("snapshot", "");
        }));
    const std::string old_image = plan.value("oldImage", "");
    if (old_image.empty()) return Done{};
    SNAP_FLOW(run_->Observe(
        Name("image/drop-old"),
        [&]() -> Flow<Json> {
          CleanUp clean_up(services_);
          SNAP_FLOW(clean_up.Delete("image", old_image));
          return Json{{"left", clean_up.left()}};
        },
        [this](const Json& output, ControllerState::NodeChange* change) {
          LeaveToPurge(services_, output, change);
        }));
    return Done{};
  }

  // An image's name is used once: it says whether an earlier try made it.
  Flow<Json> RegisterOnce(const StepRecord& step) {
    const std::string name = ImageName(run_->node().id, step.client_token);
    const auto made = services_.ec2->DescribeImages({.filters = {{"name", {name}}}});
    if (!made.ok()) return RetryLater(made.status());
    Ec2Tags tags = TagsOfNode(run_->node(), step.client_token);
    const auto& launch = run_->spec().compute.launch_specification;
    if (launch.resource_tags.amis.should_tag.value()) tags = WithUserTags(tags, launch.tags);
    Json done = Json::object();
    if (made->empty()) {
      SNAP_FLOW_ASSIGN(done, Register(name, step));
    } else {
      done["imageId"] = made->front().id;
    }
    const auto tagged = services_.ec2->CreateTags({done.value("imageId", "")}, tags);
    if (!tagged.ok()) return RetryLater(tagged.status());
    return done;
  }

  Flow<Json> Register(const std::string& name, const StepRecord& step) {
    const auto source = services_.ec2->DescribeImages({.ids = {step.input.value("source", "")}});
    if (!source.ok() && !source.status().Is(StatusCode::kNotFound)) {
      return RetryLater(source.status());
    }
    RegisterImageRequest request;
    request.name = name;
    request.description = fmt::format("root of {}", run_->node().id);
    request.architecture = "x86_64";
    request.root_device_name = step.input.value("device", "");
    request.devices.push_back(Root(step));
    if (source.ok() && !source->empty()) {
      const Ec2Image& image = source->front();
      request.architecture = image.architecture;
      request.boot_mode = image.boot_mode;
      request.imds_support = image.imds_support;
      request.ena_support = image.ena_support;
      AddOthers(image, &request);
    }
    Status refused;
    // Snapshots of an image that somebody else shares may not be shared, and no root is better than
    // one that is not as fast as it was.
    for (const size_t devices : {request.devices.size(), size_t{1}, size_t{0}}) {
      request.devices.resize(std::max(devices, size_t{1}));
      if (devices == 0) {
        request.devices.front() = {.device_name = request.root_device_name,
                                   .snapshot_id = step.input.value("snapshot", "")};
      }
      const auto image = services_.ec2->RegisterImage(request);
      if (image.ok()) {
        Json done = {{"imageId", *image}};
        if (!refused.ok()) done["left out"] = refused.message();
        return done;
      }
      const StatusCode code = image.status().code();
      // What was just made may not be known everywhere yet.
      const bool settles =
          code == StatusCode::kNotFound && run_->Now() - step.started_at_ms < kConsistencyMs;
      if (settles || (code != StatusCode::kPermissionDenied && code != StatusCode::kNotFound &&
                      code != StatusCode::kInvalidArgument)) {
        return RetryLater(image.status());
      }
      if (refused.ok()) refused = image.status();
    }
    return RetryLater(refused);
  }

  // As the volume was, unless the specification has another type: it is the launch's then.
  Ec2BlockDevice Root(const StepRecord& step) const {
    Ec2BlockDevice root = {.device_name = step.input.value("device", ""),
                           .snapshot_id = step.input.value("snapshot", "")};
    KeptResources kept = run_->node().runtime.resources;
    const KeptDevice* device = FindDevice(&kept, root.device_name);
    if (device == nullptr) return root;
    TakeFacts(*device, &root);
    for (const BlockDeviceMapping& one :
         run_->spec().compute.launch_specification.block_device_mappings) {
      const std::string type = MappingOf(one).volume_type;
      if (one.device_name != root.device_name || type.empty() || type == root.volume_type) continue;
      root.volume_type.clear();
      root.iops = root.throughput = 0;
    }
    Unencrypted(&root);
    return root;
  }

  // What else the image brings is not kept with it, but comes anew with each launch.
  static void AddOthers(const Ec2Image& source, RegisterImageRequest* request) {
    for (Ec2BlockDevice device : source.devices) {
      if (device.device_name == source.root_device_name ||
          device.device_name == request->root_device_name) {
        continue;
      }
      const bool fast = device.volume_type == "gp3" || device.volume_type.starts_with("io");
      if (!fast) device.iops = 0;
      if (device.volume_type != "gp3") device.throughput = 0;
      if (!device.snapshot_id.empty()) Unencrypted(&device);
      request->devices.push_back(std::move(device));
    }
  }

  // A snapshot says itself whether it is; that it is said again is refused.
  static void Unencrypted(Ec2BlockDevice* device) {
    device->encrypted = false;
    device->kms_key_id.clear();
  }

  // Old snapshots, and volumes that live on in their snapshot.
  Flow<Done> DropOutdated() {
    SNAP_FLOW(run_->Observe(
        Name("dropped"),
        [&]() -> Flow<Json> {
          const bool persists =
              run_->spec().persistence.block_devices_mode.value() == BlockDevicesMode::kReattach;
          CleanUp clean_up(services_);
          for (const KeptDevice& device : run_->node().runtime.resources.devices) {
            if (device.foreign || !IsKept(run_->spec(), device)) continue;
            const KeptSnapshot* newest = NewestCompleted(device);
            if (newest == nullptr) continue;
            for (const KeptSnapshot& one : device.snapshots) {
              if (one.id != newest->id) SNAP_FLOW(clean_up.Delete("snapshot", one.id));
            }
            const bool lives_on = device.root || !persists;
            if (lives_on && device.copied && !device.volume_id.empty()) {
              SNAP_FLOW(clean_up.Delete("volume", device.volume_id));
            }
            // A move that was broken off: the copy, or its snapshot, is what goes on.
            if (!device.old_volume_id.empty()) {
              SNAP_FLOW(clean_up.Delete("volume", device.old_volume_id));
            }
          }
          return Json{{"left", clean_up.left()}};
        },
        [this](const Json& output, ControllerState::NodeChange* change) {
          LeaveToPurge(services_, output, change);
          const bool persists =
              run_->spec().persistence.block_devices_mode.value() == BlockDevicesMode::kReattach;
          KeptResources& kept = change->node.runtime.resources;
          for (KeptDevice& device : kept.devices) {
            if (device.foreign || !IsKept(run_->spec(), device)) continue;
            const KeptSnapshot* newest = NewestCompleted(device);
            if (newest == nullptr) continue;
            const KeptSnapshot only = *newest;
            device.snapshots = {only};
            if ((device.root || !persists) && device.copied) device.volume_id.clear();
            device.old_volume_id.clear();
          }
          change->node.runtime.devices = ShownDevices(kept);
        }));
    return Done{};
  }

  OperationRun* const run_;
  const Services& services_;
  const Beginning& beginning_;
  const std::string& prefix_;
};

}  // namespace

Flow<Done> MakeFinalCopies(OperationRun* run, const Beginning& beginning,
                           const std::string& prefix) {
  return FinalCopies(run, beginning, prefix).Run();
}

}  // namespace snapstore::spot
