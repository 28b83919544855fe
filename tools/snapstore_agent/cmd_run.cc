#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "agent/control_server.h"
#include "agent/criu_driver.h"
#include "agent/state_files.h"
#include "agent/supervisor.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "snapstore/repository.h"
#include "snapstore/store_settings.h"
#include "tools/snapstore_agent/command.h"
#include "tools/snapstore_agent/hook_options.h"
#include "tools/snapstore_agent/running_agent.h"
#include "tools/snapstore_agent/tls_options.h"
#include "tools/snapstore_agent/upkeep_options.h"

namespace snapstore::agent {
namespace {

// "BI report" becomes "BI_report": a folder name.
std::string FolderName(const std::string& app) {
  std::string name = app.substr(0, 32);
  std::replace_if(
      name.begin(), name.end(),
      [](unsigned char c) { return !std::isalnum(c) && c != '-' && c != '_'; }, '_');
  return name;
}

// The supervisor waits for these itself; threads inherit the mask.
void BlockStopSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP}) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

class RunCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("--config", config_path_, "The application: a JSON file, see below")
        ->required()
        ->type_name("FILE");
    app->add_option("--repo", repository_,
                    "Where checkpoints go: /path, file:///path, efs://fs-ID/path; else the "
                    "configuration's snapshotDestination")
        ->type_name("REPO");
    app->add_flag("--init", init_, "Make the repository if there is none");
    app->add_option("--listen", listen_, "Address of the control interface")
        ->type_name("ADDR:PORT")
        ->capture_default_str();
    app->add_option("--token-file", token_file_,
                    "Requests must carry this bearer token; required unless on loopback")
        ->type_name("FILE");
    tls_flags_.AddOptions(app);
    app->add_option("--state-dir", state_directory_,
                    "Log of the application, CRIU's working files; else "
                    "/var/lib/snapstore-agent/NAME")
        ->type_name("DIR");
    app->add_option("--arena-limit", arena_limit_,
                    "Memory one checkpoint may take up; 0: half of this machine's")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("BYTES");
    app->add_option("--spool", spool_.directory,
                    "On whose disk what exceeds that is kept until it is stored; else STATE/spool")
        ->type_name("DIR");
    app->add_option("--spool-limit", spool_.limit,
                    "Bytes there at most; 0: none; else half of what is free at the start")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("BYTES");
    app->add_option("--memory-limit", memory_limit_, "Memory of the storage engine")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("BYTES")
        ->capture_default_str();
    app->add_option("--keep", keep_,
                    "Verified checkpoints that stay when there are newer ones; 0: all")
        ->capture_default_str();
    app->add_flag("--end-with-agent", end_with_agent_,
                  "If the agent is killed the application ends, too, instead of running on");
    app->add_option("--when-superseded", when_superseded_,
                    "What becomes of the application when another agent has started it elsewhere "
                    "since: end (exit code 14), or run-on without checkpoints")
        ->check(CLI::IsMember({"end", "run-on"}))
        ->capture_default_str();
    app->add_option("--lazy", lazy_,
                    "Let a restored application run before its memory has arrived: on, off; auto: "
                    "from 32 MiB on")
        ->type_name("WHEN")
        ->capture_default_str();
    app->add_option("--tcp", tcp_,
                    "Established TCP connections at a restore: keep, close; auto: keep those of a "
                    "final checkpoint, if their addresses are here; quiet: the same, and a final "
                    "checkpoint ends them without a word to their peers, to go on elsewhere (so "
                    "does keep)")
        ->type_name("WHAT")
        ->capture_default_str();
    app->add_option(
           "--volume", volumes_,
           "A folder on a volume that goes along with the application: files written there "
           "need not be external files; may be repeated")
        ->type_name("DIR");
    app->add_option("--dirty-tracking", dirty_tracking_,
                    "auto: copy and compare only pages that were written since the last "
                    "checkpoint, where the kernel (6.7) can tell; off: all")
        ->check(CLI::IsMember({"auto", "off"}))
        ->capture_default_str();
    app->add_option("--budget-seconds", budget_seconds_,
                    "Take a checkpoint, beside the schedule, before what changed would need longer "
                    "than that to be stored; 0: by the schedule alone")
        ->check(CLI::NonNegativeNumber)
        ->type_name("SECONDS")
        ->capture_default_str();
    app->add_option("--budget-interval", budget_interval_,
                    "From one checkpoint to the next that is taken for the budget, at least")
        ->check(CLI::NonNegativeNumber)
        ->type_name("SECONDS")
        ->capture_default_str();
    app->add_option("-o,--store-setting", store_settings_,
                    "Setting of the store, as s3.upload-limit=10M; may be repeated (final "
                    "checkpoints pass its limits of bandwidth over)")
        ->type_name("NAME=VALUE");
    app->add_flag("--fresh", fresh_, "Start afresh even if there is a checkpoint");
    hook_flags_.AddOptions(app);
    upkeep_.AddOptions(app);
  }

  Outcome Run(const GlobalOptions& globals) override {
    auto config = AppConfig::Load(config_path_);
    if (!config.ok()) return Outcome::Usage(config.status());
    auto address = ListenAddress::Parse(listen_);
    if (!address.ok()) return Outcome::Usage(address.status());
    auto lazy = ParseLazyChoice(lazy_);
    if (!lazy.ok()) return Outcome::Usage(lazy.status().WithContext("--lazy"));
    auto tcp = ParseTcpChoice(tcp_);
    if (!tcp.ok()) return Outcome::Usage(tcp.status().WithContext("--tcp"));
    choices_ = {*lazy, *tcp};
    if (Status tls = tls_flags_.Check(); !tls.ok()) return Outcome::Usage(tls);
    if (Status upkeep = upkeep_.Check(); !upkeep.ok()) return Outcome::Usage(upkeep);
    auto hooks = hook_flags_.Read();
    if (!hooks.ok()) return Outcome::Usage(hooks.status());
    hooks_ = *std::move(hooks);
    if (geteuid() != 0) {
      return Outcome::Of(Status::PermissionDenied("run: must be root to make namespaces"));
    }
    if (globals.quiet) SetLogLevel(LogLevel::kWarning);
    std::string token;
    if (!token_file_.empty()) {
      auto read = ReadTokenFile(token_file_);
      if (!read.ok()) return Outcome::Usage(read.status());
      token = std::move(*read);
      HideInLogs(token);
    } else if (!address->IsLoopback()) {
      return Outcome::Usage(Status::InvalidArgument(fmt::format(
          "--listen {}: not a loopback address, needs --token-file", address->ToString())));
    }
    BlockStopSignals();
    if (state_directory_.empty()) {
      state_directory_ = "/var/lib/snapstore-agent/" + FolderName(config->name);
    }
    state_directory_ = std::filesystem::absolute(state_directory_).lexically_normal();
    if (state_directory_.ends_with('/')) state_directory_.pop_back();
    return RunWith(std::move(*config),
                   {*address, token, tls_flags_.certificate_file, tls_flags_.key_file}, globals);
  }

 private:
  Outcome RunWith(AppConfig config, const ControlOptions& control, const GlobalOptions& globals) {
    upkeep_.log.application_log = state_directory_ + "/app.log";
    const auto logs = LogKeeper::Start(upkeep_.log);
    if (!logs.ok()) return Outcome::Of(logs.status());
    auto criu = CriuDriver::Find();
    if (!criu.ok()) return Outcome::Of(criu.status());
    auto repository = OpenRepository(config);
    if (!repository.ok()) {
      const bool missing = repository.status().Is(StatusCode::kNotFound);
      return missing ? Outcome{repository.status(), kExitNoRepository}
                     : Outcome::Of(repository.status());
    }
    SupervisorOptions options{.config = std::move(config), .state_directory = state_directory_};
    options.arena_limit = arena_limit_;
    options.restore = !fresh_;
    options.spool = spool_;
    options.keep = keep_;
    options.outlive = !end_with_agent_;
    options.run_on_when_superseded = when_superseded_ == "run-on";
    options.choices = choices_;
    options.hooks = hooks_;
    options.background = upkeep_.background;
    options.volumes = volumes_;
    options.adaptive.budget_seconds = budget_seconds_;
    options.adaptive.interval_seconds_min = budget_interval_;
    options.track_pages = dirty_tracking_ == "auto";
    auto supervisor = Supervisor::Create(std::move(options), repository->get(), &*criu);
    if (!supervisor.ok()) return Outcome::Of(supervisor.status());
    auto server = ControlServer::Start(control, supervisor->get());
    if (!server.ok()) return Outcome::Of(server.status());
    RemoveEndedFile(state_directory_);
    const std::string listening = (*server)->address().ToString();
    if (Status written = WriteAgentFile(state_directory_, listening, (*server)->fingerprint());
        !written.ok()) {
      return Outcome::Of(written);
    }
    LogInfo("control interface on {}", (*server)->url());
    if (globals.json) {
      fmt::print("{}\n", nlohmann::json({{"message_type", "started"},
                                         {"listen", listening},
                                         {"repository", (*repository)->location()},
                                         {"state_dir", state_directory_}})
                             .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      std::fflush(stdout);
    }
    const Status ended = (*supervisor)->Run();
    if (const SupervisorStatus last = (*supervisor)->status(); last.ended_by_itself) {
      const Status written = WriteEndedFile(state_directory_, last.ended);
      if (!written.ok()) LogWarning("{}", written.message());
    }
    RemoveAgentFile(state_directory_);
    if (ended.ok()) return Outcome::Done();
    const bool superseded = !(*supervisor)->status().superseded.empty();
    return Outcome{ended, superseded ? kExitSuperseded : kExitFailed};
  }

  Result<std::unique_ptr<Repository>> OpenRepository(const AppConfig& config) const {
    RepositoryOptions options;
    options.location = repository_.empty() ? config.RepositoryLocation() : repository_;
    options.memory_limit = memory_limit_;
    SNAP_ASSIGN_OR_RETURN(options.store_settings, ParseStoreSettings("-o", store_settings_));
    options.cache_dir = state_directory_ + "/cache";
    SNAP_RETURN_IF_ERROR(MakeDirectories(options.cache_dir, 0700));
    SNAP_ASSIGN_OR_RETURN(options.credential, CredentialFromEnvironment());
    auto opened = Repository::Open(options);
    if (opened.ok() || !opened.status().Is(StatusCode::kNotFound)) return opened;
    if (!init_) {
      return Status::NotFound(
          fmt::format("{}: make one with 'snapstore init -r {}' or start with --init",
                      opened.status().message(), options.location));
    }
    // Another node may be quicker; then it is there all the same.
    const Status made = Repository::Init(
        options, {.encrypt = options.credential.has_value(), .key_label = "agent"});
    if (!made.ok() && !made.Is(StatusCode::kConflict)) return made;
    return Repository::Open(options);
  }

  std::string config_path_;
  std::string repository_;
  std::string listen_ = kDefaultListen;
  std::string token_file_;
  std::string state_directory_;
  uint64_t arena_limit_ = 0;
  SpoolOptions spool_;
  uint64_t memory_limit_ = 512ull << 20;
  size_t keep_ = 3;
  std::string lazy_ = "auto";
  std::string tcp_ = "auto";
  RestoreChoices choices_;
  TlsFlags tls_flags_;
  HookFlags hook_flags_;
  UpkeepFlags upkeep_;
  HookOptions hooks_;
  std::vector<std::string> volumes_;
  std::string dirty_tracking_ = "auto";
  bool init_ = false;
  bool fresh_ = false;
  double budget_seconds_ = 90;  // of the two minutes that a cloud gives at best
  double budget_interval_ = 30;
  std::vector<std::string> store_settings_;
  bool end_with_agent_ = false;
  std::string when_superseded_ = "end";
};

}  // namespace

const CommandInfo kRunCommand{
    "run", "Run an application, from its newest checkpoint if there is one.",
    R"(  snapstore-agent run --config app.json --repo /mnt/efs/checkpoints --init
  snapstore-agent run --config app.json --listen 0.0.0.0:9527 --token-file /etc/snapstore/token \
      --tls-certificate agent.pem --tls-key agent-key.pem

app.json:
  {"config": {"name": "BI", "runCmd": "python3 /srv/app.py", "snapshotDestination": "fs-0123abcd",
              "snapshotScheduler": "*/3 * * * *", "externalFiles": ["/srv/app.log"]}}

snapshotScheduler is a cron expression in UTC. externalFiles are saved at the same instant as the
memory and put back before it. SIGTERM and SIGINT take a final checkpoint, then end the application;
SIGQUIT ends it at once. SIGUSR1 ends the agent alone, and so does SIGKILL: the application runs on,
and the next run with the same state directory takes it over. The newest agent of an application is
the only one: an older one takes no more checkpoints, ends it and exits with 14.)",
    [] { return std::unique_ptr<Command>(new RunCommand()); }};

}  // namespace snapstore::agent
