#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "agent/control_server.h"
#include "agent/hooks.h"
#include "agent/node_agent.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "tools/snapstore_agent/command.h"
#include "tools/snapstore_agent/tls_options.h"
#include "tools/snapstore_agent/upkeep_options.h"

namespace snapstore::agent {
namespace {

constexpr const char* kDefaultHooks = "/etc/snapstore/hooks.json";
constexpr const char* kTokenVariable = "SPOTINST_TOKEN";

bool IsAccount(const std::string& text) {
  constexpr std::string_view kPrefix = "act-";
  return text.starts_with(kPrefix) && text.size() > kPrefix.size() &&
         std::all_of(text.begin() + kPrefix.size(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); });
}

class NodeCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("--controller", options_.controller_url, "The controller's address")
        ->required()
        ->type_name("URL");
    app->add_option("--account", options_.account, "The account of the node")
        ->required()
        ->type_name("act-ID")
        ->envname("SPOTINST_ACCOUNT");
    app->add_option("--token-file", token_file_,
                    "The token for the controller; else it is taken from SPOTINST_TOKEN")
        ->type_name("FILE");
    app->add_option("--listen", listen_, "Address of the control interface")
        ->type_name("ADDR:PORT")
        ->capture_default_str();
    app->add_option("--state-dir", options_.state_directory,
                    "What the agent and its applications work with")
        ->type_name("DIR")
        ->capture_default_str();
    app->add_option("--metadata-url", options_.metadata_url, "The instance metadata service")
        ->type_name("URL")
        ->capture_default_str();
    app->add_option("--controller-ca", options_.controller_ca,
                    "Certificates (PEM) that the controller's is checked with; else this machine's")
        ->type_name("FILE")
        ->check(CLI::ExistingFile);
    tls_flags_.AddOptions(app);
    upkeep_.AddOptions(app);
    app->add_option(
           "--arena-limit", arena_limit_,
           "Memory one checkpoint of an application may take up; 0: half of this machine's")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("BYTES");
    app->add_option("--memory-limit", memory_limit_,
                    "Memory of the storage engine, for each application; 0: as `run` has it")
        ->transform(CLI::AsSizeValue(false))
        ->type_name("BYTES");
    app->add_flag("--plain-http", options_.plain_http, "The control interface without TLS");
    app->add_option("--hooks", hooks_file_,
                    fmt::format("Hooks of the applications: a JSON file; else {} if there is one",
                                kDefaultHooks))
        ->type_name("FILE");
    app->add_option("--poll-seconds", poll_seconds_, "Between looks for notices of the cloud")
        ->check(CLI::Range(0.1, 60.0))
        ->capture_default_str();
  }

  Outcome Run(const GlobalOptions& globals) override {
    if (globals.quiet) SetLogLevel(LogLevel::kWarning);
    const Status checked = Check();
    if (!checked.ok()) return Outcome::Usage(checked);
    if (geteuid() != 0) {
      return Outcome::Of(Status::PermissionDenied("node: must be root to run applications"));
    }
    BlockStopSignals();
    std::string& directory = options_.state_directory;
    directory = std::filesystem::absolute(directory).lexically_normal();
    if (directory.ends_with('/')) directory.pop_back();
    options_.poll = std::chrono::milliseconds(static_cast<int64_t>(poll_seconds_ * 1000));
    options_.version = SNAPSTORE_VERSION;
    const auto logs = LogKeeper::Start(upkeep_.log);
    if (!logs.ok()) return Outcome::Of(logs.status());
    auto agent = NodeAgent::Create(options_);
    if (!agent.ok()) {
      return agent.status().Is(StatusCode::kInvalidArgument) ? Outcome::Usage(agent.status())
                                                             : Outcome::Of(agent.status());
    }
    if (globals.json) {
      fmt::print("{}\n", nlohmann::json({{"message_type", "node_started"},
                                         {"listen", (*agent)->address().ToString()},
                                         {"state_dir", directory}})
                             .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      std::fflush(stdout);
    }
    const Status ended = (*agent)->Run();
    return ended.ok() ? Outcome::Done() : Outcome{ended, kExitFailed};
  }

 private:
  Status Check() {
    auto address = ListenAddress::Parse(listen_);
    if (!address.ok()) return address.status();
    options_.listen = *address;
    if (!IsAccount(options_.account)) {
      return Status::InvalidArgument(
          fmt::format("--account: must be of the form act-…, not '{}'", options_.account));
    }
    SNAP_RETURN_IF_ERROR(tls_flags_.Check());
    SNAP_RETURN_IF_ERROR(upkeep_.Check());
    options_.run_options = upkeep_.ForRun();
    AddLimits();
    options_.certificate_file = tls_flags_.certificate_file;
    options_.key_file = tls_flags_.key_file;
    if (options_.plain_http && !options_.certificate_file.empty()) {
      return Status::InvalidArgument("--plain-http excludes --tls-certificate");
    }
    if (!options_.metadata_url.starts_with("http://")) {
      return Status::InvalidArgument(
          fmt::format("--metadata-url: '{}' is no http:// URL", options_.metadata_url));
    }
    if (!token_file_.empty()) {
      auto token = ReadTokenFile(token_file_);
      if (!token.ok()) return token.status();
      options_.token = *std::move(token);
    } else if (const char* token = std::getenv(kTokenVariable); token != nullptr) {
      options_.token = token;
    }
    if (options_.token.empty()) {
      return Status::InvalidArgument(
          fmt::format("no token: give --token-file or set {}", kTokenVariable));
    }
    HideInLogs(options_.token);
    return CheckHooks();
  }

  void AddLimits() {
    for (const auto& [name, bytes] :
         {std::pair("--arena-limit", arena_limit_), std::pair("--memory-limit", memory_limit_)}) {
      if (bytes == 0) continue;
      options_.run_options.insert(options_.run_options.end(), {name, std::to_string(bytes)});
    }
  }

  Status CheckHooks() {
    const bool given = !hooks_file_.empty();
    const std::string path = given ? hooks_file_ : kDefaultHooks;
    HookOptions ignored;
    const Status loaded = LoadHooks(path, &ignored);
    if (!given && loaded.Is(StatusCode::kNotFound)) return Status::Ok();
    SNAP_RETURN_IF_ERROR(loaded);
    options_.run_options.insert(options_.run_options.end(),
                                {"--hooks", std::filesystem::absolute(path)});
    return Status::Ok();
  }

  // The agent takes them itself; threads inherit the mask.
  static void BlockStopSignals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
  }

  NodeAgentOptions options_{.controller_url = "",
                            .account = "",
                            .token = "",
                            .controller_ca = "",
                            .listen = {},
                            .certificate_file = "",
                            .key_file = "",
                            .state_directory = "/var/lib/snapstore-agent",
                            .metadata_url = kMetadataUrl,
                            .version = ""};
  TlsFlags tls_flags_;
  UpkeepFlags upkeep_;
  uint64_t arena_limit_ = 0;
  uint64_t memory_limit_ = 0;
  std::string listen_ = "0.0.0.0:9527";
  std::string token_file_;
  std::string hooks_file_;
  double poll_seconds_ = 5;
};

}  // namespace

const CommandInfo kNodeCommand{
    "node", "Run the applications of a stateful node on its instance, for the controller.",
    R"(  snapstore-agent node --controller https://controller:8080 --account act-0a1b2c3d \
      --token-file /etc/snapstore/token &

That is meant to be the last line of the user data, and of a script that runs at every boot: one
agent runs per state directory, a second one ends with exit code 11. Applications are those of the
node's configuration; they are started when the controller says that the volumes have come.
SIGTERM and SIGINT take final checkpoints, then end all; SIGQUIT ends all at once. SIGUSR1 ends the
agent alone, and so does SIGKILL: the applications run on, and the next agent takes them over.)",
    [] { return std::unique_ptr<Command>(new NodeCommand()); }};

}  // namespace snapstore::agent
