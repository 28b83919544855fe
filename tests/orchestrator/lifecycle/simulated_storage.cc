// Volumes, snapshots, images.
#include <algorithm>

#include "tests/orchestrator/lifecycle/simulated_call.h"

namespace snapstore::spot {
namespace {

std::optional<std::string> VolumeFact(const Ec2Volume& volume, const std::string& filter) {
  if (filter == "availability-zone") return volume.availability_zone;
  if (filter == "status") return volume.state;
  if (filter == "snapshot-id") return volume.snapshot_id;
  if (filter == "volume-id") return volume.id;
  return std::nullopt;
}

std::optional<std::string> SnapshotFact(const Ec2Snapshot& snapshot, const std::string& filter) {
  if (filter == "snapshot-id") return snapshot.id;
  if (filter == "volume-id") return snapshot.volume_id;
  if (filter == "status") return snapshot.state;
  return std::nullopt;
}

std::optional<std::string> ImageFact(const Ec2Image& image, const std::string& filter) {
  if (filter == "name") return image.name;
  if (filter == "state") return image.state;
  return std::nullopt;
}

}  // namespace

int64_t SimulatedCloud::VersionOf(const SimVolume& volume) const {
  return volume.version +
         (volume.written_since_ms == 0 ? 0 : clock_->now_ms() - volume.written_since_ms);
}

void SimulatedCloud::BeginWriting(const SimInstance& instance, const std::string& device,
                                  SimVolume* volume) {
  volume->written_since_ms = Now();
  const std::string node = NodeOfTags(instance.shown.tags);
  if (node.empty()) return;
  SimDeviceData& written = written_[{node, device}];
  const int64_t has = written.lineage == volume->lineage ? volume->version : 0;
  if (on_loss && has < written.highest) on_loss(node, device, written.highest - has);
  // What is lost is lost once.
  written = {volume->lineage, volume->version};
}

void SimulatedCloud::EndWriting(SimVolume* volume) {
  if (volume->written_since_ms == 0) return;
  volume->version = VersionOf(*volume);
  volume->written_since_ms = 0;
  if (volume->shown.attachments.empty()) return;
  const Ec2VolumeAttachment& attachment = volume->shown.attachments.front();
  const SimInstance* const instance = instances_.Find(attachment.instance_id);
  const std::string node = instance == nullptr ? "" : NodeOfTags(instance->shown.tags);
  if (!node.empty()) written_[{node, attachment.device}] = {volume->lineage, volume->version};
}

std::optional<AwsFailure> SimulatedCloud::CheckVolume(const Ec2BlockDevice& wanted) {
  const std::string type = wanted.volume_type.empty() ? "gp2" : wanted.volume_type;
  const bool fast = type == "gp3" || type == "io1" || type == "io2";
  if (wanted.iops > 0 && !fast) {
    return Refuse("InvalidParameterCombination", "iops of a volume of type " + type);
  }
  if (wanted.iops == 0 && fast && type != "gp3") return Refuse("MissingParameter", "iops");
  if (wanted.throughput > 0 && type != "gp3") {
    return Refuse("InvalidParameterCombination", "throughput of a volume of type " + type);
  }
  if (wanted.snapshot_id.empty()) return std::nullopt;
  const SimSnapshot* const snapshot = snapshots_.Find(wanted.snapshot_id);
  if (snapshot == nullptr) return Refuse("InvalidSnapshot.NotFound", wanted.snapshot_id);
  if (snapshot->shown.state != "completed") return Refuse("IncorrectState", wanted.snapshot_id);
  if (wanted.volume_size_gib > 0 && wanted.volume_size_gib < snapshot->shown.volume_size_gib) {
    return Refuse(
        "InvalidBlockDeviceMapping",
        fmt::format("Volume of size {}GB is smaller than snapshot '{}', expect size >= {}GB",
                    wanted.volume_size_gib, wanted.snapshot_id, snapshot->shown.volume_size_gib));
  }
  return std::nullopt;
}

SimVolume SimulatedCloud::MakeVolume(const std::string& zone, const Ec2BlockDevice& wanted,
                                     const Ec2Tags& tags) {
  const std::string& snapshot_id = wanted.snapshot_id;
  const uint64_t size_gib = wanted.volume_size_gib;
  SimVolume volume;
  volume.shown.id = NewId("vol-");
  volume.shown.availability_zone = zone;
  volume.shown.snapshot_id = snapshot_id;
  volume.shown.size_gib = size_gib;
  volume.shown.volume_type = wanted.volume_type.empty() ? "gp2" : wanted.volume_type;
  const bool is_gp3 = volume.shown.volume_type == "gp3";
  constexpr uint64_t kIops = 3000;
  constexpr uint64_t kThroughput = 125;
  volume.shown.iops = wanted.iops > 0 ? wanted.iops : is_gp3 ? kIops : 0;
  volume.shown.throughput = wanted.throughput > 0 ? wanted.throughput : is_gp3 ? kThroughput : 0;
  // EC2 tells these of such a volume, and does not take them.
  if (volume.shown.volume_type == "gp2") volume.shown.iops = 100;
  volume.shown.create_time_ns = Now() * kNanosPerMs;
  volume.shown.tags = tags;
  volume.visible_ms = VisibleAt();
  volume.lineage = volume.shown.id;
  if (const SimSnapshot* from = snapshots_.Find(snapshot_id)) {
    if (!from->lineage.empty()) volume.lineage = from->lineage;
    volume.version = from->version;
    volume.shown.size_gib = std::max(size_gib, from->shown.volume_size_gib);
  }
  lineages_[volume.lineage].insert(volume.shown.id);
  return volume;
}

void SimulatedCloud::RemoveVolume(const std::string& id) {
  SimVolume* const volume = volumes_.Find(id);
  if (volume == nullptr) return;
  CheckCopies("volume", id, volume->lineage, VersionOf(*volume), NodeOfTags(volume->shown.tags));
  volumes_.Remove(id);
}

Ec2Result<Ec2Volume> SimulatedCloud::CreateVolume(CreateVolumeRequest request) {
  return Call<Ec2Volume>(
      "CreateVolume", NodeOfTags(request.tags), true, [&]() -> Ec2Result<Ec2Volume> {
        const std::string fingerprint =
            fmt::format("volume {} {} {} {} {} {}", request.availability_zone, request.snapshot_id,
                        request.size_gib, request.volume_type, request.iops, request.throughput);
        if (const auto known = tokens_.find(request.client_token); known != tokens_.end()) {
          if (known->second.first != fingerprint) {
            return Refuse("IdempotentParameterMismatch", "the token was used otherwise");
          }
          const SimVolume* const volume = volumes_.Find(known->second.second);
          if (volume != nullptr) return volume->shown;
        }
        const Ec2BlockDevice wanted = {.snapshot_id = request.snapshot_id,
                                       .volume_type = request.volume_type,
                                       .volume_size_gib = request.size_gib,
                                       .iops = request.iops,
                                       .throughput = request.throughput};
        if (auto refused = CheckVolume(wanted)) return *std::move(refused);
        SimVolume volume = MakeVolume(request.availability_zone, wanted, request.tags);
        volume.shown.state = "creating";
        const std::string id = volume.shown.id;
        Note(NodeOfTags(request.tags),
             fmt::format("  {} is made from {}", id, request.snapshot_id));
        if (!request.client_token.empty()) tokens_[request.client_token] = {fingerprint, id};
        At(Now() + Between(500, 10'000), EventKind::kVolumeReady, id);
        return volumes_.Add(std::move(volume)).shown;
      });
}

Ec2Result<AwsReceipt> SimulatedCloud::DeleteVolume(const std::string& id) {
  return Call<AwsReceipt>("DeleteVolume", id, true, [&]() -> Ec2Result<AwsReceipt> {
    const SimVolume* const volume = volumes_.Find(id);
    if (volume == nullptr) return Refuse("InvalidVolume.NotFound", id);
    if (volume->shown.state == "in-use") return Refuse("VolumeInUse", id);
    if (volume->shown.state != "available") return Refuse("IncorrectState", id);
    RemoveVolume(id);
    Goes("volume", id, false);
    return AwsReceipt{};
  });
}

Ec2Result<std::vector<Ec2Volume>> SimulatedCloud::DescribeVolumes(const Ec2Query& query) {
  return Call<std::vector<Ec2Volume>>("DescribeVolumes", query.ids.empty() ? "" : query.ids.front(),
                                      false, [&]() {
                                        return Describe<SimVolume, Ec2Volume>(
                                            &volumes_, query, "InvalidVolume.NotFound", VolumeFact);
                                      });
}

Ec2Result<Ec2VolumeAttachment> SimulatedCloud::AttachVolume(const std::string& volume_id,
                                                            const std::string& instance_id,
                                                            const std::string& device) {
  return Call<Ec2VolumeAttachment>(
      "AttachVolume", volume_id, true, [&]() -> Ec2Result<Ec2VolumeAttachment> {
        SimVolume* const volume = volumes_.Find(volume_id);
        SimInstance* const instance = instances_.Find(instance_id);
        if (volume == nullptr) return Refuse("InvalidVolume.NotFound", volume_id);
        if (instance == nullptr) return Refuse("InvalidInstanceID.NotFound", instance_id);
        if (volume->shown.state == "in-use") return Refuse("VolumeInUse", volume_id);
        if (volume->shown.state != "available") return Refuse("IncorrectState", volume_id);
        if (instance->shown.state != "running" && instance->shown.state != "stopped") {
          return Refuse("IncorrectState", instance_id + " is " + instance->shown.state);
        }
        if (volume->shown.availability_zone != instance->shown.availability_zone) {
          return Refuse("InvalidVolume.ZoneMismatch", volume_id);
        }
        for (const Ec2InstanceDevice& one : instance->shown.devices) {
          if (one.device_name == device) {
            return Refuse("InvalidParameterValue", device + " is already in use");
          }
        }
        volume->shown.state = "in-use";
        volume->shown.attachments.push_back({instance_id, device, "attaching", false});
        instance->shown.devices.push_back(
            {device, volume_id, "attaching", Now() * kNanosPerMs, false});
        At(Now() + Between(500, 5'000), EventKind::kAttached, volume_id);
        return volume->shown.attachments.front();
      });
}

Ec2Result<Ec2VolumeAttachment> SimulatedCloud::DetachVolume(const std::string& volume_id,
                                                            const std::string& instance_id,
                                                            bool /*force*/) {
  return Call<Ec2VolumeAttachment>(
      "DetachVolume", volume_id, true, [&]() -> Ec2Result<Ec2VolumeAttachment> {
        SimVolume* const volume = volumes_.Find(volume_id);
        if (volume == nullptr) return Refuse("InvalidVolume.NotFound", volume_id);
        if (volume->shown.attachments.empty()) return Refuse("IncorrectState", volume_id);
        SimInstance* const instance = instances_.Find(instance_id);
        if (instance == nullptr) return Refuse("InvalidInstanceID.NotFound", instance_id);
        Ec2VolumeAttachment& attachment = volume->shown.attachments.front();
        if (attachment.device == instance->shown.root_device_name &&
            instance->shown.state == "running") {
          return Refuse("OperationNotPermitted", "Unable to detach root volume");
        }
        attachment.status = "detaching";
        EndWriting(volume);
        At(Now() + Between(500, 5'000), EventKind::kDetached, volume_id);
        return attachment;
      });
}

void SimulatedCloud::HappenToStorage(const Event& event) {
  SimVolume* const volume = volumes_.Find(event.id);
  SimInstance* const instance =
      volume == nullptr || volume->shown.attachments.empty()
          ? nullptr
          : instances_.Find(volume->shown.attachments.front().instance_id);
  switch (event.kind) {
    case EventKind::kVolumeReady:
      if (volume != nullptr && volume->shown.state == "creating") volume->shown.state = "available";
      break;
    case EventKind::kAttached:
      if (instance == nullptr || volume->shown.attachments.front().status != "attaching") break;
      volume->shown.attachments.front().status = "attached";
      for (Ec2InstanceDevice& one : instance->shown.devices) {
        if (one.volume_id == event.id) one.status = "attached";
      }
      if (instance->shown.state == "running") {
        BeginWriting(*instance, volume->shown.attachments.front().device, volume);
      }
      break;
    case EventKind::kDetached:
      if (instance == nullptr) break;
      std::erase_if(instance->shown.devices,
                    [&](const Ec2InstanceDevice& one) { return one.volume_id == event.id; });
      volume->shown.attachments.clear();
      volume->shown.state = "available";
      break;
    case EventKind::kSnapshotDone:
      if (SimSnapshot* snapshot = snapshots_.Find(event.id)) {
        snapshot->shown.state = "completed";
        lineages_[snapshot->lineage].insert(event.id);
        ++changes_;
      }
      break;
    case EventKind::kImageDone:
      if (SimImage* image = images_.Find(event.id)) image->shown.state = "available";
      break;
    default:
      break;
  }
}

SimSnapshot& SimulatedCloud::MakeSnapshot(const SimVolume& volume, const std::string& description,
                                          const Ec2Tags& tags) {
  SimSnapshot snapshot;
  snapshot.shown.id = NewId("snap-");
  snapshot.shown.volume_id = volume.shown.id;
  snapshot.shown.state = "pending";
  snapshot.shown.description = description;
  snapshot.shown.volume_size_gib = volume.shown.size_gib;
  snapshot.shown.start_time_ns = Now() * kNanosPerMs;
  snapshot.shown.tags = tags;
  snapshot.visible_ms = VisibleAt();
  snapshot.lineage = volume.lineage;
  snapshot.version = VersionOf(volume);
  Note(NodeOfTags(tags), fmt::format("  {} is of {}", snapshot.shown.id, volume.shown.id));
  At(Now() + Between(5'000, 300'000), EventKind::kSnapshotDone, snapshot.shown.id);
  return snapshots_.Add(std::move(snapshot));
}

Ec2Result<Ec2Snapshot> SimulatedCloud::CreateSnapshot(const std::string& volume_id,
                                                      const std::string& description,
                                                      const Ec2Tags& tags) {
  return Call<Ec2Snapshot>("CreateSnapshot", volume_id, true, [&]() -> Ec2Result<Ec2Snapshot> {
    const SimVolume* const volume = volumes_.Find(volume_id);
    if (volume == nullptr) return Refuse("InvalidVolume.NotFound", volume_id);
    if (volume->shown.state == "creating") return Refuse("IncorrectState", volume_id);
    return MakeSnapshot(*volume, description, tags).shown;
  });
}

Ec2Result<std::vector<Ec2Snapshot>> SimulatedCloud::CreateSnapshots(
    const std::string& instance_id, bool exclude_root,
    const std::vector<std::string>& exclude_volumes, const std::string& description,
    const Ec2Tags& tags) {
  return Call<std::vector<Ec2Snapshot>>(
      "CreateSnapshots", instance_id, true, [&]() -> Ec2Result<std::vector<Ec2Snapshot>> {
        const SimInstance* const instance = instances_.Find(instance_id);
        if (instance == nullptr) return Refuse("InvalidInstanceID.NotFound", instance_id);
        if (instance->shown.state != "running" && instance->shown.state != "stopped") {
          return Refuse("IncorrectInstanceState", instance_id + " is " + instance->shown.state);
        }
        std::vector<Ec2Snapshot> made;
        for (const Ec2InstanceDevice& device : instance->shown.devices) {
          if (exclude_root && device.device_name == instance->shown.root_device_name) continue;
          if (std::find(exclude_volumes.begin(), exclude_volumes.end(), device.volume_id) !=
              exclude_volumes.end()) {
            continue;
          }
          const SimVolume* const volume = volumes_.Find(device.volume_id);
          if (volume != nullptr) made.push_back(MakeSnapshot(*volume, description, tags).shown);
        }
        if (made.empty()) return Refuse("InvalidParameterValue", "no volume is left");
        return made;
      });
}

Ec2Result<AwsReceipt> SimulatedCloud::DeleteSnapshot(const std::string& id) {
  return Call<AwsReceipt>("DeleteSnapshot", id, true, [&]() -> Ec2Result<AwsReceipt> {
    const SimSnapshot* const snapshot = snapshots_.Find(id);
    if (snapshot == nullptr) return Refuse("InvalidSnapshot.NotFound", id);
    if (!snapshot->images.empty()) return Refuse("InvalidSnapshot.InUse", id);
    if (snapshot->shown.state == "completed") {
      CheckCopies("snapshot", id, snapshot->lineage, snapshot->version,
                  NodeOfTags(snapshot->shown.tags));
    }
    Goes("snapshot", id, false);
    snapshots_.Remove(id);
    return AwsReceipt{};
  });
}

Ec2Result<std::vector<Ec2Snapshot>> SimulatedCloud::DescribeSnapshots(const Ec2Query& query) {
  return Call<std::vector<Ec2Snapshot>>(
      "DescribeSnapshots", query.ids.empty() ? "" : query.ids.front(), false, [&]() {
        return Describe<SimSnapshot, Ec2Snapshot>(&snapshots_, query, "InvalidSnapshot.NotFound",
                                                  SnapshotFact);
      });
}

Ec2Result<std::string> SimulatedCloud::RegisterImage(const RegisterImageRequest& request) {
  // The name says whose it is: "snapstore-<node>-<token>".
  const size_t node = request.name.find("smi-");
  const std::string about =
      node == std::string::npos
          ? ""
          : request.name.substr(node, request.name.find('-', node + 4) - node);
  return Call<std::string>("RegisterImage", about, true, [&]() -> Ec2Result<std::string> {
    if (image_names_.contains(request.name)) {
      return Refuse("InvalidAMIName.Duplicate", request.name);
    }
    for (const Ec2BlockDevice& device : request.devices) {
      if (auto refused = CheckVolume(device)) return *std::move(refused);
      const SimSnapshot* const snapshot = snapshots_.Find(device.snapshot_id);
      if (snapshot != nullptr && snapshot->is_foreign) {
        return Refuse("AuthFailure", "Not authorized for images: " + device.snapshot_id);
      }
    }
    SimImage image;
    image.shown.id = NewId("ami-");
    image.shown.name = request.name;
    image.shown.state = "pending";
    image.shown.architecture = request.architecture;
    image.shown.root_device_name = request.root_device_name;
    image.shown.devices = request.devices;
    image.visible_ms = VisibleAt();
    const std::string id = image.shown.id;
    for (const Ec2BlockDevice& device : request.devices) {
      if (SimSnapshot* used = snapshots_.Find(device.snapshot_id)) used->images.insert(id);
    }
    image_names_[request.name] = id;
    images_.Add(std::move(image));
    At(Now() + Between(1'000, 60'000), EventKind::kImageDone, id);
    return id;
  });
}

Ec2Result<std::string> SimulatedCloud::CreateImage(const std::string& instance_id,
                                                   const std::string& name, bool /*no_reboot*/,
                                                   const std::map<std::string, Ec2Tags>& tags) {
  return Call<std::string>("CreateImage", instance_id, true, [&]() -> Ec2Result<std::string> {
    const SimInstance* const instance = instances_.Find(instance_id);
    if (instance == nullptr) return Refuse("InvalidInstanceID.NotFound", instance_id);
    if (instance->shown.state != "running" && instance->shown.state != "stopped") {
      return Refuse("IncorrectInstanceState", instance_id + " is " + instance->shown.state);
    }
    if (image_names_.contains(name)) return Refuse("InvalidAMIName.Duplicate", name);
    const auto tags_of = [&](const char* type) {
      const auto found = tags.find(type);
      return found == tags.end() ? Ec2Tags() : found->second;
    };
    SimImage image;
    image.shown.id = NewId("ami-");
    image.shown.name = name;
    image.shown.state = "pending";
    image.shown.architecture = instance->shown.architecture;
    image.shown.root_device_name = instance->shown.root_device_name;
    image.shown.tags = tags_of("image");
    image.visible_ms = VisibleAt();
    const std::string id = image.shown.id;
    for (const Ec2InstanceDevice& device : instance->shown.devices) {
      const SimVolume* const volume = volumes_.Find(device.volume_id);
      if (volume == nullptr) continue;
      SimSnapshot& snapshot = MakeSnapshot(*volume, name, tags_of("snapshot"));
      snapshot.images.insert(id);
      image.shown.devices.push_back(
          {.device_name = device.device_name, .snapshot_id = snapshot.shown.id});
    }
    image_names_[name] = id;
    images_.Add(std::move(image));
    // After its snapshots.
    At(Now() + Between(300'001, 400'000), EventKind::kImageDone, id);
    return id;
  });
}

Ec2Result<AwsReceipt> SimulatedCloud::DeregisterImage(const std::string& id) {
  return Call<AwsReceipt>("DeregisterImage", id, true, [&]() -> Ec2Result<AwsReceipt> {
    const SimImage* const image = images_.Find(id);
    if (image == nullptr) return Refuse("InvalidAMIID.NotFound", id);
    for (const Ec2BlockDevice& device : image->shown.devices) {
      if (SimSnapshot* snapshot = snapshots_.Find(device.snapshot_id)) snapshot->images.erase(id);
    }
    Goes("image", id, false);
    image_names_.erase(image->shown.name);
    images_.Remove(id);
    return AwsReceipt{};
  });
}

Ec2Result<std::vector<Ec2Image>> SimulatedCloud::DescribeImages(const Ec2Query& query) {
  return Call<std::vector<Ec2Image>>(
      "DescribeImages", query.ids.empty() ? "" : query.ids.front(), false, [&]() {
        return Describe<SimImage, Ec2Image>(&images_, query, "InvalidAMIID.NotFound", ImageFact);
      });
}

}  // namespace snapstore::spot
