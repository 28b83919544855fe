// What workers do for volumes and snapshots, and the blocks of snapshots.
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/hmac.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/cloud.h"
#include "orchestrator/localcloud/machine/loop_device.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

constexpr int kGibShift = 30;
constexpr uint64_t kBlocksPageMin = 100;
constexpr uint64_t kBlocksPageMax = 10000;

pid_t PidOf(const std::optional<Json>& instance) {
  return instance ? instance->value("_pid", -1) : -1;
}

// Binds a token to its block: nobody can ask for another with it.
std::string BlockToken(const CloudKeys& keys, const std::string& snapshot, uint64_t index) {
  const std::string text = fmt::format("block:{}:{}", snapshot, index);
  std::array<uint8_t, 32> out{};
  unsigned length = 0;
  HMAC(EVP_sha256(), keys.instance_secret.data(), static_cast<int>(keys.instance_secret.size()),
       reinterpret_cast<const uint8_t*>(text.data()), text.size(), out.data(), &length);
  return HexEncode(out);
}

ApiError Validation(std::string message) { return {"ValidationException", std::move(message)}; }

}  // namespace

void Cloud::MakeVolume(const std::string& id) {
  const std::optional<Json> volume = Read(id);
  if (!volume || volume->value("status", "") != "creating") return;
  const uint64_t bytes = volume->value("size", uint64_t{0}) << kGibShift;
  const std::string snapshot_id = volume->value("snapshotId", "");
  const std::optional<Json> snapshot = snapshot_id.empty() ? std::nullopt : Read(snapshot_id);
  const Json& attachments = volume->at("attachmentSet");
  Status made;
  if (!snapshot_id.empty() && !snapshot) {
    made = Status::NotFound(fmt::format("snapshot {} is gone", snapshot_id));
  } else if (!snapshot || snapshot->value("_blank", false)) {
    made = volumes_->Create(id, bytes);
  } else {
    made = volumes_->Restore(id, snapshot->value("_stored", ""), snapshot->value("volumeId", ""),
                             bytes);
    // EC2 leaves that to the instance; for roots cloud-init does it.
    const bool larger = volume->at("size") != snapshot->at("volumeSize");
    if (made.ok() && larger && !attachments.empty()) {
      const std::optional<Json> instance = Read(attachments[0].at("instanceId"));
      if (instance && instance->value("rootDeviceName", "") == attachments[0].at("device")) {
        made = volumes_->GrowFileSystem(id);
      }
    }
  }
  if (!made.ok()) LogError("{}: {}", id, made.message());
  const std::lock_guard lock(mutex_);
  if (records_->Find(id) == nullptr) return;
  Records::Transaction tx(records_.get());
  Json& record = tx.Edit(id);
  record["status"] = !made.ok()                        ? "error"
                     : record["attachmentSet"].empty() ? "available"
                                                       : "in-use";
  Commit(&tx);
}

void Cloud::DeleteVolumeWork(const std::string& id) {
  const auto loops = LoopsOf(volumes_->Path(id));
  for (const LoopDevice& loop : loops.ok() ? *loops : std::vector<LoopDevice>()) {
    (void)DetachLoop(loop, /*force=*/true);
  }
  const Status removed = volumes_->Remove(id);
  if (!removed.ok()) {
    LogError("{}: {}", id, removed.message());
    return;
  }
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  tx.Remove(id);
  Commit(&tx);
}

void Cloud::AttachVolumeWork(const std::string& id) {
  const std::optional<Json> volume = Read(id);
  if (!volume || volume->at("attachmentSet").empty()) return;
  const Json attachment = volume->at("attachmentSet")[0];
  const std::optional<Json> instance = Read(attachment.at("instanceId"));
  Status attached;
  // One that is stopped takes it up when it starts.
  if (PidOf(instance) > 0) {
    const Result<LoopDevice> loop = AttachLoop(volumes_->Path(id));
    attached = loop.status();
    const std::string node =
        fmt::format("/proc/{}/root{}", PidOf(instance), attachment.at("device").get<std::string>());
    (void)unlink(node.c_str());
    if (attached.ok() && mknod(node.c_str(), S_IFBLK | 0660, loop.value().number) != 0) {
      attached = Status::FromErrno(errno, "make " + node);
    }
  }
  if (!attached.ok()) {
    LogWarning("{}: {}", id, attached.message());
    return;  // tried again while the instance runs
  }
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  Json& record = tx.Edit(id);
  if (record["attachmentSet"].empty() ||
      record["attachmentSet"][0].value("status", "") != "attaching") {
    return;
  }
  record["attachmentSet"][0]["status"] = "attached";
  Commit(&tx);
}

void Cloud::DetachVolumeWork(const std::string& id) {
  const std::optional<Json> volume = Read(id);
  if (!volume || volume->at("attachmentSet").empty()) return;
  const Json attachment = volume->at("attachmentSet")[0];
  const std::optional<Json> instance = Read(attachment.at("instanceId"));
  const auto loops = LoopsOf(volumes_->Path(id));
  for (const LoopDevice& loop : loops.ok() ? *loops : std::vector<LoopDevice>()) {
    const Status detached = DetachLoop(loop, volume->value("_force", false));
    // Mounted in the instance: EC2 too says "busy" until it is unmounted.
    if (!detached.ok()) return;
  }
  (void)unlink(
      fmt::format("/proc/{}/root{}", PidOf(instance), attachment.at("device").get<std::string>())
          .c_str());
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  Json& record = tx.Edit(id);
  record["attachmentSet"] = Json::array();
  record["status"] = "available";
  record.erase("_force");
  if (records_->Find(attachment.at("instanceId")) != nullptr) {
    Json& list = tx.Edit(attachment.at("instanceId"))["_volumes"];
    Json kept = Json::array();
    for (const Json& other : list) {
      if (other != id) kept.push_back(other);
    }
    list = std::move(kept);
  }
  Commit(&tx);
}

void Cloud::Capture(const std::vector<std::string>& snapshot_ids) {
  // All are frozen before the first is copied, so that they show one instant.
  FrozenMounts frozen;
  std::map<std::string, std::string> volume_of;
  Status captured;
  for (const std::string& id : snapshot_ids) {
    const std::optional<Json> snapshot = Read(id);
    if (!snapshot) continue;
    const std::string volume_id = snapshot->at("volumeId");
    volume_of[id] = volume_id;
    const std::optional<Json> volume = Read(volume_id);
    const auto loops = LoopsOf(volumes_->Path(volume_id));
    if (!volume || !loops.ok() || (*loops).empty()) continue;
    const Json& attachments = volume->at("attachmentSet");
    if (attachments.empty()) continue;
    const pid_t pid = PidOf(Read(attachments[0].at("instanceId")));
    if (pid > 0) captured = frozen.Freeze(pid, (*loops).front().number);
    // What was written to the device itself.
    const Result<UniqueFd> device = OpenFile((*loops).front().path, O_RDONLY);
    if (device.ok()) (void)fsync(device.value().get());
    if (!captured.ok()) break;
  }
  for (const auto& [id, volume_id] : volume_of) {
    if (captured.ok()) captured = volumes_->Capture(volume_id, id);
  }
  frozen.Thaw();
  const std::lock_guard lock(mutex_);
  for (const std::string& id : snapshot_ids) busy_.erase(id);
  if (captured.ok()) return;
  LogError("snapshot: {}", captured.message());
  Records::Transaction tx(records_.get());
  for (const std::string& id : snapshot_ids) {
    if (records_->Find(id) == nullptr) continue;
    Json& record = tx.Edit(id);
    record["status"] = "error";
    record["statusMessage"] = captured.message();
  }
  Commit(&tx);
}

void Cloud::StoreSnapshot(const std::string& id) {
  const std::optional<Json> snapshot = Read(id);
  if (!snapshot || snapshot->value("status", "") != "pending") return;
  const std::string volume_id = snapshot->at("volumeId");
  // Killed between the answer's record and the copy: nobody was told of it.
  if (!volumes_->IsCaptured(id)) {
    const Status captured = volumes_->Capture(volume_id, id);
    if (!captured.ok()) LogError("{}: {}", id, captured.message());
  }
  std::string parent;
  {
    const std::lock_guard lock(mutex_);
    std::string newest;
    for (const std::string& other : records_->Ids("snap-")) {
      const Json& record = *records_->Find(other);
      if (record.value("volumeId", "") != volume_id || !record.contains("_stored")) continue;
      if (record.value("startTime", "") < newest) continue;
      newest = record.value("startTime", "");
      parent = record.at("_stored");
    }
  }
  const Result<std::string> stored = volumes_->Store(volume_id, id, parent);
  if (!stored.ok()) LogError("{}: {}", id, stored.status().message());
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  if (tx.Find(id) == nullptr) {
    // Deleted meanwhile.
    if (stored.ok()) tx.Edit("!forget/" + stored.value()) = {{"snapshot", id}};
    volumes_->Discard(id);
    Commit(&tx);
    return;
  }
  Json& record = tx.Edit(id);
  record["status"] = stored.ok() ? "completed" : "error";
  record["progress"] = stored.ok() ? "100%" : "0%";
  if (stored.ok()) {
    record["_stored"] = stored.value();
  } else {
    record["statusMessage"] = stored.status().message();
  }
  // Images wait for all of their snapshots.
  for (const std::string& image : tx.Ids("ami-")) {
    if (tx.Find(image)->value("imageState", "") != "pending") continue;
    bool all = true;
    bool failed = false;
    for (const std::string& part :
         ValuesAt(*tx.Find(image), "blockDeviceMapping.*.ebs.snapshotId")) {
      const Json* other = tx.Find(part);
      const std::string status = other == nullptr ? "error" : other->value("status", "");
      all = all && status == "completed";
      failed = failed || status == "error";
    }
    if (all || failed) tx.Edit(image)["imageState"] = all ? "available" : "failed";
  }
  Commit(&tx);
}

void Cloud::ForgetStored(const std::string& key) {
  const Status forgotten = volumes_->Forget(key.substr(key.find('/') + 1));
  if (!forgotten.ok() && !forgotten.Is(StatusCode::kNotFound)) {
    LogWarning("{}: {}", key, forgotten.message());
    return;
  }
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  tx.Remove(key);
  Commit(&tx);
}

namespace {

struct StoredSnapshot {
  std::string stored;  // empty: an empty volume
  std::string volume_id;
  uint64_t gib = 0;
};

ApiResult<StoredSnapshot> StoredOf(const std::optional<Json>& record, const std::string& id) {
  if (!record) {
    return ApiError{"ResourceNotFoundException",
                    fmt::format("The snapshot '{}' does not exist.", id), 404};
  }
  if (record->value("status", "") != "completed") {
    return Validation(fmt::format("The snapshot {} is not completed", id));
  }
  return StoredSnapshot{record->value("_stored", ""), record->value("volumeId", ""),
                        record->value("volumeSize", uint64_t{0})};
}

}  // namespace

ApiResult<Json> Cloud::ListBlocks(const std::string& first, const std::string& snapshot_id,
                                  const Parameters& query) {
  API_RETURN_IF_ERROR(
      query.Check({"firstSnapshotId", "maxResults", "pageToken", "startingBlockIndex"}));
  SNAP_ASSIGN_OR_RETURN(const StoredSnapshot after, StoredOf(Read(snapshot_id), snapshot_id));
  SNAP_ASSIGN_OR_RETURN(const uint64_t most, query.Number("maxResults", kBlocksPageMax));
  SNAP_ASSIGN_OR_RETURN(uint64_t start, query.Number("startingBlockIndex", 0));
  if (most < kBlocksPageMin || most > kBlocksPageMax) {
    return Validation(
        fmt::format("maxResults must be from {} to {}", kBlocksPageMin, kBlocksPageMax));
  }
  SNAP_ASSIGN_OR_RETURN(start, query.Number("pageToken", start));
  Result<std::vector<uint64_t>> blocks = std::vector<uint64_t>();
  if (!first.empty()) {
    SNAP_ASSIGN_OR_RETURN(const StoredSnapshot before, StoredOf(Read(first), first));
    if (before.volume_id != after.volume_id) {
      return Validation("The snapshots are of different volumes");
    }
    blocks = volumes_->ChangedBlocks(before.stored, after.stored, after.volume_id);
  } else if (!after.stored.empty()) {
    blocks = volumes_->Blocks(after.stored, after.volume_id);
  }
  if (!blocks.ok()) return InternalError(blocks.status());
  Json list = Json::array();
  Json answer = {{"VolumeSize", after.gib},
                 {"BlockSize", VolumeFiles::kBlockBytes},
                 {"ExpiryTime", WallNanos() / kNanosPerSecond + 3600}};
  for (const uint64_t index : blocks.value()) {
    if (index < start) continue;
    if (list.size() == most) {
      answer["NextToken"] = std::to_string(index);
      break;
    }
    Json block = {{"BlockIndex", index}};
    if (first.empty()) {
      block["BlockToken"] = BlockToken(keys_, snapshot_id, index);
    } else {
      block["FirstBlockToken"] = BlockToken(keys_, first, index);
      block["SecondBlockToken"] = BlockToken(keys_, snapshot_id, index);
    }
    list.push_back(std::move(block));
  }
  answer[first.empty() ? "Blocks" : "ChangedBlocks"] = std::move(list);
  return answer;
}

ApiResult<Bytes> Cloud::ReadBlock(const std::string& snapshot_id, const std::string& index,
                                  const std::string& token) {
  SNAP_ASSIGN_OR_RETURN(const StoredSnapshot snapshot, StoredOf(Read(snapshot_id), snapshot_id));
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(index.data(), index.data() + index.size(), number);
  if (error != std::errc() || end != index.data() + index.size() ||
      token != BlockToken(keys_, snapshot_id, number)) {
    return Validation("The block token is not one of this block");
  }
  Result<Bytes> bytes = volumes_->ReadBlock(snapshot.stored, snapshot.volume_id, number);
  if (!bytes.ok()) return InternalError(bytes.status());
  return std::move(bytes).value();
}

}  // namespace snapstore::localcloud
