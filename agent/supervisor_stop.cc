// Of the supervisor: how the application is stopped or left, on request and on signals.
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "agent/checkpoint_metadata.h"
#include "agent/supervisor.h"
#include "base/log.h"

namespace snapstore::agent {
namespace {

constexpr std::chrono::milliseconds kOwnEndLimit{3000};

}  // namespace

std::optional<Status> Supervisor::HandleSignals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    if (info.ssi_signo == SIGQUIT) {
      LogInfo("SIGQUIT: stopping without a checkpoint");
      EndApplication("stopped");
      return Status::Ok();
    }
    if (signalled_ == 0) signalled_ = static_cast<int>(info.ssi_signo);
  }
  if (signalled_ == 0 || lazy_ != nullptr) return std::nullopt;
  if (signalled_ != SIGUSR1) return StopOnSignal();
  LogInfo("SIGUSR1: leaving {} running", options_.config.name);
  DetachApplication();
  return Status::Ok();
}

bool Supervisor::StopWaits() const {
  pollfd signals{signals_.get(), POLLIN, 0};
  if (signalled_ != 0 || poll(&signals, 1, 0) > 0) return true;
  const std::lock_guard lock(mutex_);
  return !stop_requests_.empty();
}

Status Supervisor::StopOnSignal() {
  LogInfo("signal: taking a final checkpoint");
  SetState(AppState::kStopping);
  CheckpointRecord record = TakeCheckpoint(kFinalTrigger, /*leave_stopped=*/true);
  if (!record.status.ok() && !cell_->WasToldToEnd()) {
    record = TakeCheckpoint(kFinalTrigger, /*leave_stopped=*/true);
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
    const auto ready = std::stable_partition(
        stop_requests_.begin(), stop_requests_.end(), [this](const StopRequest& request) {
          return lazy_ != nullptr && request.kind != StopKind::kAtOnce;
        });
    std::move(ready, stop_requests_.end(), std::back_inserter(requests));
    stop_requests_.erase(ready, stop_requests_.end());
  }
  std::optional<Status> result;
  for (StopRequest& request : requests) {
    if (result) {
      request.done.set_value(Status::Ok());
      continue;
    }
    const Status stopped = Stop(request.kind);
    if (stopped.ok()) result = stopped;
    request.done.set_value(stopped);
  }
  return result;
}

Status Supervisor::Stop(StopKind kind) {
  if (kind == StopKind::kDetach) {
    DetachApplication();
    return Status::Ok();
  }
  if (kind == StopKind::kCheckpoint) {
    SetState(AppState::kStopping);
    const CheckpointRecord record = TakeCheckpoint(kFinalTrigger, /*leave_stopped=*/true);
    if (!record.status.ok()) {
      SetState(AppState::kRunning);
      return record.status.WithContext("not stopped, the final checkpoint failed");
    }
  }
  EndApplication("stopped");
  return Status::Ok();
}

Status Supervisor::RequestStop(bool checkpoint) {
  return RequestStop(checkpoint ? StopKind::kCheckpoint : StopKind::kAtOnce);
}

Status Supervisor::RequestDetach() { return RequestStop(StopKind::kDetach); }

Status Supervisor::RequestStop(StopKind kind) {
  std::promise<Status> promise;
  std::future<Status> stopped = promise.get_future();
  {
    std::lock_guard lock(mutex_);
    if (!accepting_) return Status::Ok();
    stop_requests_.push_back({kind, std::move(promise)});
  }
  Wake();
  return stopped.get();
}

}  // namespace snapstore::agent
