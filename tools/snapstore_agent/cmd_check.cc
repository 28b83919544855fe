#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "agent/arena.h"
#include "agent/cell.h"
#include "agent/criu_driver.h"
#include "agent/preflight.h"
#include "agent/process_tree.h"
#include "base/shell_words.h"
#include "base/status_macros.h"
#include "tools/snapstore_agent/command.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kTrialArenaBytes = 64ull << 30;  // addresses only, until they are used
constexpr uint64_t kTrialSpareBytes = 32 << 20;

// A directory of this run, removed at its end.
class ScratchDirectory {
 public:
  static Result<std::unique_ptr<ScratchDirectory>> Make() {
    std::string pattern = "/tmp/snapstore-check-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) return Status::FromErrno(errno, "make " + pattern);
    return std::unique_ptr<ScratchDirectory>(new ScratchDirectory(pattern));
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit ScratchDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

struct Trial {
  bool made = false;
  Status status;
  double frozen_ms = 0;
};

// Without the log's name: it is gone when this is read.
std::string TrialError(const Trial& trial) {
  const std::string message = trial.status.message();
  return message.substr(0, message.find(" (log: "));
}

class CheckCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("target", target_, "A process id, or a command line in one argument")
        ->required()
        ->type_name("PID|CMD");
    app->add_option("--seconds", seconds_, "How long a command runs before it is looked at")
        ->check(CLI::Range(0.0, 3600.0))
        ->capture_default_str();
  }

  Outcome Run(const GlobalOptions& globals) override {
    if (geteuid() != 0) return Outcome::Of(Status::PermissionDenied("check: must be root"));
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(target_.data(), target_.data() + target_.size(), pid);
    std::vector<Finding> findings;
    Trial trial;
    const bool is_pid = error == std::errc() && end == target_.data() + target_.size() && pid > 0;
    const Status status = is_pid ? CheckProcess(pid, &findings) : CheckCmd(&findings, &trial);
    if (!status.ok()) {
      return status.Is(StatusCode::kInvalidArgument) ? Outcome::Usage(status) : Outcome::Of(status);
    }
    return Print(findings, trial, globals);
  }

 private:
  static Status CheckProcess(pid_t pid, std::vector<Finding>* findings) {
    SNAP_ASSIGN_OR_RETURN(std::vector<pid_t> pids, DescendantsOf(pid));
    pids.insert(pids.begin(), pid);
    auto found = InspectProcesses(pids);
    if (!found.ok()) return found.status().WithContext(fmt::format("process {}", pid));
    *findings = std::move(*found);
    return Status::Ok();
  }

  Status CheckCmd(std::vector<Finding>* findings, Trial* trial) const {
    auto argv = SplitCommand(target_);
    if (!argv.ok()) return argv.status().WithContext("command");
    SNAP_ASSIGN_OR_RETURN(const CriuDriver criu, CriuDriver::Find());
    SNAP_ASSIGN_OR_RETURN(const auto scratch, ScratchDirectory::Make());
    std::vector<std::string> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      environment.emplace_back(*variable);
    }
    SNAP_ASSIGN_OR_RETURN(const auto cell, Cell::Create({std::move(*argv), std::move(environment),
                                                         "/", scratch->path() + "/log"}));
    SNAP_RETURN_IF_ERROR(cell->StartApplication());
    const auto wait = std::chrono::milliseconds(static_cast<int64_t>(seconds_ * 1000));
    if (const auto ended = cell->WaitForExit(wait)) {
      return Status::Io(fmt::format("the command has ended with {} before it was looked at",
                                    DescribeWaitStatus(*ended)));
    }
    SNAP_ASSIGN_OR_RETURN(const std::vector<pid_t> pids, DescendantsOf(cell->init_pid()));
    SNAP_ASSIGN_OR_RETURN(*findings, InspectProcesses(pids));
    SNAP_ASSIGN_OR_RETURN(const auto arena, Arena::Create(kTrialArenaBytes));
    SNAP_RETURN_IF_ERROR(arena->Prepare(DumpBytesEstimate(pids) + kTrialSpareBytes));
    const auto dumped =
        criu.Dump(cell.get(), scratch->path(), arena.get(), [] { return Status::Ok(); });
    trial->made = true;
    trial->status = dumped.status();
    if (dumped.ok()) trial->frozen_ms = static_cast<double>(dumped->stats.frozen_us) / 1000;
    return Status::Ok();
  }

  static Outcome Print(const std::vector<Finding>& findings, const Trial& trial,
                       const GlobalOptions& globals) {
    size_t blockers = trial.status.ok() ? 0 : 1;
    nlohmann::json list = nlohmann::json::array();
    for (const Finding& finding : findings) {
      const bool blocks = finding.severity == Finding::Severity::kBlocker;
      blockers += blocks ? 1 : 0;
      list.push_back({{"severity", blocks ? "blocker" : "warning"},
                      {"pid", finding.pid},
                      {"program", finding.program},
                      {"object", finding.object},
                      {"reason", finding.reason}});
      if (globals.json) continue;
      fmt::print("{}: {} ({}): {} {}\n", blocks ? "blocker" : "warning", finding.program,
                 finding.pid, finding.object, finding.reason);
    }
    if (globals.json) {
      const nlohmann::json document = {
          {"message_type", "check"},
          {"ok", blockers == 0},
          {"findings", std::move(list)},
          {"trial_dump", trial.made ? nlohmann::json(trial.status.ok()) : nlohmann::json()},
          {"trial_error", trial.status.ok() ? nlohmann::json() : nlohmann::json(TrialError(trial))},
          {"frozen_ms",
           trial.made && trial.status.ok() ? nlohmann::json(trial.frozen_ms) : nlohmann::json()}};
      fmt::print("{}\n", document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    } else if (!trial.status.ok()) {
      fmt::print("blocker: trial dump failed: {}\n", TrialError(trial));
    } else if (trial.made) {
      fmt::print("trial dump worked: frozen {:.1f} ms\n", trial.frozen_ms);
    } else if (blockers == 0) {
      fmt::print("no blocker found\n");
    }
    return {Status::Ok(), blockers == 0 ? kExitDone : kExitFailed};
  }

  std::string target_;
  double seconds_ = 3;
};

}  // namespace

const CommandInfo kCheckCommand{"check", "Name what of an application cannot be checkpointed.",
                                R"(  snapstore-agent check 4711
  snapstore-agent check 'redis-server --port 7000' --seconds 5

A process is looked at from outside and left alone. A command is started as the agent would start
it, looked at, dumped on trial, and ended; what it does meanwhile is really done. Exit code 1: there
is a blocker.)",
                                [] { return std::unique_ptr<Command>(new CheckCommand()); }};

}  // namespace snapstore::agent
