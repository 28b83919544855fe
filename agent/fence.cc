#include "agent/fence.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent/checkpoint_order.h"
#include "agent/checkpoint_reader.h"
#include "agent/state_files.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// On instances of EC2's newer kinds; empty elsewhere.
std::string InstanceId() {
  const auto bytes = ReadWholeFile("/sys/devices/virtual/dmi/id/board_asset_tag", 256);
  std::string id = bytes.ok() ? std::string(AsText(*bytes)) : "";
  while (id.ends_with('\n')) id.pop_back();
  return id.starts_with("i-") ? id : "";
}

// Anybody who may write to the repository could have put it there.
std::string Printable(std::string text) {
  constexpr size_t kLengthMax = 255;
  text.resize(std::min(text.size(), kLengthMax));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

std::string TellHolder(const Claim& claim) {
  if (claim.host.empty()) return fmt::format("superseded by another agent (epoch {})", claim.epoch);
  const std::string instance = claim.instance.empty() ? "" : " (" + Printable(claim.instance) + ")";
  return fmt::format("superseded by the agent on {}{} since {} (epoch {}, process {})",
                     Printable(claim.host), instance, FormatTime(claim.time_ns), claim.epoch,
                     claim.process);
}

}  // namespace

Fence::Fence(Repository* repository, Options options)
    : repository_(repository), options_(std::move(options)) {}

Fence::~Fence() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  if (looker_.joinable()) looker_.join();
}

Result<std::vector<SnapshotInfo>> Fence::Enter(bool running) {
  if (epoch() != 0) {
    SNAP_RETURN_IF_ERROR(Check());
    return ListCheckpoints(repository_, options_.app);
  }
  if (running) {
    auto adopted = Adopt();
    const StatusCode code = adopted.status().code();
    if (code != StatusCode::kNotFound && code != StatusCode::kCorruption) return adopted;
    LogDebug("{} was started without a claim: {}", options_.app, adopted.status().message());
  }
  return Begin();
}

Result<std::vector<SnapshotInfo>> Fence::Begin() {
  // Those of a copied repository have epochs, but no claims beside them.
  SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> before,
                        ListCheckpoints(repository_, options_.app));
  uint64_t above = 0;
  for (const SnapshotInfo& one : before) above = std::max(above, EpochOf(one));
  const Result<Claim> claim =
      TakeClaim(*repository_, {.name = options_.app, .above = above, .instance = InstanceId()});
  if (!claim.ok()) return claim.status().WithContext("claim the application");
  // Only now: whatever another agent was told to be committed is listed.
  SNAP_ASSIGN_OR_RETURN(std::vector<SnapshotInfo> checkpoints,
                        ListCheckpoints(repository_, options_.app));
  std::erase_if(checkpoints, [&](const SnapshotInfo& one) { return EpochOf(one) >= claim->epoch; });
  std::vector<std::string> ids;
  ids.reserve(checkpoints.size());
  for (const SnapshotInfo& one : checkpoints) ids.push_back(one.id);
  const Status recorded = RecordClaimBase(*repository_, *claim, ids);
  if (!recorded.ok()) return recorded.WithContext("claim the application");
  SNAP_RETURN_IF_ERROR(WriteClaimFile(options_.state_directory,
                                      {options_.app, repository_->id(), claim->epoch, claim->id}));
  Hold(*claim, checkpoints);
  SNAP_RETURN_IF_ERROR(Check());
  LogInfo("{} is claimed, epoch {}", options_.app, claim->epoch);
  return checkpoints;
}

Result<std::vector<SnapshotInfo>> Fence::Adopt() {
  SNAP_ASSIGN_OR_RETURN(const ClaimFile file, ReadClaimFile(options_.state_directory));
  if (file.app != options_.app || file.repository != repository_->id()) {
    return Status::NotFound(
        fmt::format("{}: its claim is of another application", options_.state_directory));
  }
  SNAP_ASSIGN_OR_RETURN(std::vector<SnapshotInfo> checkpoints,
                        ListCheckpoints(repository_, options_.app));
  Claim claim{.name = options_.app, .epoch = file.epoch, .id = file.id};
  Hold(std::move(claim), checkpoints);
  SNAP_RETURN_IF_ERROR(Check());
  return checkpoints;
}

void Fence::Hold(Claim claim, const std::vector<SnapshotInfo>& checkpoints) {
  const std::lock_guard lock(mutex_);
  for (const SnapshotInfo& one : checkpoints) {
    if (EpochOf(one) == claim.epoch) sequence_ = std::max(sequence_, SequenceOf(one));
  }
  claim_ = std::move(claim);
  looker_ = std::thread([this] { LookLoop(); });
}

void Fence::LookLoop() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, options_.look_every, [this] { return ending_; })) {
    lock.unlock();
    const Status looked = Check();
    lock.lock();
    if (looked.Is(StatusCode::kConflict)) {
      lock.unlock();
      if (options_.on_superseded != nullptr) options_.on_superseded();
      return;
    }
    // It is asked again soon, and before anything is committed.
    if (!looked.ok()) LogDebug("look for other agents: {}", looked.message());
  }
}

Status Fence::Check() {
  uint64_t epoch = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!superseded_.empty()) return Status::Conflict(superseded_);
    epoch = claim_.epoch;
  }
  const auto higher = FindHigherClaim(*repository_, options_.app, epoch);
  if (!higher.ok()) return higher.status().WithContext("look for other agents");
  if (!higher->has_value()) return Status::Ok();
  const std::lock_guard lock(mutex_);
  if (superseded_.empty()) superseded_ = TellHolder(**higher);
  return Status::Conflict(superseded_);
}

std::string Fence::superseded() const {
  const std::lock_guard lock(mutex_);
  return superseded_;
}

uint64_t Fence::epoch() const {
  const std::lock_guard lock(mutex_);
  return claim_.epoch;
}

std::map<std::string, std::string> Fence::NextTags() {
  const std::lock_guard lock(mutex_);
  return {{kEpochTag, fmt::format("{}", claim_.epoch)},
          {kSequenceTag, fmt::format("{}", ++sequence_)}};
}

}  // namespace snapstore::agent
