#include "tools/snapstore_agent/bench_agent.h"

#include <fmt/format.h>
#include <signal.h>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr std::chrono::seconds kAnswerTimeout{900};

Result<AppConfig> ConfigOf(const std::string& app, const std::string& folder, uint64_t bytes) {
  std::string command;
  for (const std::string& word : BenchHeapCommandLine(folder, bytes)) {
    command += command.empty() ? word : " " + word;
  }
  return AppConfig::Parse(nlohmann::json({{"name", app},
                                          {"runCmd", command},
                                          {"snapshotDestination", "fs-0123abcd"},
                                          {"snapshotScheduler", "0 0 1 1 *"}})
                              .dump());
}

}  // namespace

Status CheckNotInterrupted() {
  sigset_t pending;
  sigemptyset(&pending);
  sigpending(&pending);
  for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1}) {
    if (sigismember(&pending, number) == 1) return Status::Cancelled("interrupted");
  }
  return Status::Ok();
}

BenchAgent::BenchAgent(std::string folder, std::string app, uint64_t heap_bytes,
                       BenchAgentOptions options, Repository* repository, const CriuDriver* criu)
    : folder_(std::move(folder)),
      app_(std::move(app)),
      heap_bytes_(heap_bytes),
      options_(options),
      repository_(repository),
      criu_(criu),
      heap_(folder_) {}

BenchAgent::~BenchAgent() { Stop(); }

Status BenchAgent::Start(bool restore, bool lazily) {
  SNAP_RETURN_IF_ERROR(CheckNotInterrupted());
  SNAP_ASSIGN_OR_RETURN(AppConfig config, ConfigOf(app_, folder_, heap_bytes_));
  SupervisorOptions options{.config = std::move(config),
                            .state_directory = folder_ + "/state",
                            .arena_limit = options_.arena_limit,
                            .restore = restore,
                            .outlive = false,
                            .choices = {.lazy = lazily ? LazyChoice::kOn : LazyChoice::kOff},
                            .track_pages = options_.track_pages};
  SNAP_ASSIGN_OR_RETURN(supervisor_, Supervisor::Create(std::move(options), repository_, criu_));
  running_ = std::async(std::launch::async, [this] { return supervisor_->Run(); });
  return Status::Ok();
}

Status BenchAgent::WaitForAnswer() {
  const Stopwatch watch;
  while (true) {
    Status answered = heap_.WaitForAnswer(std::chrono::seconds(1));
    if (answered.ok()) return answered;
    if (running_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
      SNAP_RETURN_IF_ERROR(running_.get());
      return Status::Cancelled("the heap program was stopped");
    }
    if (watch.Seconds() > static_cast<double>(kAnswerTimeout.count())) return answered;
  }
}

Status BenchAgent::StartFresh() {
  SNAP_RETURN_IF_ERROR(MakeDirectories(folder_, 0700));
  SNAP_RETURN_IF_ERROR(Start(/*restore=*/false, /*lazily=*/false));
  return WaitForAnswer();
}

Result<Resumed> BenchAgent::Resume(bool lazily) {
  Stop();
  const Stopwatch watch;
  SNAP_RETURN_IF_ERROR(Start(/*restore=*/true, lazily));
  SNAP_RETURN_IF_ERROR(WaitForAnswer());
  Resumed resumed;
  resumed.answered_s = watch.Seconds();
  const auto has_started = [this] { return supervisor_->status().started_ns != 0; };
  while (!has_started() &&
         running_.wait_for(std::chrono::milliseconds(1)) == std::future_status::timeout) {
  }
  const SupervisorStatus status = supervisor_->status();
  if (status.restored_from.empty()) {
    return Status::Internal(fmt::format("it was not restored: {}", status.start_reason));
  }
  resumed.restored_s = status.restore_seconds;
  return resumed;
}

Result<CheckpointRecord> BenchAgent::Checkpoint() {
  SNAP_RETURN_IF_ERROR(CheckNotInterrupted());
  CheckpointRecord record = supervisor_->RequestCheckpoint("bench");
  SNAP_RETURN_IF_ERROR(record.status);
  return record;
}

void BenchAgent::Stop() {
  if (supervisor_ == nullptr) return;
  (void)supervisor_->RequestStop(/*checkpoint=*/false);
  if (running_.valid()) running_.wait();
  supervisor_.reset();
}

}  // namespace snapstore::agent
