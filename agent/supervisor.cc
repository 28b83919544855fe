#include "agent/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/bandwidth_lift.h"
#include "agent/checkpoint_order.h"
#include "agent/checkpoint_reader.h"
#include "agent/dump_rescue.h"
#include "agent/environment.h"
#include "agent/held_connections.h"
#include "agent/state_files.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr size_t kRecordsMax = 1000;
constexpr size_t kRestoreAttemptsMax = 3;
// In which an application that a dying CRIU has damaged meets its end.
constexpr std::chrono::milliseconds kCrashLimit{50};
// The clock may be set; look at it at least this often.
constexpr int64_t kPollMillisMax = 30'000;

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1}) sigaddset(&set, number);
  return set;
}

std::string Short(const std::string& id) { return id.substr(0, 12); }

}  // namespace

std::string_view AppStateName(AppState state) {
  switch (state) {
    case AppState::kStarting:
      return "starting";
    case AppState::kRunning:
      return "running";
    case AppState::kCheckpointing:
      return "checkpointing";
    case AppState::kStopping:
      return "stopping";
    case AppState::kEnded:
      return "ended";
    case AppState::kDetached:
      return "detached";
  }
  return "unknown";
}

Supervisor::Supervisor(SupervisorOptions options, Repository* repository, const CriuDriver* criu)
    : options_(std::move(options)),
      repository_(repository),
      criu_(criu),
      hooks_(options_.hooks),
      log_path_(options_.state_directory + "/app.log"),
      criu_directory_(options_.state_directory + "/criu"),
      adaptive_(options_.adaptive) {}

Supervisor::~Supervisor() { RefuseWaiting(Status::Cancelled("the agent is ending")); }

Result<std::unique_ptr<Supervisor>> Supervisor::Create(SupervisorOptions options,
                                                       Repository* repository,
                                                       const CriuDriver* criu) {
  std::unique_ptr<Supervisor> supervisor(new Supervisor(std::move(options), repository, criu));
  SNAP_RETURN_IF_ERROR(supervisor->SetUp());
  return supervisor;
}

Status Supervisor::SetUp() {
  if (options_.state_directory.empty() || options_.state_directory.front() != '/') {
    return Status::InvalidArgument(
        fmt::format("state directory '{}': must be an absolute path", options_.state_directory));
  }
  SNAP_RETURN_IF_ERROR(MakeDirectories(criu_directory_, 0700));
  SNAP_ASSIGN_OR_RETURN(lock_,
                        OpenFile(options_.state_directory + "/lock", O_RDWR | O_CREAT, 0600));
  if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return Status::FromErrno(errno, fmt::format("lock {}", options_.state_directory));
    }
    return Status::Conflict(fmt::format("{}: another agent is running with this state directory",
                                        options_.state_directory));
  }
  const sigset_t stop_signals = StopSignals();
  signals_.Reset(signalfd(-1, &stop_signals, SFD_CLOEXEC | SFD_NONBLOCK));
  wake_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!signals_.valid() || !wake_.valid())
    return Status::FromErrno(errno, "make event descriptors");
  Checkpointer::Options checkpointer{options_.config, criu_directory_, log_path_};
  checkpointer.arena_limit = options_.arena_limit != 0 ? options_.arena_limit : DefaultArenaLimit();
  checkpointer.keep_connections =
      options_.choices.tcp == TcpChoice::kKeep || options_.choices.tcp == TcpChoice::kQuiet;
  checkpointer.track_pages = options_.track_pages;
  checkpointer.hooks = &hooks_;
  checkpointer.stop_waits = [this] { return StopWaits(); };
  checkpointer.background = options_.background;
  checkpointer.volumes = options_.volumes;
  checkpointer.spool = options_.spool;
  SNAP_ASSIGN_OR_RETURN(checkpointer_,
                        Checkpointer::Create(std::move(checkpointer), repository_, criu_));
  fence_ = std::make_unique<Fence>(
      repository_,
      Fence::Options{options_.config.name, options_.state_directory, [this] { Wake(); }});
  checkpointer_->set_fence(fence_.get());
  keeper_ = CheckpointKeeper::Start(repository_, {.app = options_.config.name,
                                                  .state_directory = options_.state_directory,
                                                  .keep = options_.keep});
  status_.app = options_.config.name;
  status_.run_cmd = options_.config.run_cmd;
  status_.repository = repository_->location();
  return Status::Ok();
}

Result<std::unique_ptr<Cell>> Supervisor::NewCell() const {
  return Cell::Create({options_.config.argv, ApplicationEnvironment(), "/", log_path_,
                       CellSocketOf(options_.state_directory)});
}

void Supervisor::NoteNewest(const SnapshotInfo& checkpoint,
                            const std::vector<std::string>& cpu_features) {
  std::lock_guard lock(mutex_);
  std::optional<NewestCheckpoint>& newest = status_.newest_checkpoint;
  if (newest && newest->id != checkpoint.id) return;
  newest = {checkpoint.id, checkpoint.time_ns, cpu_features};
}

Status Supervisor::StartFresh(const std::string& reason) {
  LogInfo("starting {} afresh: {}", options_.config.name, reason);
  SNAP_ASSIGN_OR_RETURN(cell_, NewCell());
  SNAP_RETURN_IF_ERROR(cell_->StartApplication());
  std::lock_guard lock(mutex_);
  status_.start_reason = reason;
  return Status::Ok();
}

Result<bool> Supervisor::TakeOver() {
  auto cell = Cell::Adopt(CellSocketOf(options_.state_directory));
  if (cell.status().Is(StatusCode::kNotFound)) return false;
  SNAP_RETURN_IF_ERROR(cell.status());
  if (!options_.restore) {
    (*cell)->Detach();
    return Status::Conflict(fmt::format(
        "{} is running, an agent before has left it: cannot start it afresh (stop it, or take it "
        "over by starting without --fresh)",
        options_.config.name));
  }
  cell_ = std::move(*cell);
  SNAP_RETURN_IF_ERROR(PutDumpInOrder(*cell_, criu_directory_));
  const RunningFile running = ReadRunningFile(options_.state_directory);
  if (!running.run_cmd.empty() && running.run_cmd != options_.config.run_cmd) {
    LogWarning("{} was started as '{}': the changed command holds from its next start",
               options_.config.name, running.run_cmd);
  }
  LogInfo("{} is running: taking it over", options_.config.name);
  std::lock_guard lock(mutex_);
  status_.taken_over = true;
  status_.started_ns = running.started_ns;
  status_.restored_from = running.restored_from;
  status_.start_reason = "taken over, it was running";
  return true;
}

Status Supervisor::NoteRunning() {
  if (const Status let_go = LetGoOfConnections(options_.config.name); !let_go.ok()) {
    LogWarning("connections of {} may be cut off: {}", options_.config.name, let_go.message());
  }
  RunningFile running;
  {
    std::lock_guard lock(mutex_);
    if (status_.taken_over) return Status::Ok();
    status_.started_ns = WallNanos();
    running = {options_.config.run_cmd, status_.started_ns, status_.restored_from};
  }
  SNAP_RETURN_IF_ERROR(WriteRunningFile(options_.state_directory, running));
  // Without the agent, which has its memory, it could not live on.
  return options_.outlive && lazy_ == nullptr ? cell_->Outlive() : Status::Ok();
}

Status Supervisor::StartApplication() {
  SNAP_ASSIGN_OR_RETURN(const bool taken_over, TakeOver());
  const auto checkpoints = fence_->Enter(taken_over);
  if (!checkpoints.ok()) {
    const bool superseded = !fence_->superseded().empty();
    if (taken_over && superseded && options_.run_on_when_superseded) return Status::Ok();
    // That a store cannot be reached is no reason to end what runs.
    if (taken_over && !superseded) DetachApplication();
    return checkpoints.status().WithContext("look for checkpoints");
  }
  if (!checkpoints->empty()) {
    checkpointer_->set_parent(keeper_->ParentFor(checkpoints->front().id));
    NoteNewest(checkpoints->front(), {});
  }
  if (taken_over) return Status::Ok();
  if (!options_.restore) return StartFresh("asked to");
  if (checkpoints->empty()) {
    return StartFresh(fmt::format("{} has no checkpoint of it", repository_->location()));
  }
  std::string reason;
  const auto order = RestoreOrder(*checkpoints, keeper_->status().damaged);
  for (size_t i = 0; i < std::min(order.size(), kRestoreAttemptsMax); ++i) {
    const SnapshotInfo& checkpoint = order[i];
    HookContext about{.app = options_.config.name,
                      .state_directory = options_.state_directory,
                      .checkpoint_id = checkpoint.id,
                      .time_ns = WallNanos()};
    // A hook that fails says nothing about the checkpoint: it is no reason to go back further.
    SNAP_RETURN_IF_ERROR(hooks_.Run(HookEvent::kPreRestore, about));
    Status restored = TryRestore(checkpoint);
    about.pid = cell_ != nullptr ? cell_->init_pid() : 0;
    about.error = restored.ok() ? "" : restored.message();
    SNAP_RETURN_IF_ERROR(hooks_.Run(HookEvent::kPostRestore, about));
    if (restored.ok()) {
      std::lock_guard lock(mutex_);
      if (!reason.empty()) status_.start_reason += "; " + reason;
      LogInfo("{} runs on from {}", options_.config.name, FormatTime(checkpoint.time_ns));
      return restored;
    }
    const bool damaged = restored.Is(StatusCode::kCorruption);
    if (damaged) keeper_->Doubt();
    const std::string failed =
        fmt::format("checkpoint {} {} ({})", Short(checkpoint.id),
                    damaged ? "is damaged" : "cannot be restored", restored.message());
    LogError("{}", failed);
    reason += (reason.empty() ? "" : "; ") + failed;
  }
  // None of them is worth building upon.
  checkpointer_->set_parent("");
  return StartFresh(reason);
}

Status Supervisor::Run() {
  Status result = StartApplication();
  if (result.ok()) result = NoteRunning();
  if (result.ok()) {
    {
      std::lock_guard lock(mutex_);
      status_.pid = cell_->init_pid();
    }
    SetState(AppState::kRunning);
    keeper_->Look();
    result = Loop();
  }
  EndApplication(result.ok() ? "" : result.message());
  RefuseWaiting(Status::Cancelled("the application has ended"));
  return result;
}

Status Supervisor::Loop() {
  ticker_.emplace(options_.config.schedule, WallNanos() / kNanosPerSecond);
  while (true) {
    {
      std::lock_guard lock(mutex_);
      status_.next_checkpoint_ns = ticker_->next() * kNanosPerSecond;
    }
    SNAP_RETURN_IF_ERROR(HandleMemory());
    // Before the wait: whatever talked to the cell may have been told of it.
    if (const auto ended = cell_->WaitForExit(std::chrono::milliseconds(0))) {
      if (!lost_in_dump_) return FinishEnded(*ended);
      SNAP_RETURN_IF_ERROR(StartAgain(*ended));
    }
    if (!WaitForEvent()) return Status::FromErrno(errno, "wait for events");
    if (cell_->WaitForExit(std::chrono::milliseconds(0))) continue;
    if (auto stopped = HandleSignals()) return *stopped;
    if (auto stopped = HandleStops()) return *stopped;
    if (lazy_ == nullptr) {
      HandleCheckpointRequests();
      HandleSchedule();
      HandleAdaptive();
    }
    if (auto superseded = HandleSuperseded()) return *superseded;
  }
}

bool Supervisor::WaitForEvent() {
  int64_t millis_left =
      lazy_ != nullptr ? kPollMillisMax : ticker_->next() * 1000 - WallNanos() / 1'000'000;
  if (lazy_ == nullptr && adaptive_.enabled()) {
    const double left = (next_look_ - clock_.Seconds()) * 1000;
    millis_left = std::min(millis_left, static_cast<int64_t>(left) + 1);
  }
  pollfd fds[4] = {{cell_->event_fd(), POLLIN, 0},
                   {wake_.get(), POLLIN, 0},
                   {signals_.get(), POLLIN, 0},
                   {lazy_ != nullptr ? lazy_->event_fd() : -1, POLLIN, 0}};
  const int timeout = static_cast<int>(std::clamp<int64_t>(millis_left, 0, kPollMillisMax));
  if (poll(fds, 4, timeout) < 0 && errno != EINTR) return false;
  uint64_t count = 0;
  (void)!read(wake_.get(), &count, sizeof(count));
  return true;
}

// A CRIU that is killed while its code runs in the application takes that with it.
Status Supervisor::StartAgain(int wait_status) {
  lost_in_dump_ = false;
  return StartOver(fmt::format("died of a failed dump ({})", DescribeWaitStatus(wait_status)));
}

Status Supervisor::StartOver(const std::string& why) {
  LogError("{}: {}: starting it again", options_.config.name, why);
  {
    std::lock_guard lock(mutex_);
    status_.pid = 0;
    status_.taken_over = false;
    status_.restored_from.clear();
    status_.state = AppState::kStarting;
  }
  cell_.reset();
  ForgetMemory();
  SNAP_RETURN_IF_ERROR(StartApplication().WithContext(why));
  SNAP_RETURN_IF_ERROR(NoteRunning());
  std::lock_guard lock(mutex_);
  status_.start_reason = fmt::format("{}; {}", why, status_.start_reason);
  status_.pid = cell_->init_pid();
  status_.state = AppState::kRunning;
  return Status::Ok();
}

Status Supervisor::FinishEnded(int wait_status) {
  const std::string how = DescribeWaitStatus(wait_status);
  LogInfo("{} has ended: {}", options_.config.name, how);
  EndApplication(how);
  {
    std::lock_guard lock(mutex_);
    status_.ended_by_itself = true;
  }
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0) return Status::Ok();
  return Status::Io(
      fmt::format("{} has ended with {} (output: {})", options_.config.name, how, log_path_));
}

void Supervisor::HandleCheckpointRequests() {
  std::vector<CheckpointRequest> requests;
  {
    std::lock_guard lock(mutex_);
    requests.swap(checkpoint_requests_);
  }
  if (requests.empty()) return;
  const CheckpointRecord record = TakeCheckpoint(requests.front().trigger, /*leave_stopped=*/false);
  for (CheckpointRequest& request : requests) request.done.set_value(record);
}

void Supervisor::HandleSchedule() {
  const int64_t began = WallNanos() / kNanosPerSecond;
  if (!ticker_->IsDue(began)) return;
  const Stopwatch watch;
  (void)TakeCheckpoint("schedule", /*leave_stopped=*/false);
  const uint64_t skipped =
      ticker_->Handled(began, static_cast<int64_t>(watch.Seconds()), WallNanos() / kNanosPerSecond);
  if (skipped != 0) {
    LogWarning("{} scheduled checkpoints skipped: one was still running", skipped);
    std::lock_guard lock(mutex_);
    status_.skipped += skipped;
  }
}

std::optional<Status> Supervisor::HandleSuperseded() {
  const std::string why = fence_->superseded();
  if (why.empty() || options_.run_on_when_superseded) return {};
  LogError("{} is {}: it is ended here", options_.config.name, why);
  EndApplication(why);
  return Status::Conflict(fmt::format("{} is {}", options_.config.name, why));
}

CheckpointRecord Supervisor::TakeCheckpoint(const std::string& trigger, bool leave_stopped) {
  if (!leave_stopped) SetState(AppState::kCheckpointing);
  CheckpointRecord record;
  {
    const CheckpointKeeper::Hold hold(keeper_.get());
    checkpointer_->set_parent(keeper_->ParentFor(checkpointer_->parent()));
    // The last one may have little time, and so has what it waits for.
    const BandwidthLift lift(repository_, [&] { return leave_stopped || StopWaits(); });
    record = checkpointer_->Take(cell_.get(), trigger, leave_stopped);
  }
  NoteForAdaptive(record);
  if (record.status.ok()) {
    if (!leave_stopped) keeper_->Look();
    LogInfo("checkpoint {} ({}): frozen {:.1f} ms, {} bytes captured, {} new, {} stored, {:.2f} s",
            Short(record.snapshot_id), trigger, record.frozen_ms, record.bytes_captured,
            record.bytes_new, record.bytes_stored, record.seconds);
  } else if (cell_->WasToldToEnd()) {
    LogInfo("checkpoint ({}) not taken: {}", trigger, record.status.message());
  } else {
    LogError("checkpoint ({}) failed: {}", trigger, record.status.message());
    const auto ended = cell_->WaitForExit(kCrashLimit);
    lost_in_dump_ = ended.has_value() && WIFSIGNALED(*ended);
  }
  std::lock_guard lock(mutex_);
  if (record.status.ok()) {
    ++status_.taken;
    status_.last_success = record;
    status_.newest_checkpoint = {record.snapshot_id, record.time_ns, cpu_features_};
  } else {
    ++status_.failed;
  }
  status_.last = record;
  records_.push_back(record);
  if (records_.size() > kRecordsMax) records_.pop_front();
  if (!leave_stopped) status_.state = AppState::kRunning;
  return record;
}

void Supervisor::DetachApplication() {
  cell_->Detach();
  cell_.reset();
  std::lock_guard lock(mutex_);
  status_.state = AppState::kDetached;
}

void Supervisor::EndApplication(const std::string& how) {
  if (cell_ != nullptr) {
    cell_.reset();
    RemoveRunningFile(options_.state_directory);
  }
  ForgetMemory();
  std::lock_guard lock(mutex_);
  status_.pid = 0;
  if (status_.state == AppState::kDetached) return;
  status_.state = AppState::kEnded;
  if (status_.ended.empty()) status_.ended = how;
}

void Supervisor::RefuseWaiting(const Status& status) {
  std::lock_guard lock(mutex_);
  accepting_ = false;
  for (CheckpointRequest& request : checkpoint_requests_) {
    CheckpointRecord record;
    record.trigger = request.trigger;
    record.status = status;
    request.done.set_value(record);
  }
  checkpoint_requests_.clear();
  for (StopRequest& request : stop_requests_) request.done.set_value(Status::Ok());
  stop_requests_.clear();
}

void Supervisor::SetState(AppState state) {
  std::lock_guard lock(mutex_);
  status_.state = state;
}

void Supervisor::Wake() {
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
}

SupervisorStatus Supervisor::status() const {
  std::lock_guard lock(mutex_);
  SupervisorStatus status = status_;
  if (lazy_ != nullptr) status.lazy = lazy_->progress();
  status.kept = keeper_->status();
  status.epoch = fence_->epoch();
  status.superseded = fence_->superseded();
  return status;
}

std::vector<CheckpointRecord> Supervisor::records() const {
  std::lock_guard lock(mutex_);
  return {records_.begin(), records_.end()};
}

Result<std::vector<SnapshotInfo>> Supervisor::StoredCheckpoints() const {
  return ListCheckpoints(repository_, options_.config.name);
}

CheckpointRecord Supervisor::RequestCheckpoint(const std::string& trigger) {
  CheckpointRequest request{trigger, {}};
  std::future<CheckpointRecord> record = request.done.get_future();
  {
    std::lock_guard lock(mutex_);
    if (!accepting_) {
      CheckpointRecord refused;
      refused.trigger = trigger;
      refused.status = Status::Cancelled("the application has ended");
      return refused;
    }
    checkpoint_requests_.push_back(std::move(request));
  }
  Wake();
  return record.get();
}

}  // namespace snapstore::agent
