#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "agent/app_config.h"
#include "agent/arena.h"
#include "agent/cell.h"
#include "agent/criu_driver.h"
#include "agent/kernel_probes.h"
#include "agent/platform.h"
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

// What is the same for every application here.
struct Machine {
  Platform platform = Platform::OfThisMachine();
  Result<CriuDriver> criu = CriuDriver::Find();
  Status criu_works = Status::Ok();
  Status dirty_tracking = ProbeDirtyTracking();
  Status lazy_restore = ProbeLazyRestore();

  Machine() { criu_works = criu.ok() ? criu->Check() : criu.status(); }

  nlohmann::json ToJson() const {
    const auto probe = [](const Status& status) {
      return nlohmann::json{
          {"works", status.ok()},
          {"error", status.ok() ? nlohmann::json() : nlohmann::json(status.message())}};
    };
    return {{"kernel", platform.kernel},
            {"architecture", platform.architecture},
            {"cpu", platform.cpu_model},
            {"cpu_features", platform.cpu_features},
            {"criu_version", criu.ok() ? nlohmann::json(criu->version()) : nlohmann::json()},
            {"criu", probe(criu_works)},
            {"dirty_tracking", probe(dirty_tracking)},
            {"lazy_restore", probe(lazy_restore)}};
  }

  void Print() const {
    const auto probe = [](const Status& status) {
      return status.ok() ? std::string("works") : "does not work: " + status.message();
    };
    fmt::print("kernel           {} ({})\n", platform.kernel, platform.architecture);
    fmt::print("cpu              {}: {}\n", platform.cpu_model,
               fmt::join(platform.cpu_features, " "));
    fmt::print("criu             {}{}\n", criu.ok() ? criu->version() + ", " : "",
               probe(criu_works));
    fmt::print("dirty tracking   {}\n", probe(dirty_tracking));
    fmt::print("lazy restore     {}\n", probe(lazy_restore));
  }
};

// What is to be looked at: a process, or a command to be started.
struct Target {
  pid_t pid = 0;
  std::vector<std::string> argv;
  ListedFiles listed;

  // Of a number, the name of a configuration, a command in one word, or a command's words.
  static Result<Target> Parse(const std::vector<std::string>& words,
                              const std::vector<std::string>& volumes) {
    Target target;
    target.listed.folders = volumes;
    if (words.size() > 1) {
      target.argv = words;
      return target;
    }
    const std::string& word = words.front();
    const char* word_end = word.data() + word.size();
    const auto [end, error] = std::from_chars(word.data(), word_end, target.pid);
    if (error == std::errc() && end == word_end && target.pid > 0) return target;
    target.pid = 0;
    if (word.ends_with(".json") && std::filesystem::is_regular_file(word)) {
      SNAP_ASSIGN_OR_RETURN(AppConfig config, AppConfig::Load(word));
      target.argv = std::move(config.argv);
      target.listed.files = std::move(config.external_files);
      return target;
    }
    auto argv = SplitCommand(word);
    if (!argv.ok()) return argv.status().WithContext("command");
    target.argv = std::move(*argv);
    return target;
  }
};

class CheckCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("target", words_,
                    "A process id, a configuration (a file *.json), or a command: in one argument, "
                    "or its words behind --")
        ->required()
        ->expected(-1)
        ->type_name("PID|FILE|CMD");
    app->add_option("--seconds", seconds_, "How long a command runs before it is looked at")
        ->check(CLI::Range(0.0, 3600.0))
        ->capture_default_str();
    app->add_option("--volume", volumes_,
                    "A folder on a volume that goes along with the application; may be repeated")
        ->type_name("DIR");
  }

  Outcome Run(const GlobalOptions& globals) override {
    if (geteuid() != 0) return Outcome::Of(Status::PermissionDenied("check: must be root"));
    const Result<Target> target = Target::Parse(words_, volumes_);
    if (!target.ok()) return Outcome::Usage(target.status());
    const Machine machine;
    std::vector<Finding> findings;
    Trial trial;
    const Status status = target->pid != 0 ? CheckProcess(*target, &findings)
                                           : CheckCmd(*target, machine, &findings, &trial);
    if (!status.ok()) return Outcome::Of(status);
    return Print(machine, findings, trial, globals);
  }

 private:
  static Status CheckProcess(const Target& target, std::vector<Finding>* findings) {
    SNAP_ASSIGN_OR_RETURN(std::vector<pid_t> pids, DescendantsOf(target.pid));
    pids.insert(pids.begin(), target.pid);
    auto found = InspectProcesses(pids, target.listed);
    if (!found.ok()) return found.status().WithContext(fmt::format("process {}", target.pid));
    *findings = std::move(*found);
    return Status::Ok();
  }

  Status CheckCmd(const Target& target, const Machine& machine, std::vector<Finding>* findings,
                  Trial* trial) const {
    if (!machine.criu.ok()) return machine.criu.status();
    SNAP_ASSIGN_OR_RETURN(const auto scratch, ScratchDirectory::Make());
    std::vector<std::string> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      environment.emplace_back(*variable);
    }
    const std::string log = scratch->path() + "/log";
    SNAP_ASSIGN_OR_RETURN(const auto cell,
                          Cell::Create({target.argv, std::move(environment), "/", log}));
    SNAP_RETURN_IF_ERROR(cell->StartApplication());
    const auto wait = std::chrono::milliseconds(static_cast<int64_t>(seconds_ * 1000));
    if (const auto ended = cell->WaitForExit(wait)) {
      return Status::Io(fmt::format("the command has ended with {} before it was looked at",
                                    DescribeWaitStatus(*ended)));
    }
    SNAP_ASSIGN_OR_RETURN(const std::vector<pid_t> pids, DescendantsOf(cell->init_pid()));
    ListedFiles listed = target.listed;
    listed.files.push_back(log);
    SNAP_ASSIGN_OR_RETURN(*findings, InspectProcesses(pids, listed));
    SNAP_ASSIGN_OR_RETURN(const auto arena, Arena::Create(kTrialArenaBytes));
    SNAP_RETURN_IF_ERROR(arena->Prepare(DumpBytesEstimate(pids) + kTrialSpareBytes));
    const auto dumped =
        machine.criu->Dump(cell.get(), scratch->path(), arena.get(), [] { return Status::Ok(); });
    trial->made = true;
    trial->status = dumped.status();
    if (dumped.ok()) trial->frozen_ms = static_cast<double>(dumped->stats.frozen_us) / 1000;
    return Status::Ok();
  }

  static Outcome Print(const Machine& machine, const std::vector<Finding>& findings,
                       const Trial& trial, const GlobalOptions& globals) {
    size_t blockers = trial.status.ok() ? 0 : 1;
    nlohmann::json list = nlohmann::json::array();
    if (!globals.json) machine.Print();
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
          {"machine", machine.ToJson()},
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

  std::vector<std::string> words_;
  std::vector<std::string> volumes_;
  double seconds_ = 3;
};

}  // namespace

const CommandInfo kCheckCommand{"check", "Name what of an application cannot be checkpointed.",
                                R"(  snapstore-agent check 4711
  snapstore-agent check app.json
  snapstore-agent check --seconds 5 -- redis-server --port 7000

A process is looked at from outside and left alone. A command is started as the agent would start
it, looked at, dumped on trial, and ended; what it does meanwhile is really done. A blocker fails
every checkpoint or its restore; a warning is what will be different after a restore. Exit code 1:
there is a blocker.)",
                                [] { return std::unique_ptr<Command>(new CheckCommand()); }};

}  // namespace snapstore::agent
