// Of the supervisor: restores, and an application whose memory has not all arrived.
#include <fmt/format.h>

#include "agent/checkpoint_metadata.h"
#include "agent/held_connections.h"
#include "agent/supervisor.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
// Until the application runs, see NoteRunning.
Status Supervisor::HoldPeers(const CheckpointReader& reader) const {
  SNAP_ASSIGN_OR_RETURN(const std::vector<TcpConnection> connections, reader.Connections());
  if (connections.empty()) return Status::Ok();
  const Status held = HoldConnections(options_.config.name, connections);
  if (!held.ok()) LogWarning("connections may be reset before they go on: {}", held.message());
  return Status::Ok();
}

Status Supervisor::TryRestore(const SnapshotInfo& checkpoint) {
  LogInfo("restoring checkpoint {} of {}", checkpoint.id.substr(0, 12),
          FormatTime(checkpoint.time_ns));
  const Stopwatch watch;
  SNAP_ASSIGN_OR_RETURN(const std::shared_ptr<CheckpointReader> reader,
                        CheckpointReader::Open(repository_, checkpoint.id));
  NoteNewest(checkpoint, reader->metadata().platform.cpu_features);
  SNAP_RETURN_IF_ERROR(CheckCanResume(reader->metadata().platform, Platform::OfThisMachine()));
  RestoreChoices choices = options_.choices;
  if (!lazy_allowed_) choices.lazy = LazyChoice::kOff;
  const auto tag = checkpoint.tags.find(kTriggerTag);
  const std::string trigger = tag == checkpoint.tags.end() ? "" : tag->second;
  if (choices.tcp == TcpChoice::kQuiet) choices.tcp = TcpChoice::kAuto;
  if (choices.tcp == TcpChoice::kKeep ||
      (choices.tcp == TcpChoice::kAuto && trigger == kFinalTrigger)) {
    SNAP_RETURN_IF_ERROR(HoldPeers(*reader));
  }
  SNAP_ASSIGN_OR_RETURN(RestoredApplication restored,
                        RestoreApplication(*criu_, criu_directory_, reader, trigger, choices,
                                           [this] { return NewCell(); }));
  cell_ = std::move(restored.cell);
  checkpointer_->set_parent(checkpoint.id);
  if (restored.lazy != nullptr) lazy_hold_.emplace(keeper_.get());
  std::lock_guard lock(mutex_);
  lazy_ = std::move(restored.lazy);
  status_.connections = restored.connections;
  status_.restored_from = checkpoint.id;
  status_.restore_seconds = watch.Seconds();
  status_.start_reason =
      fmt::format("restored from the checkpoint of {}", FormatTime(checkpoint.time_ns));
  return Status::Ok();
}

void Supervisor::ForgetMemory() {
  std::unique_ptr<LazyRestore> lazy;
  {
    const std::lock_guard lock(mutex_);
    if (lazy_ == nullptr) return;
    status_.lazy = lazy_->progress();
    lazy = std::move(lazy_);
  }
  lazy_hold_.reset();
  repository_->LiftBandwidthLimits(false);
}

Status Supervisor::HandleMemory() {
  if (lazy_ == nullptr) return Status::Ok();
  const LazyProgress progress = lazy_->progress();
  if (!progress.status.ok()) return RestartWithoutMemory(progress.status);
  if (!progress.done) {
    if (StopWaits()) {
      lazy_->Hurry();
      repository_->LiftBandwidthLimits(true);
    }
    return Status::Ok();
  }
  LogInfo("all memory is there: {} bytes in {:.2f} s, {} pages were waited for", progress.bytes,
          progress.seconds, progress.touched);
  ForgetMemory();
  // For what has been waiting.
  Wake();
  return options_.outlive ? cell_->Outlive() : Status::Ok();
}

// The application may stand anywhere. Whole restores do not depend on the store afterwards.
Status Supervisor::RestartWithoutMemory(const Status& why) {
  if (why.Is(StatusCode::kCorruption)) keeper_->Doubt();
  lazy_allowed_ = false;
  return StartOver(fmt::format("memory did not arrive after a lazy restore ({})", why.message()));
}

}  // namespace snapstore::agent
