#include "agent/checkpointer.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "agent/checkpoint_image.h"
#include "agent/checkpoint_metadata.h"
#include "agent/hidden_pages.h"
#include "agent/process_tree.h"
#include "agent/unlisted_files.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "snapstore/maintain.h"
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

// Whether that commit failed because of what it was, not because of the store's mood: then it may
// be the parent that is gone or bad.
bool MayBeTheParents(const Status& status) {
  return status.Is(StatusCode::kNotFound) || status.Is(StatusCode::kCorruption) ||
         status.Is(StatusCode::kInvalidArgument) || status.Is(StatusCode::kInternal);
}

// Whether it is only whole with what the parent holds.
bool TakesOver(const SnapshotRequest& request) {
  if (std::any_of(request.volumes.begin(), request.volumes.end(),
                  [](const VolumeSource& volume) { return volume.rest_unchanged; })) {
    return true;
  }
  return std::any_of(request.images.begin(), request.images.end(), [](const MemorySource& image) {
    return std::any_of(image.extents.begin(), image.extents.end(),
                       [](const MemorySource::Extent& extent) { return extent.unchanged != 0; });
  });
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
  SpoolOptions spool = checkpointer->options_.spool;
  if (spool.directory.empty()) {
    spool.directory =
        std::filesystem::path(checkpointer->options_.log_path).parent_path() / "spool";
  }
  SNAP_ASSIGN_OR_RETURN(checkpointer->arena_,
                        Arena::Create(checkpointer->options_.arena_limit, spool));
  if (checkpointer->options_.track_pages) {
    auto tracker = DirtyTracker::Create(checkpointer->options_.store_beforehand_min);
    if (tracker.ok()) checkpointer->tracker_ = std::move(*tracker);
    if (!tracker.ok()) LogInfo("all memory is compared: {}", tracker.status().message());
  }
  if (const std::string& library = checkpointer->options_.filter_library; !library.empty()) {
    checkpointer->filter_ = std::make_unique<CriuFilter>(library, checkpointer->options_.directory);
    checkpointer->filter_works_ = true;
  }
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

void Checkpointer::set_parent(std::string id) {
  if (id == parent_id_) return;
  parent_id_ = std::move(id);
  if (tracker_ != nullptr) tracker_->Forget();
}

std::optional<uint64_t> Checkpointer::DirtyBytes(const Cell& cell) const {
  if (tracker_ == nullptr) return std::nullopt;
  const auto pids = DescendantsOf(cell.init_pid());
  return pids.ok() ? tracker_->DirtyBytes(*pids) : std::nullopt;
}

Status Checkpointer::CaptureWithRetries(Cell* cell, bool leave_stopped, Captured* captured,
                                        CheckpointRecord* record) {
  // Whoever stands still afterwards waits for the comparison of files anyway.
  Attempt attempt{.let_go = true, .exact_files = leave_stopped};
  uint64_t frozen_us = 0;
  while (true) {
    Status status = Capture(cell, leave_stopped, attempt, captured, record);
    frozen_us += captured->images.stats.frozen_us;
    captured->frozen_us = frozen_us;
    if (status.ok() || cell->WasToldToEnd()) return status;
    if (captured->lacks_pages && attempt.let_go) {
      LogWarning("checkpoint is begun again, with all memory from CRIU: {}", status.message());
      tracker_->Forget();
      filter_.reset();
      filter_works_ = false;
      attempt.let_go = false;
    } else if (captured->hides && status.Is(StatusCode::kNoSpace) && !filter_->TookEffect()) {
      // There was room for what changed only.
      LogInfo("checkpoint is begun again, since CRIU passes all memory on: {}", status.message());
      filter_works_ = false;
    } else if (captured->files_differ && !attempt.exact_files) {
      LogInfo("checkpoint is begun again: {}", status.message());
      attempt.exact_files = true;
    } else {
      return status;
    }
    *captured = {};
  }
}

void Checkpointer::Plan(const std::vector<pid_t>& pids, Attempt attempt, Captured* captured,
                        CapturePlan* plan, uint64_t* expected) {
  if (tracker_ != nullptr) tracker_->Attach(pids);
  const bool let_go = attempt.let_go && tracker_ != nullptr;
  LetGoPlan spared = let_go ? tracker_->LetGo() : LetGoPlan();
  *expected -= std::min(*expected, spared.bytes_spared);
  PagesByProcess known;
  if (let_go && filter_works_) known = tracker_->Known();
  bool filtered = false;
  if (filter_ != nullptr) {
    const Status prepared = filter_->Prepare(known);
    filtered = prepared.ok();
    if (!filtered) LogWarning("CRIU has to pass all memory on: {}", prepared.message());
  }
  if (filtered) plan->environment = filter_->Environment();
  filter_works_ = filter_works_ && filtered;
  captured->hides = filter_works_ && !known.empty();
  if (!filter_works_) plan->let_go = std::move(spared.pagemaps);
  if (tracker_ == nullptr) return;
  plan->complete = [this, let_go, filtered, captured](std::vector<ArenaFile>* files) {
    Status complete = tracker_->Complete(files, arena_.get());
    if (complete.ok() && filtered) complete = AddHidden(captured, files);
    captured->lacks_pages = !complete.ok() && let_go;
    return complete;
  };
}

Status Checkpointer::AddHidden(Captured* captured, std::vector<ArenaFile>* files) {
  SNAP_ASSIGN_OR_RETURN(const std::optional<PagesByProcess> hidden, filter_->Hidden());
  if (filter_works_ && !hidden) {
    LogInfo("{} passes all memory on, and takes longer: it does not load {}", criu_->path(),
            options_.filter_library);
  }
  filter_works_ = hidden.has_value();
  if (!filter_works_) return Status::Ok();
  SNAP_RETURN_IF_ERROR(AddHiddenPages(*hidden, arena_.get(), files, &captured->hidden));
  // The tracker asked the kernel after CRIU, while everything stood still.
  const PagesByMap unchanged = tracker_->Unchanged();
  for (const auto& [name, pages] : captured->hidden) {
    const auto known = unchanged.find(name);
    if (known == unchanged.end() || !pages.Subtract(known->second).empty()) {
      return Status::Internal(name + ": pages that may have changed were hidden from CRIU");
    }
  }
  return Status::Ok();
}

Status Checkpointer::Capture(Cell* cell, bool leave_stopped, Attempt attempt, Captured* captured,
                             CheckpointRecord* record) {
  SNAP_ASSIGN_OR_RETURN(const std::vector<pid_t> pids, DescendantsOf(cell->init_pid()));
  if (pids.empty()) return Status::NotFound("the application has ended");
  NoteUnlisted(pids, record);
  CapturePlan plan;
  uint64_t expected = DumpBytesEstimate(pids) + external_.Prepare(base_id());
  Plan(pids, attempt, captured, &plan, &expected);
  arena_->Clear();
  SNAP_RETURN_IF_ERROR(arena_->Prepare(expected + kArenaSpareBytes));
  auto while_frozen = [&]() -> Status {
    SNAP_ASSIGN_OR_RETURN(const std::vector<pid_t> frozen, FrozenDescendantsOf(cell->init_pid()));
    SNAP_ASSIGN_OR_RETURN(captured->files,
                          external_.Capture(frozen, base_id(), attempt.exact_files, arena_.get()));
    if (!leave_stopped) return Status::Ok();
    // Should this process be lost before the end, the application must not stand for ever.
    SNAP_RETURN_IF_ERROR(cell->SetHeld(true));
    // The images are complete and do not know of this signal; it is delivered at the thaw, before
    // the application executes anything.
    captured->stopped = frozen;
    SignalAll(captured->stopped, SIGSTOP);
    // CRIU lets the peers' packets in again before this returns to the caller.
    if (options_.keep_connections) {
      captured->quiet = std::make_unique<QuietConnections>(captured->stopped);
    }
    return Status::Ok();
  };
  SNAP_ASSIGN_OR_RETURN(captured->images,
                        criu_->Dump(cell, options_.directory, arena_.get(), while_frozen, &plan));
  SNAP_RETURN_IF_ERROR(arena_->status());
  Status finished = external_.Finish(&captured->files);
  captured->files_differ = finished.Is(StatusCode::kConflict);
  return finished;
}

Result<SnapshotSummary> Checkpointer::Store(SnapshotRequest* request) {
  request->parent = base_id().empty() ? "none" : base_id();
  if (fence_ != nullptr) request->tags.merge(fence_->NextTags());
  request->before_commit = [this] {
    SNAP_RETURN_IF_ERROR(arena_->ReadStatus());
    return fence_ != nullptr ? fence_->Check() : Status::Ok();
  };
  FirstWarning warnings;
  Result<SnapshotSummary> summary = TakeSnapshot(*repository_, *request, &warnings);
  const bool parent_gone =
      summary.status().Is(StatusCode::kNotFound) || summary.status().Is(StatusCode::kCorruption);
  if (parent_gone && !base_id().empty()) {
    // Forgotten by somebody else, or damaged. All that it was compared with it for is still here,
    // or else in the application.
    LogWarning("checkpoint {} cannot be built upon, so all is stored that it held alone: {}",
               parent_id_.substr(0, 12), summary.status().message());
    parent_id_.clear();
    if (TakesOver(*request)) return summary.status();
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

Status Checkpointer::Commit(int root_pid, Captured* captured, CheckpointRecord* record) {
  Status committed = CommitCaptured(root_pid, captured, record);
  if (committed.ok()) return committed;
  // Zeros in the place of an image may look like damage of whatever kind.
  SNAP_RETURN_IF_ERROR(arena_->ReadStatus());
  return committed;
}

Status Checkpointer::CommitCaptured(int root_pid, Captured* captured, CheckpointRecord* record) {
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
  for (const CapturedFile& file : captured->files) metadata.external_files.push_back(file.info);
  const std::string json = metadata.ToJson();

  SnapshotRequest request;
  PagesByMap unchanged;
  if (tracker_ != nullptr) unchanged = tracker_->Unchanged();
  for (const auto& [name, pages] : captured->hidden) unchanged[name] = pages;
  PagesByMap placed;
  SNAP_ASSIGN_OR_RETURN(request.images, ImageSources(captured->images.files, unchanged, &placed));
  std::vector<std::unique_ptr<CapturedFileReader>> readers;
  for (const CapturedFile& file : captured->files) {
    const std::string name = kFilesFolder + file.info.path;
    if (file.kind == CaptureKind::kWhole) {
      request.images.push_back(FileSource(file.content, name));
    } else {
      readers.push_back(std::make_unique<CapturedFileReader>(&file));
      request.volumes.push_back(readers.back()->Source(name));
    }
  }
  captured->takes_over = TakesOver(request);
  MemorySource description;
  description.name = kMetadataName;
  description.size = json.size();
  description.extents = {{0, AsBytes(json)}};
  request.images.push_back(std::move(description));
  request.tags = {{kAppTag, options_.config.name},
                  {kKindTag, kCheckpointKind},
                  {kTriggerTag, record->trigger},
                  {"snapstore.frozen_ms", fmt::format("{:.1f}", record->frozen_ms)}};
  SNAP_ASSIGN_OR_RETURN(const SnapshotSummary summary, Store(&request));
  if (tracker_ != nullptr) tracker_->Committed(placed);
  record->snapshot_id = summary.info.id;
  record->parent_id = pre_copy_ ? parent_id_ : summary.info.parent_id;
  record->bytes_read += summary.info.bytes_read;
  record->bytes_new += summary.info.bytes_new;
  record->bytes_stored += summary.info.bytes_stored;
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
  // One that puts right again what pre-freeze did is waited for.
  const bool may_be_cut = event == HookEvent::kPreFreeze && !leave_stopped;
  return options_.hooks->Run(event, context, may_be_cut ? options_.stop_waits : nullptr);
}

// What one capture came to, up to its commit.
Status Checkpointer::TakeOnce(Cell* cell, bool leave_stopped, Captured* captured,
                              CheckpointRecord* record) {
  record->status = RunHooks(HookEvent::kPreFreeze, *cell, *record, leave_stopped);
  if (record->status.ok()) {
    record->status = CaptureWithRetries(cell, leave_stopped, captured, record);
  }
  if (cell->WasToldToEnd()) {
    // Restored it would go on ending; and CRIU may have met processes that ended under its hands.
    record->status = Status::Cancelled(
        "the machine is shutting down, and has told the application to end: what it is now is not "
        "worth keeping");
  }
  if (record->status.ok()) {
    record->frozen_ms = static_cast<double>(captured->frozen_us) / 1000;
    record->bytes_external = 0;
    for (const CapturedFile& file : captured->files) record->bytes_external += file.info.size;
    record->bytes_captured = TotalBytes(captured->images.files) + record->bytes_external;
    record->bytes_grown_frozen = arena_->grown();
  }
  const Status thawed = RunHooks(HookEvent::kPostThaw, *cell, *record, leave_stopped);
  if (!thawed.ok() && (leave_stopped || !record->status.ok())) {
    // There is nothing after a final checkpoint that could make good for it.
    LogWarning("{}", thawed.message());
  } else if (!thawed.ok()) {
    record->status = thawed;
  }
  SNAP_RETURN_IF_ERROR(record->status);
  if (leave_stopped) return Commit(cell->root_pid(), captured, record);
  Status committed;
  RunInBackground(options_.background,
                  [&] { committed = Commit(cell->root_pid(), captured, record); });
  return committed;
}

void Checkpointer::LetRunOn(Cell* cell, bool leave_stopped, bool taken, Captured* captured) {
  if (captured->quiet != nullptr)
    taken ? captured->quiet->Finish(options_.config.name) : captured->quiet->Undo();
  quiet_ = std::move(captured->quiet);
  if (!taken && leave_stopped) {
    SignalAll(captured->stopped, SIGCONT);
    (void)cell->SetHeld(false);
  }
}

// What it fails to do the freeze does.
void Checkpointer::StoreBeforehand(const Cell& cell, CheckpointRecord* record) {
  if (tracker_ == nullptr) return;
  const auto pids = DescendantsOf(cell.init_pid());
  if (!pids.ok()) return;
  tracker_->Attach(*pids);
  const std::vector<DirtyTracker::Watched> memory = tracker_->WatchedAnew();
  if (memory.empty()) return;
  Result<PreCopy> copy = Status::Internal("not begun");
  RunInBackground(options_.background, [&] {
    const Status forgotten = ForgetPreCopies(repository_, options_.config.name);
    if (!forgotten.ok()) LogWarning("what was stored beforehand stays: {}", forgotten.message());
    copy = CopyBeforehand(repository_, options_.config.name, parent_id_, memory);
  });
  if (!copy.ok()) {
    LogInfo("nothing is stored before the freeze: {}", copy.status().message());
    return;
  }
  tracker_->Committed(copy->pages);
  record->bytes_read += copy->info.bytes_read;
  record->bytes_new += copy->info.bytes_new;
  record->bytes_stored += copy->info.bytes_stored;
  pre_copy_ = copy->info.id;
}

void Checkpointer::DropPreCopy(const Status& checkpoint) {
  if (!pre_copy_) return;
  const std::vector<std::string> id{*std::exchange(pre_copy_, std::nullopt)};
  if (!checkpoint.ok()) tracker_->Forget();
  Status forgotten;
  RunInBackground(options_.background,
                  [&] { forgotten = ForgetSnapshots(*repository_, id, nullptr).status(); });
  if (!forgotten.ok()) LogWarning("what was stored beforehand stays: {}", forgotten.message());
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
  // A final one has no time for it.
  if (!leave_stopped) StoreBeforehand(*cell, &record);
  Captured captured;
  record.status = TakeOnce(cell, leave_stopped, &captured, &record);
  LetRunOn(cell, leave_stopped, record.status.ok(), &captured);
  if (captured.takes_over && MayBeTheParents(record.status)) {
    LogWarning("checkpoint is begun again, with all memory: {}", record.status.message());
    DropPreCopy(record.status);
    if (tracker_ != nullptr) tracker_->Forget();
    external_.Forget();
    captured = {};
    record.time_ns = WallNanos();
    record.status = TakeOnce(cell, leave_stopped, &captured, &record);
    LetRunOn(cell, leave_stopped, record.status.ok(), &captured);
  }
  record.seconds = watch.Seconds();
  DropPreCopy(record.status);
  if (record.status.ok()) {
    parent_id_ = record.snapshot_id;
    external_.Committed(captured.files, parent_id_);
    // What is captured is not needed any more. A single large one is remembered for a while.
    arena_wanted_ = std::max(arena_->used(), arena_wanted_ / 4 * 3);
    arena_->Clear();
    arena_->Trim(arena_wanted_ + kArenaSpareBytes);
  }
  return record;
}

}  // namespace snapstore::agent
