#include "agent/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/checkpoint_reader.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory_limit.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr size_t kRecordsMax = 1000;
constexpr size_t kRestoreAttemptsMax = 3;
constexpr std::chrono::milliseconds kOwnEndLimit{3000};
// The clock may be set; look at it at least this often.
constexpr int64_t kPollMillisMax = 30'000;

uint64_t DefaultArenaLimit() {
  struct sysinfo info {};
  const uint64_t total =
      sysinfo(&info) == 0 ? static_cast<uint64_t>(info.totalram) * info.mem_unit : 2ull << 30;
  return std::min(total, CgroupMemoryLimit().value_or(total)) / 2;
}

// The agent's environment without what is its own: its secrets would end up in memory images.
std::vector<std::string> ApplicationEnvironment() {
  constexpr std::string_view kOwn[] = {
      "SNAPSTORE_", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SESSION_TOKEN="};
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (std::none_of(std::begin(kOwn), std::end(kOwn),
                     [&](std::string_view own) { return text.starts_with(own); })) {
      environment.emplace_back(text);
    }
  }
  return environment;
}

sigset_t StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGQUIT}) sigaddset(&set, number);
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
  }
  return "unknown";
}

Supervisor::Supervisor(SupervisorOptions options, Repository* repository, const CriuDriver* criu)
    : options_(std::move(options)),
      repository_(repository),
      criu_(criu),
      log_path_(options_.state_directory + "/app.log"),
      criu_directory_(options_.state_directory + "/criu") {}

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
  Checkpointer::Options checkpointer{
      options_.config, criu_directory_, log_path_,
      options_.arena_limit != 0 ? options_.arena_limit : DefaultArenaLimit(), options_.spool};
  if (checkpointer.spool.directory.empty()) {
    checkpointer.spool.directory = options_.state_directory + "/spool";
  }
  SNAP_ASSIGN_OR_RETURN(checkpointer_,
                        Checkpointer::Create(std::move(checkpointer), repository_, criu_));
  keeper_ = CheckpointKeeper::Start(repository_, {.app = options_.config.name,
                                                  .state_directory = options_.state_directory,
                                                  .keep = options_.keep});
  status_.app = options_.config.name;
  status_.run_cmd = options_.config.run_cmd;
  status_.repository = repository_->location();
  return Status::Ok();
}

Result<std::unique_ptr<Cell>> Supervisor::NewCell() const {
  return Cell::Create({options_.config.argv, ApplicationEnvironment(), "/", log_path_});
}

Status Supervisor::TryRestore(const SnapshotInfo& checkpoint) {
  LogInfo("restoring checkpoint {} of {}", Short(checkpoint.id), FormatTime(checkpoint.time_ns));
  const Stopwatch watch;
  SNAP_ASSIGN_OR_RETURN(const auto reader, CheckpointReader::Open(repository_, checkpoint.id));
  NoteNewest(checkpoint, reader->metadata().platform.cpu_features);
  SNAP_RETURN_IF_ERROR(CheckCanResume(reader->metadata().platform, Platform::OfThisMachine()));
  SNAP_RETURN_IF_ERROR(reader->PutBackFiles());
  SNAP_ASSIGN_OR_RETURN(auto cell, NewCell());
  SNAP_RETURN_IF_ERROR(
      criu_->Restore(cell.get(), criu_directory_, reader.get(), reader->process_tree()));
  cell_ = std::move(cell);
  checkpointer_->set_parent(checkpoint.id);
  std::lock_guard lock(mutex_);
  status_.restored_from = checkpoint.id;
  status_.restore_seconds = watch.Seconds();
  status_.start_reason =
      fmt::format("restored from the checkpoint of {}", FormatTime(checkpoint.time_ns));
  return Status::Ok();
}

void Supervisor::NoteNewest(const SnapshotInfo& checkpoint,
                            const std::vector<std::string>& cpu_features) {
  std::lock_guard lock(mutex_);
  std::optional<NewestCheckpoint>& newest = status_.newest_checkpoint;
  if (newest && newest->time_ns > checkpoint.time_ns) return;
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

Status Supervisor::StartApplication() {
  auto checkpoints = ListCheckpoints(repository_, options_.config.name);
  if (!checkpoints.ok()) return checkpoints.status().WithContext("look for checkpoints");
  if (!checkpoints->empty()) {
    checkpointer_->set_parent(checkpoints->front().id);
    NoteNewest(checkpoints->front(), {});
  }
  if (!options_.restore) return StartFresh("asked to");
  if (checkpoints->empty()) {
    return StartFresh(fmt::format("{} has no checkpoint of it", repository_->location()));
  }
  std::string reason;
  for (size_t i = 0; i < std::min(checkpoints->size(), kRestoreAttemptsMax); ++i) {
    const SnapshotInfo& checkpoint = (*checkpoints)[i];
    Status restored = TryRestore(checkpoint);
    if (restored.ok()) {
      LogInfo("{} runs on from {}", options_.config.name, FormatTime(checkpoint.time_ns));
      return restored;
    }
    LogError("checkpoint {} cannot be restored: {}", Short(checkpoint.id), restored.message());
    reason += fmt::format("{}checkpoint {} cannot be restored ({})", reason.empty() ? "" : "; ",
                          Short(checkpoint.id), restored.message());
  }
  return StartFresh(reason);
}

Status Supervisor::Run() {
  Status result = StartApplication();
  if (result.ok()) {
    {
      std::lock_guard lock(mutex_);
      status_.pid = cell_->init_pid();
      status_.started_ns = WallNanos();
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
  next_tick_ = options_.config.schedule.Next(WallNanos() / kNanosPerSecond);
  while (true) {
    {
      std::lock_guard lock(mutex_);
      status_.next_checkpoint_ns = next_tick_ * kNanosPerSecond;
    }
    if (!WaitForEvent()) return Status::FromErrno(errno, "wait for events");
    if (const auto ended = cell_->WaitForExit(std::chrono::milliseconds(0))) {
      return FinishEnded(*ended);
    }
    if (auto stopped = HandleSignals()) return *stopped;
    if (auto stopped = HandleStops()) return *stopped;
    HandleCheckpointRequests();
    HandleSchedule();
  }
}

bool Supervisor::WaitForEvent() {
  const int64_t millis_left = next_tick_ * 1000 - WallNanos() / 1'000'000;
  pollfd fds[3] = {
      {cell_->event_fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
  const int timeout = static_cast<int>(std::clamp<int64_t>(millis_left, 0, kPollMillisMax));
  if (poll(fds, 3, timeout) < 0 && errno != EINTR) return false;
  uint64_t count = 0;
  (void)!read(wake_.get(), &count, sizeof(count));
  return true;
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

std::optional<Status> Supervisor::HandleSignals() {
  signalfd_siginfo info{};
  std::optional<Status> result;
  while (read(signals_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    if (info.ssi_signo == SIGQUIT) {
      LogInfo("SIGQUIT: stopping without a checkpoint");
      EndApplication("stopped");
      return Status::Ok();
    }
    if (!result) result = StopOnSignal();
  }
  return result;
}

Status Supervisor::StopOnSignal() {
  LogInfo("signal: taking a final checkpoint");
  SetState(AppState::kStopping);
  CheckpointRecord record = TakeCheckpoint("final", /*leave_stopped=*/true);
  if (!record.status.ok() && !cell_->WasToldToEnd()) {
    record = TakeCheckpoint("final", /*leave_stopped=*/true);
  }
  // It may have files to put in order.
  if (cell_->WasToldToEnd()) (void)cell_->WaitForExit(kOwnEndLimit);
  EndApplication("stopped");
  if (!record.status.ok()) {
    return record.status.WithContext("stopped without a final checkpoint");
  }
  return Status::Ok();
}

std::optional<Status> Supervisor::HandleStops() {
  std::vector<StopRequest> requests;
  {
    std::lock_guard lock(mutex_);
    requests.swap(stop_requests_);
  }
  std::optional<Status> result;
  for (StopRequest& request : requests) {
    if (result) {
      request.done.set_value(Status::Ok());
      continue;
    }
    if (request.checkpoint) {
      SetState(AppState::kStopping);
      const CheckpointRecord record = TakeCheckpoint("final", /*leave_stopped=*/true);
      if (!record.status.ok()) {
        SetState(AppState::kRunning);
        request.done.set_value(
            record.status.WithContext("not stopped, the final checkpoint failed"));
        continue;
      }
    }
    EndApplication("stopped");
    request.done.set_value(Status::Ok());
    result = Status::Ok();
  }
  return result;
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
  if (WallNanos() / kNanosPerSecond < next_tick_) return;
  (void)TakeCheckpoint("schedule", /*leave_stopped=*/false);
  const int64_t now = WallNanos() / kNanosPerSecond;
  uint64_t skipped = 0;
  int64_t next = options_.config.schedule.Next(next_tick_);
  // A clock that was set far ahead must not be counted through minute by minute.
  while (next <= now && skipped < kRecordsMax) {
    ++skipped;
    next = options_.config.schedule.Next(next);
  }
  if (skipped != 0) {
    LogWarning("{} scheduled checkpoints skipped: one was still running", skipped);
    std::lock_guard lock(mutex_);
    status_.skipped += skipped;
  }
  next_tick_ = options_.config.schedule.Next(std::max(now, next_tick_));
}

CheckpointRecord Supervisor::TakeCheckpoint(const std::string& trigger, bool leave_stopped) {
  if (!leave_stopped) SetState(AppState::kCheckpointing);
  CheckpointRecord record;
  {
    const CheckpointKeeper::Hold hold(keeper_.get());
    record = checkpointer_->Take(cell_.get(), trigger, leave_stopped);
  }
  if (record.status.ok()) {
    if (!leave_stopped) keeper_->Look();
    LogInfo("checkpoint {} ({}): frozen {:.1f} ms, {} bytes captured, {} new, {} stored, {:.2f} s",
            Short(record.snapshot_id), trigger, record.frozen_ms, record.bytes_captured,
            record.bytes_new, record.bytes_stored, record.seconds);
  } else if (cell_->WasToldToEnd()) {
    LogInfo("checkpoint ({}) not taken: {}", trigger, record.status.message());
  } else {
    LogError("checkpoint ({}) failed: {}", trigger, record.status.message());
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

void Supervisor::EndApplication(const std::string& how) {
  cell_.reset();
  std::lock_guard lock(mutex_);
  status_.state = AppState::kEnded;
  status_.pid = 0;
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
  status.kept = keeper_->status();
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

Status Supervisor::RequestStop(bool checkpoint) {
  std::promise<Status> promise;
  std::future<Status> stopped = promise.get_future();
  {
    std::lock_guard lock(mutex_);
    if (!accepting_) return Status::Ok();
    stop_requests_.push_back({checkpoint, std::move(promise)});
  }
  Wake();
  return stopped.get();
}

}  // namespace snapstore::agent
