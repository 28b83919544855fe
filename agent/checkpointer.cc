#include "agent/checkpointer.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>

#include "agent/checkpoint_image.h"
#include "agent/checkpoint_metadata.h"
#include "agent/process_tree.h"
#include "agent/unlisted_files.h"
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
  SNAP_ASSIGN_OR_RETURN(checkpointer->arena_, Arena::Create(checkpointer->options_.arena_limit));
  return checkpointer;
}

// Before the freeze: what is opened in between is told of next time.
void Checkpointer::NoteUnlisted(const std::vector<pid_t>& pids, CheckpointRecord* record) {
  ListedFiles listed{options_.config.external_files, options_.volumes};
  listed.files.push_back(options_.log_path);
  record->unlisted_files = UnlistedFiles(pids, listed);
  for (const std::string& path : record->unlisted_files) {
    if (!told_unlisted_.insert(path).second) continue;
    LogWarning(
        "{} is written by {} and is neither an external file nor on a volume: after a "
        "restore elsewhere it is missing or of another time",
        path, options_.config.name);
  }
}

Status Checkpointer::Capture(Cell* cell, bool leave_stopped, Captured* captured,
                             CheckpointRecord* record) {
  SNAP_ASSIGN_OR_RETURN(const std::vector<pid_t> pids, DescendantsOf(cell->init_pid()));
  if (pids.empty()) return Status::NotFound("the application has ended");
  NoteUnlisted(pids, record);
  arena_->Clear();
  SNAP_RETURN_IF_ERROR(arena_->Prepare(DumpBytesEstimate(pids) +
                                       ExternalFileBytes(options_.config.external_files) +
                                       kArenaSpareBytes));
  auto while_frozen = [&]() -> Status {
    SNAP_ASSIGN_OR_RETURN(captured->files,
                          CaptureExternalFiles(options_.config.external_files, arena_.get()));
    if (!leave_stopped) return Status::Ok();
    // Should this process be lost before the end, the application must not stand for ever.
    SNAP_RETURN_IF_ERROR(cell->SetHeld(true));
    // The images are complete and do not know of this signal; it is delivered at the thaw, before
    // the application executes anything.
    SNAP_ASSIGN_OR_RETURN(captured->stopped, DescendantsOf(cell->init_pid()));
    SignalAll(captured->stopped, SIGSTOP);
    // CRIU lets the peers' packets in again before this returns to the caller.
    if (options_.keep_connections) {
      captured->quiet = std::make_unique<QuietConnections>(captured->stopped);
    }
    return Status::Ok();
  };
  SNAP_ASSIGN_OR_RETURN(captured->images,
                        criu_->Dump(cell, options_.directory, arena_.get(), while_frozen));
  return Status::Ok();
}

Result<SnapshotSummary> Checkpointer::Store(SnapshotRequest* request) {
  request->parent = parent_id_.empty() ? "none" : parent_id_;
  if (fence_ != nullptr) {
    request->tags.merge(fence_->NextTags());
    request->before_commit = [this] { return fence_->Check(); };
  }
  FirstWarning warnings;
  Result<SnapshotSummary> summary = TakeSnapshot(*repository_, *request, &warnings);
  const bool parent_gone =
      summary.status().Is(StatusCode::kNotFound) || summary.status().Is(StatusCode::kCorruption);
  if (parent_gone && !parent_id_.empty()) {
    // Forgotten by somebody else, or damaged. All that it was compared with it for is still here.
    LogWarning("checkpoint {} cannot be built upon, so all is stored that it held alone: {}",
               parent_id_.substr(0, 12), summary.status().message());
    parent_id_.clear();
    request->parent = "none";
    summary = TakeSnapshot(*repository_, *request, &warnings);
  }
  SNAP_RETURN_IF_ERROR(summary.status());
  if (summary->info.unreadable != 0) {
    return Status::Internal(fmt::format("snapshot {} is not complete: {}", summary->info.id,
                                        warnings.status().message()));
  }
  // Whoever took over before the commit may not know of it.
  if (fence_ != nullptr) {
    SNAP_RETURN_IF_ERROR(fence_->Check().WithContext(
        fmt::format("checkpoint {} is stored, but may not count", summary->info.id)));
  }
  return summary;
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
  for (const CapturedFile& file : captured.files) {
    request.images.push_back(FileSource(file.content, kFilesFolder + file.info.path));
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
  SNAP_ASSIGN_OR_RETURN(const SnapshotSummary summary, Store(&request));
  record->snapshot_id = summary.info.id;
  record->parent_id = summary.info.parent_id;
  record->bytes_read = summary.info.bytes_read;
  record->bytes_new = summary.info.bytes_new;
  record->bytes_stored = summary.info.bytes_stored;
  return Status::Ok();
}

Status Checkpointer::RunHooks(HookEvent event, const Cell& cell, const CheckpointRecord& record,
                              bool leave_stopped) const {
  if (options_.hooks == nullptr) return Status::Ok();
  HookContext context;
  context.app = options_.config.name;
  context.state_directory = std::filesystem::path(options_.log_path).parent_path();
  context.trigger = record.trigger;
  context.checkpoint_id = parent_id_;
  context.attempt = record.number;
  context.pid = cell.init_pid();
  context.time_ns = record.time_ns;
  context.final = leave_stopped;
  if (record.frozen_ms > 0) context.frozen_ms = record.frozen_ms;
  context.error = record.status.ok() ? "" : record.status.message();
  return options_.hooks->Run(event, context);
}

CheckpointRecord Checkpointer::Take(Cell* cell, const std::string& trigger, bool leave_stopped) {
  CheckpointRecord record;
  record.number = ++count_;
  record.trigger = trigger;
  record.time_ns = WallNanos();
  const Stopwatch watch;
  if (const std::string why = fence_ == nullptr ? "" : fence_->superseded(); !why.empty()) {
    record.status = Status::Conflict(why);
    return record;
  }
  Captured captured;
  record.status = RunHooks(HookEvent::kPreFreeze, *cell, record, leave_stopped);
  if (record.status.ok()) record.status = Capture(cell, leave_stopped, &captured, &record);
  if (cell->WasToldToEnd()) {
    // Restored it would go on ending; and CRIU may have met processes that ended under its hands.
    record.status = Status::Cancelled(
        "the machine is shutting down, and has told the application to end: what it is now is not "
        "worth keeping");
  }
  if (record.status.ok()) {
    record.frozen_ms = static_cast<double>(captured.images.stats.frozen_us) / 1000;
    for (const CapturedFile& file : captured.files) record.bytes_external += file.info.size;
    record.bytes_captured = TotalBytes(captured.images.files) + record.bytes_external;
    record.bytes_grown_frozen = arena_->grown();
  }
  const Status thawed = RunHooks(HookEvent::kPostThaw, *cell, record, leave_stopped);
  if (!thawed.ok() && (leave_stopped || !record.status.ok())) {
    // There is nothing after a final checkpoint that could make good for it.
    LogWarning("{}", thawed.message());
  } else if (!thawed.ok()) {
    record.status = thawed;
  }
  if (record.status.ok() && leave_stopped) {
    record.status = Commit(captured, cell->root_pid(), &record);
  } else if (record.status.ok()) {
    RunInBackground(options_.background,
                    [&] { record.status = Commit(captured, cell->root_pid(), &record); });
  }
  if (captured.quiet != nullptr) {
    record.status.ok() ? captured.quiet->Finish() : captured.quiet->Undo();
  }
  quiet_ = std::move(captured.quiet);
  if (!record.status.ok() && leave_stopped) {
    SignalAll(captured.stopped, SIGCONT);
    (void)cell->SetHeld(false);
  }
  record.seconds = watch.Seconds();
  if (record.status.ok()) parent_id_ = record.snapshot_id;
  return record;
}

}  // namespace snapstore::agent
