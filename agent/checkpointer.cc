#include "agent/checkpointer.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>

#include "agent/checkpoint_image.h"
#include "agent/checkpoint_metadata.h"
#include "agent/process_tree.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "snapstore/snapshot.h"

namespace snapstore::agent {
namespace {

// For the small images and what the application grows between the estimate and the freeze.
constexpr uint64_t kArenaSpareBytes = 32 << 20;

void SignalAll(const std::vector<pid_t>& pids, int number) {
  for (const pid_t pid : pids) kill(pid, number);
}

uint64_t TotalBytes(const std::vector<ArenaFile>& files) {
  uint64_t bytes = 0;
  for (const ArenaFile& file : files) bytes += file.size;
  return bytes;
}

// A source that could not be stored must fail the checkpoint: half of one is of no use.
class FirstWarning : public Observer {
 public:
  void OnWarning(const Warning& warning) override {
    if (status_.ok()) status_ = warning.status.WithContext(warning.item);
  }
  const Status& status() const { return status_; }

 private:
  Status status_;
};

}  // namespace

Result<std::unique_ptr<Checkpointer>> Checkpointer::Create(Options options, Repository* repository,
                                                           const CriuDriver* criu) {
  std::unique_ptr<Checkpointer> checkpointer(
      new Checkpointer(std::move(options), repository, criu));
  SNAP_ASSIGN_OR_RETURN(checkpointer->arena_, Arena::Create(checkpointer->options_.arena_limit,
                                                            checkpointer->options_.spool));
  return checkpointer;
}

Status Checkpointer::Capture(Cell* cell, bool leave_stopped, Captured* captured) {
  // Whoever stands still afterwards waits for the comparison anyway.
  Status status = CaptureOnce(cell, leave_stopped, /*exact_files=*/leave_stopped, captured);
  if (!status.Is(StatusCode::kConflict)) return status;
  LogInfo("captured once more: {}", status.message());
  return CaptureOnce(cell, leave_stopped, /*exact_files=*/true, captured);
}

Status Checkpointer::CaptureOnce(Cell* cell, bool leave_stopped, bool exact_files,
                                 Captured* captured) {
  SNAP_ASSIGN_OR_RETURN(const std::vector<pid_t> pids, DescendantsOf(cell->init_pid()));
  if (pids.empty()) return Status::NotFound("the application has ended");
  arena_->Clear();
  SNAP_RETURN_IF_ERROR(
      arena_->Prepare(DumpBytesEstimate(pids) + external_.Prepare(parent_id_) + kArenaSpareBytes));
  auto while_frozen = [&]() -> Status {
    SNAP_ASSIGN_OR_RETURN(const std::vector<pid_t> frozen, DescendantsOf(cell->init_pid()));
    SNAP_ASSIGN_OR_RETURN(captured->files,
                          external_.Capture(frozen, parent_id_, exact_files, arena_.get()));
    if (!leave_stopped) return Status::Ok();
    // The images are complete and do not know of this signal; it is delivered at the thaw, before
    // the application executes anything.
    captured->stopped = frozen;
    SignalAll(captured->stopped, SIGSTOP);
    return Status::Ok();
  };
  SNAP_ASSIGN_OR_RETURN(captured->images,
                        criu_->Dump(cell, options_.directory, arena_.get(), while_frozen));
  captured->frozen_us += captured->images.stats.frozen_us;
  SNAP_RETURN_IF_ERROR(arena_->status());
  return external_.Finish(&captured->files);
}

Status Checkpointer::Commit(const Captured& captured, int root_pid, CheckpointRecord* record) {
  CheckpointMetadata metadata;
  metadata.app = options_.config.name;
  metadata.run_cmd = options_.config.run_cmd;
  metadata.time_ns = record->time_ns;
  metadata.criu_version = criu_->version();
  metadata.platform = platform_;
  metadata.frozen_ms = record->frozen_ms;
  metadata.root_pid = root_pid;
  metadata.log_path = options_.log_path;
  struct stat log {};
  if (stat(options_.log_path.c_str(), &log) == 0) metadata.log_mode = log.st_mode & 07777;
  for (const CapturedFile& file : captured.files) metadata.external_files.push_back(file.info);
  const std::string json = metadata.ToJson();

  SnapshotRequest request;
  SNAP_ASSIGN_OR_RETURN(request.images, ImageSources(captured.images.files));
  std::vector<std::unique_ptr<CapturedFileReader>> readers;
  for (const CapturedFile& file : captured.files) {
    const std::string name = kFilesFolder + file.info.path;
    if (file.kind == CaptureKind::kWhole) {
      request.images.push_back(FileSource(file.content, name));
    } else {
      readers.push_back(std::make_unique<CapturedFileReader>(&file));
      request.volumes.push_back(readers.back()->Source(name));
    }
  }
  MemorySource description;
  description.name = kMetadataName;
  description.size = json.size();
  description.extents = {{0, AsBytes(json)}};
  request.images.push_back(std::move(description));
  request.tags = {{kAppTag, options_.config.name},
                  {kKindTag, kCheckpointKind},
                  {"snapstore.trigger", record->trigger},
                  {"snapstore.frozen_ms", fmt::format("{:.1f}", record->frozen_ms)}};
  request.parent = parent_id_.empty() ? "none" : parent_id_;
  FirstWarning warnings;
  SNAP_ASSIGN_OR_RETURN(const SnapshotSummary summary,
                        TakeSnapshot(*repository_, request, &warnings));
  if (summary.info.unreadable != 0) {
    return Status::Internal(fmt::format("snapshot {} is not complete: {}", summary.info.id,
                                        warnings.status().message()));
  }
  record->snapshot_id = summary.info.id;
  record->parent_id = summary.info.parent_id;
  record->bytes_read = summary.info.bytes_read;
  record->bytes_new = summary.info.bytes_new;
  record->bytes_stored = summary.info.bytes_stored;
  return Status::Ok();
}

CheckpointRecord Checkpointer::Take(Cell* cell, const std::string& trigger, bool leave_stopped) {
  CheckpointRecord record;
  record.number = ++count_;
  record.trigger = trigger;
  record.time_ns = WallNanos();
  const Stopwatch watch;
  Captured captured;
  record.status = Capture(cell, leave_stopped, &captured);
  if (cell->WasToldToEnd()) {
    // Restored it would go on ending; and CRIU may have met processes that ended under its hands.
    record.status = Status::Cancelled(
        "the machine is shutting down, and has told the application to end: what it is now is not "
        "worth keeping");
  }
  if (record.status.ok()) {
    record.frozen_ms = static_cast<double>(captured.frozen_us) / 1000;
    for (const CapturedFile& file : captured.files) record.bytes_external += file.info.size;
    record.bytes_captured = TotalBytes(captured.images.files) + record.bytes_external;
    record.bytes_grown_frozen = arena_->grown();
    record.status = Commit(captured, cell->root_pid(), &record);
  }
  if (!record.status.ok()) SignalAll(captured.stopped, SIGCONT);
  record.seconds = watch.Seconds();
  if (record.status.ok()) {
    parent_id_ = record.snapshot_id;
    external_.Committed(captured.files, parent_id_);
  }
  return record;
}

}  // namespace snapstore::agent
