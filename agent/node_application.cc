#include "agent/node_application.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <httplib.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/cell.h"
#include "agent/state_files.h"
#include "base/file.h"
#include "base/listen_address.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kFollowStarting{100};
constexpr milliseconds kFollowRunning{300};
constexpr seconds kStatusTimeout{5};
constexpr seconds kBackOffMax{60};
constexpr seconds kCalm{60};  // whoever ran that long has not failed in a row
constexpr milliseconds kBusyDelay{500};
constexpr seconds kCheckpointLimit{3600};
constexpr seconds kKillLimit{5};
constexpr int kFailuresShown = 3;        // fewer at the start are still "starting"
constexpr int kBusyExitCode = 11;        // another process has the state directory
constexpr int kSupersededExitCode = 14;  // another node has the application
constexpr size_t kLogTailBytes = 4096;

std::string TextOf(const json& object, const char* member) {
  const auto it = object.find(member);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

template <typename T>
T NumberOf(const json& object, const char* member) {
  const auto it = object.find(member);
  return it != object.end() && it->is_number() ? it->get<T>() : T{};
}

NodeCheckpointReport ReportOf(const std::string& config_id, const json& record) {
  NodeCheckpointReport report;
  report.config_id = config_id;
  report.checkpoint_id = TextOf(record, "id");
  report.time = TextOf(record, "time");
  report.trigger = TextOf(record, "trigger");
  report.frozen_ms = NumberOf<double>(record, "frozen_ms");
  report.seconds = NumberOf<double>(record, "seconds");
  report.bytes_captured = NumberOf<uint64_t>(record, "bytes_captured");
  report.bytes_new = NumberOf<uint64_t>(record, "bytes_new");
  report.bytes_stored = NumberOf<uint64_t>(record, "bytes_stored");
  report.error = TextOf(record, "error");
  return report;
}

std::vector<char*> ArgumentPointers(std::vector<std::string>* strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings->size() + 1);
  for (std::string& s : *strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

// In the child of a fork: system calls only.
[[noreturn]] void BecomeAgent(pid_t parent, int output, char* const* argv,
                              char* const* environment) {
  prctl(PR_SET_PDEATHSIG, SIGUSR1);
  if (getppid() != parent) _exit(127);
  // A terminal's Ctrl-C is for the parent, which stops this one.
  setpgid(0, 0);
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(null_fd, 0);
  dup2(output, 1);
  dup2(output, 2);
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  execve("/proc/self/exe", argv, environment);
  _exit(127);
}

seconds BackOff(int failures) {
  return std::min(kBackOffMax, seconds(1 << std::clamp(failures - 1, 0, 6)));
}

}  // namespace

NodeApplication::NodeApplication(Options options, OrderedApplication order)
    : options_(std::move(options)), id_(order.id), order_(std::move(order)) {
  report_.config_id = id_;
  follower_ = std::thread([this] { Follow(); });
}

NodeApplication::~NodeApplication() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
    stopping_ = true;
  }
  wake_.notify_all();
  follower_.join();
  if (pid_ == 0) return;
  kill(pid_, SIGKILL);
  (void)waitpid(pid_, nullptr, 0);
  (void)EndLeftCell(options_.directory);
}

void NodeApplication::SetOrder(OrderedApplication order) {
  const std::lock_guard lock(mutex_);
  order_ = std::move(order);
}

NodeApplicationReport NodeApplication::report() const {
  const std::lock_guard lock(mutex_);
  return report_;
}

void NodeApplication::Tick() {
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    if (pid_ != 0) {
      int wait_status = 0;
      if (waitpid(pid_, &wait_status, WNOHANG) == pid_) {
        OnExit(wait_status);
        changed = true;
      }
    } else if (!stopping_ && !ended_ && Clock::now() >= next_start_) {
      if (const Status started = Start(); !started.ok()) {
        ++failures_;
        report_.state = "failed";
        report_.error = started.message();
        next_start_ = Clock::now() + BackOff(failures_);
        LogError("{}: {}", id_, started.message());
        changed = true;
      }
    }
  }
  if (changed) options_.changed();
}

Status NodeApplication::Start() {
  SNAP_RETURN_IF_ERROR(MakeDirectories(options_.directory, 0700));
  const std::string config = options_.directory + "/config.json";
  SNAP_RETURN_IF_ERROR(ReplaceFile(config, AsBytes(order_.config), 0600));
  RemoveEndedFile(options_.directory);
  // After a boot the number of its process may come again.
  RemoveAgentFile(options_.directory);
  const std::string log_path = options_.directory + "/agent.log";
  SNAP_ASSIGN_OR_RETURN(const UniqueFd log,
                        OpenFile(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600));
  std::vector<std::string> arguments = {"snapstore-agent",
                                        "run",
                                        "--config",
                                        config,
                                        "--repo",
                                        order_.repository,
                                        "--init",
                                        "--state-dir",
                                        options_.directory,
                                        "--listen",
                                        "127.0.0.1:0",
                                        "--token-file",
                                        options_.token_file,
                                        "--log-file",
                                        log_path,
                                        "--tcp",
                                        order_.keeps_address ? "quiet" : "auto"};
  arguments.insert(arguments.end(), options_.run_options.begin(), options_.run_options.end());
  std::vector<std::string> environment = options_.environment;
  const std::vector<char*> argv = ArgumentPointers(&arguments);
  const std::vector<char*> variables = ArgumentPointers(&environment);
  const pid_t parent = getpid();
  // Runs no atfork handlers, whose locks other threads may hold.
  const pid_t child = _Fork();
  if (child == 0) BecomeAgent(parent, log.get(), argv.data(), variables.data());
  if (child < 0) return Status::FromErrno(errno, "start a process");
  pid_ = child;
  address_.clear();
  attempts_seen_ = 0;
  started_ = Clock::now();
  report_.state = "starting";
  LogInfo("{}: started as process {}", id_, child);
  return Status::Ok();
}

std::string NodeApplication::LastLogLine() const {
  const auto file = OpenFile(options_.directory + "/agent.log", O_RDONLY);
  struct stat info {};
  if (!file.ok() || fstat(file->get(), &info) != 0) return "";
  const auto size = static_cast<uint64_t>(info.st_size);
  Bytes tail(std::min<uint64_t>(size, kLogTailBytes));
  const auto read = PreadFull(file->get(), tail, size - tail.size(), "log");
  if (!read.ok()) return "";
  std::string_view text = std::string_view(AsText(tail)).substr(0, *read);
  while (text.ends_with('\n')) text.remove_suffix(1);
  text.remove_prefix(std::min(text.rfind('\n') + 1, text.size()));
  constexpr std::string_view kProgram = "snapstore-agent: ";
  return text.starts_with(kProgram) ? std::string(text.substr(kProgram.size())) : "";
}

void NodeApplication::OnExit(int wait_status) {
  const auto now = Clock::now();
  const bool clean = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
  const auto how = ReadEndedFile(options_.directory);
  pid_ = 0;
  address_.clear();
  wake_.notify_all();
  if (clean && !stopping_ && !how && HasRunningFile(options_.directory)) {
    // Told by hand to let go of the application, which runs on: it is taken over at once.
    next_start_ = now;
    return;
  }
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kSupersededExitCode && !stopping_) {
    // Started again it would take the application away from where it runs now, and so on.
    ended_ = true;
    report_.state = "ended";
    report_.error = LastLogLine();
    LogError("{}: {}", id_, report_.error);
    return;
  }
  if (how || stopping_ || clean) {
    ended_ = true;
    report_.state = "ended";
    if (how && !clean) {
      report_.error = "ended with " + *how;
    } else if (!stopping_) {
      report_.reason = how ? "ended with " + *how : "stopped by hand";
    }
    LogInfo("{}: {}", id_, how ? "ended with " + *how : "stopped");
    return;
  }
  if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kBusyExitCode) {
    report_.state = "starting";
    report_.error = LastLogLine();
    next_start_ = now + kBusyDelay;
    return;
  }
  if (has_run_ && now - started_ > kCalm) failures_ = 0;
  ++failures_;
  const std::string line = WIFEXITED(wait_status) ? LastLogLine() : "";
  report_.error = line.empty() ? "its agent ended with " + DescribeWaitStatus(wait_status) : line;
  report_.state = has_run_ || failures_ >= kFailuresShown ? "failed" : "starting";
  next_start_ = now + BackOff(failures_);
  LogError("{}: {}; next try in {} s", id_, report_.error, BackOff(failures_).count());
}

Result<json> NodeApplication::Call(bool post, const std::string& path, const std::string& body,
                                   Clock::time_point deadline) const {
  std::string text;
  {
    const std::lock_guard lock(mutex_);
    text = address_;
  }
  if (text.empty()) return Status::NotFound("it is not running");
  SNAP_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse(text));
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
  if (left.count() <= 0) return Status::Timeout("not in time");
  httplib::Client client(address.host, address.port);
  client.set_bearer_token_auth(options_.token);
  client.set_connection_timeout(std::min<milliseconds>(left, kStatusTimeout));
  client.set_read_timeout(left);
  const httplib::Result answer =
      post ? client.Post(path, body, "application/json") : client.Get(path);
  if (!answer) {
    if (Clock::now() >= deadline) return Status::Timeout("not in time");
    return Status::Io("its agent does not answer: " + httplib::to_string(answer.error()));
  }
  json document = json::parse(answer->body, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return Status::Io("its agent answers something else than JSON");
  if (answer->status != 200) return Status::Internal(TextOf(document, "message"));
  return document;
}

void NodeApplication::Follow() {
  while (true) {
    pid_t pid = 0;
    {
      std::unique_lock lock(mutex_);
      const auto pause = report_.state == "starting" ? kFollowStarting : kFollowRunning;
      wake_.wait_for(lock, pause, [this] { return quit_; });
      if (quit_) return;
      if (pid_ == 0) continue;
      pid = pid_;
      if (address_.empty()) {
        const auto file = ReadAgentFile(options_.directory);
        if (!file.ok() || file->pid != pid) continue;
        address_ = file->listen;
        wake_.notify_all();
      }
    }
    const auto status = Call(false, "/status", "", Clock::now() + kStatusTimeout);
    if (status.ok()) Absorb(*status, pid);
  }
}

json NodeApplication::NewAttempts(const json& status) const {
  const auto last = status.find("last_checkpoint");
  if (last == status.end() || !last->is_object()) return json::array();
  const auto number = NumberOf<uint64_t>(*last, "number");
  uint64_t seen = 0;
  {
    const std::lock_guard lock(mutex_);
    seen = attempts_seen_;
  }
  if (number <= seen) return json::array();
  if (number > seen + 1) {
    const auto all = Call(false, "/checkpoints", "", Clock::now() + kStatusTimeout);
    if (all.ok() && all->contains("attempts") && (*all)["attempts"].is_array()) {
      return (*all)["attempts"];
    }
  }
  return json::array({*last});
}

void NodeApplication::Absorb(const json& status, pid_t pid) {
  bool changed = false;
  std::vector<NodeCheckpointReport> reports;
  const json attempts = NewAttempts(status);
  {
    const std::lock_guard lock(mutex_);
    if (pid != pid_) return;
    const NodeApplicationReport before = report_;
    TakeOver(status);
    for (const json& one : attempts) {
      const auto number = NumberOf<uint64_t>(one, "number");
      if (number <= attempts_seen_) continue;
      attempts_seen_ = number;
      reports.push_back(ReportOf(id_, one));
    }
    const auto is_running = [](const std::string& state) {
      return state == "running" || state == "checkpointing";
    };
    changed =
        !reports.empty() || report_.error != before.error ||
        report_.restored_from != before.restored_from ||
        (report_.state != before.state && !(is_running(report_.state) && is_running(before.state)));
  }
  for (const NodeCheckpointReport& report : reports) options_.on_checkpoint(report);
  if (changed) options_.changed();
}

void NodeApplication::TakeOver(const json& status) {
  // Whether it ended by itself is known with its process's end.
  if (const std::string state = TextOf(status, "state"); state != "ended") report_.state = state;
  report_.restored_from = TextOf(status, "restored_from");
  report_.reason = TextOf(status, "start_reason");
  report_.taken = NumberOf<uint64_t>(status, "checkpoints_taken");
  report_.failed = NumberOf<uint64_t>(status, "checkpoints_failed");
  report_.skipped = NumberOf<uint64_t>(status, "checkpoints_skipped");
  if (const auto newest = status.find("newest_checkpoint");
      newest != status.end() && newest->is_object()) {
    report_.checkpoint_id = TextOf(*newest, "id");
    report_.checkpoint_at = TextOf(*newest, "time");
    report_.cpu_features.clear();
    for (const json& feature : newest->value("cpu_features", json::array())) {
      if (feature.is_string()) report_.cpu_features.push_back(feature.get<std::string>());
    }
  }
  if (report_.state == "running") {
    has_run_ = true;
    report_.error.clear();
  }
}

NodeOutcome NodeApplication::Checkpoint(const std::string& trigger) {
  NodeOutcome outcome;
  outcome.config_id = id_;
  const json body = {{"trigger", trigger}};
  const auto record = Call(true, "/checkpoint", body.dump(), Clock::now() + kCheckpointLimit);
  if (record.ok()) {
    outcome.checkpoint_id = TextOf(*record, "id");
  } else {
    outcome.error = record.status().message();
    const std::lock_guard lock(mutex_);
    if (pid_ == 0 && !report_.error.empty()) outcome.error += ": " + report_.error;
  }
  // Told at once, not at the next look.
  pid_t pid = 0;
  {
    const std::lock_guard lock(mutex_);
    pid = pid_;
  }
  const auto status = Call(false, "/status", "", Clock::now() + kStatusTimeout);
  if (status.ok()) Absorb(*status, pid);
  return outcome;
}

bool NodeApplication::WaitForInterface(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  wake_.wait_until(lock, deadline, [this] { return pid_ == 0 || !address_.empty(); });
  return pid_ != 0 && !address_.empty();
}

void NodeApplication::AskToStop(bool checkpoint, Clock::time_point deadline, NodeOutcome* outcome) {
  pid_t pid = 0;
  {
    const std::lock_guard lock(mutex_);
    pid = pid_;
  }
  const auto ask = [&](bool with_checkpoint) {
    return Call(true, "/stop", json({{"checkpoint", with_checkpoint}}).dump(), deadline);
  };
  auto status = ask(checkpoint);
  // It runs on when its checkpoint failed; that may have been a matter of the moment.
  if (checkpoint && status.status().Is(StatusCode::kInternal)) {
    LogWarning("{}: {}; trying once more", id_, status.status().message());
    status = ask(true);
  }
  if (!status.ok()) {
    outcome->error = status.status().message();
    if (status.status().Is(StatusCode::kInternal)) (void)ask(false);
    return;
  }
  Absorb(*status, pid);
  const auto last = status->find("last_checkpoint");
  if (checkpoint && last != status->end() && last->is_object() &&
      TextOf(*last, "trigger") == "final") {
    outcome->checkpoint_id = TextOf(*last, "id");
  }
  if (outcome->checkpoint_id.empty()) {
    outcome->error =
        checkpoint ? "it ended before its final checkpoint" : "no checkpoint was asked for";
  }
}

void NodeApplication::WaitForEnd(Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  const auto ended = [this] { return pid_ == 0; };
  if (wake_.wait_until(lock, deadline, ended)) return;
  LogWarning("{}: does not end, killing it", id_);
  kill(pid_, SIGKILL);
  wake_.wait_for(lock, kKillLimit, ended);
  EndCell();
}

void NodeApplication::EndCell() {
  const Status ended = EndLeftCell(options_.directory);
  if (!ended.ok()) LogError("{}: the application may still run: {}", id_, ended.message());
}

void NodeApplication::Detach() {
  pid_t pid = 0;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    pid = pid_;
  }
  if (pid == 0) return;
  kill(pid, SIGUSR1);
  int wait_status = 0;
  while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
  }
  const std::lock_guard lock(mutex_);
  pid_ = 0;
  address_.clear();
}

NodeOutcome NodeApplication::Stop(bool checkpoint, Clock::time_point deadline) {
  NodeOutcome outcome;
  outcome.config_id = id_;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (pid_ == 0) {
      const std::string& why = report_.error.empty() ? report_.reason : report_.error;
      outcome.error = (ended_ ? "it had ended before: " : "it was not running: ") + why;
      outcome.had_ended = ended_;
      report_.state = "ended";
    }
  }
  if (!outcome.error.empty()) {
    EndCell();
    return outcome;
  }
  if (WaitForInterface(deadline)) {
    AskToStop(checkpoint, deadline, &outcome);
  } else {
    outcome.error = "not in time";
  }
  WaitForEnd(outcome.checkpoint_id.empty() ? std::min(deadline, Clock::now() + kKillLimit)
                                           : deadline);
  options_.changed();
  return outcome;
}

}  // namespace snapstore::agent
