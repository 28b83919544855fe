#include "agent/node_agent.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <nlohmann/json.hpp>

#include "agent/node_server.h"
#include "agent/platform.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "base/tls_certificate.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTick{100};
constexpr milliseconds kIdentityRetry{1000};
constexpr milliseconds kControllerTurn{2000};  // to stop the applications after a notice
constexpr seconds kStopLimit{600};             // after a signal
constexpr seconds kQuitLimit{10};
constexpr seconds kLastWord{3};
// Of a notice that does not say when, and what is left for others of one that does.
constexpr seconds kNoticeLimit{30};
constexpr seconds kNoticeMargin{2};
constexpr seconds kNoticeLimitMin{2};
constexpr seconds kNoticeLimitMax{120};
constexpr size_t kTokenBytes = 32;

std::string NewToken() {
  std::array<uint8_t, kTokenBytes> bytes{};
  SecureRandom(bytes);
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

sigset_t NodeStopSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGUSR1}) sigaddset(&set, number);
  return set;
}

// The number of the signal that came; 0: none within the time.
int WaitForSignal(milliseconds limit) {
  const sigset_t set = NodeStopSignals();
  const timespec time = ToTimespec(limit.count() * 1'000'000);
  return std::max(0, sigtimedwait(&set, nullptr, &time));
}

// This process's environment without what those it starts have no use for.
std::vector<std::string> Environment(std::initializer_list<std::string_view> without,
                                     const std::string& metadata_url) {
  constexpr std::string_view kMetadata = "AWS_EC2_METADATA_SERVICE_ENDPOINT=";
  std::vector<std::string> environment;
  bool metadata_given = metadata_url.empty() || metadata_url == kMetadataUrl;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    if (std::none_of(without.begin(), without.end(),
                     [&](std::string_view name) { return text.starts_with(name); })) {
      environment.emplace_back(text);
      metadata_given = metadata_given || text.starts_with(kMetadata);
    }
  }
  if (!metadata_given) environment.push_back(std::string(kMetadata) + metadata_url);
  return environment;
}

json StatusTextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }

json ApplicationJson(const NodeApplicationReport& one) {
  return {{"config_id", one.config_id},
          {"state", one.state},
          {"restored_from", StatusTextOrNull(one.restored_from)},
          {"reason", StatusTextOrNull(one.reason)},
          {"error", StatusTextOrNull(one.error)},
          {"checkpoint_id", StatusTextOrNull(one.checkpoint_id)},
          {"checkpoint_at", StatusTextOrNull(one.checkpoint_at)},
          {"checkpoints_taken", one.taken},
          {"checkpoints_failed", one.failed},
          {"checkpoints_skipped", one.skipped}};
}

milliseconds TimeLeft(const NodeNotice& notice) {
  const auto when = ParseTime(notice.time);
  if (!when.ok()) return kNoticeLimit;
  const milliseconds left((*when - WallNanos()) / 1'000'000);
  return std::clamp<milliseconds>(left - kNoticeMargin, kNoticeLimitMin, kNoticeLimitMax);
}

}  // namespace

NodeAgent::NodeAgent(NodeAgentOptions options)
    : options_(std::move(options)),
      cpu_features_(Platform::OfThisMachine().cpu_features),
      metadata_(options_.metadata_url) {}

NodeAgent::~NodeAgent() {
  // What calls others goes before them.
  server_.reset();
  notices_.reset();
  if (rebalance_.joinable()) rebalance_.join();
  reporter_.reset();
  applications_.reset();
}

Result<std::unique_ptr<NodeAgent>> NodeAgent::Create(NodeAgentOptions options) {
  std::unique_ptr<NodeAgent> agent(new NodeAgent(std::move(options)));
  SNAP_RETURN_IF_ERROR(agent->SetUp());
  return agent;
}

Status NodeAgent::SetUp() {
  const std::string& directory = options_.state_directory;
  SNAP_ASSIGN_OR_RETURN(
      controller_, NodeController::Create(options_.controller_url, options_.account, options_.token,
                                          options_.controller_ca));
  SNAP_RETURN_IF_ERROR(MakeDirectories(directory, 0700));
  SNAP_ASSIGN_OR_RETURN(lock_, OpenFile(directory + "/lock", O_RDWR | O_CREAT, 0600));
  if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Status::FromErrno(errno, "lock " + directory);
    return Status::Conflict(
        fmt::format("{}: another agent is running with this state directory", directory));
  }
  control_token_ = NewToken();
  HideInLogs(control_token_);
  const std::string token_file = directory + "/control-token";
  SNAP_RETURN_IF_ERROR(ReplaceFile(token_file, AsBytes(control_token_ + "\n"), 0600));

  reporter_ = std::make_unique<NodeReporter>(
      controller_.get(),
      NodeReporter::Hooks{[this] { return Collect(); },
                          [this](const NodeOrders& orders) { applications_->SetOrders(orders); },
                          [this] {
                            // Nobody will come to stop them.
                            const std::lock_guard lock(notice_mutex_);
                            if (interruption_) act_alone_at_ = Clock::now();
                          }});
  NodeApplication::Options application;
  application.directory = directory;
  application.token = control_token_;
  application.token_file = token_file;
  application.environment = Environment({"SPOTINST_"}, options_.metadata_url);
  application.run_options = options_.run_options;
  application.changed = [this] { reporter_->Changed(); };
  application.on_checkpoint = [this](const NodeCheckpointReport& checkpoint) {
    reporter_->AddCheckpoint(checkpoint);
  };
  applications_ = std::make_unique<NodeApplications>(std::move(application));
  notices_ = std::make_unique<NodeNotices>(&metadata_, options_.poll,
                                           [this](const NodeNotice& notice) { OnNotice(notice); });

  NodeRoutes routes;
  routes.applications = applications_.get();
  routes.begin_stop = [this](bool checkpoint, milliseconds limit) {
    // Nothing can have been started before.
    if (script_known_.load() != nullptr) BeginStop(checkpoint, limit);
  };
  routes.script = [this] { return script_known_.load(); };
  routes.status = [this] { return StatusText(); };
  TokenServer::Options server;
  server.address = options_.listen;
  server.token = control_token_;
  server.open_path = kNodeStatusPath;
  server.body_bytes_max = 128 << 10;  // a script in base64
  SNAP_RETURN_IF_ERROR(ChooseCertificate(&server));
  SNAP_ASSIGN_OR_RETURN(server_, TokenServer::Start(server, [&](httplib::Server* http) {
                          AddNodeRoutes(routes, http);
                        }));
  LogInfo("control interface on {}", server_->url());
  return Status::Ok();
}

// The controller learns its fingerprint from the heartbeats, so that nobody has to sign it.
Status NodeAgent::ChooseCertificate(TokenServer::Options* server) const {
  if (options_.plain_http) return Status::Ok();
  server->certificate_file = options_.certificate_file;
  server->key_file = options_.key_file;
  if (!server->certificate_file.empty()) return Status::Ok();
  server->certificate_file = options_.state_directory + "/control-cert.pem";
  server->key_file = options_.state_directory + "/control-key.pem";
  std::vector<std::string> names = {"127.0.0.1", "::1", "localhost"};
  return MakeSelfSignedCertificate(server->certificate_file, server->key_file, names);
}

// Whether it is known now. An instance that is just booting may have no network yet.
bool NodeAgent::LearnIdentity() {
  const auto id = metadata_.Get("instance-id");
  const auto ip = metadata_.Get("local-ipv4");
  Status status = id.ok() ? ip.status() : id.status();
  in_addr parsed{};
  if (status.ok() && (!id->has_value() || !(*id)->starts_with("i-") || !ip->has_value() ||
                      inet_pton(AF_INET, (*ip)->c_str(), &parsed) != 1)) {
    status = Status::Io(fmt::format("metadata service at {}: tells no instance id or address",
                                    options_.metadata_url));
  }
  if (!status.ok()) {
    if (status.message() != identity_error_) LogWarning("{}; trying again", status.message());
    identity_error_ = status.message();
    return false;
  }
  instance_id_ = **id;
  private_ip_ = **ip;
  LogInfo("this is instance {} at {}", instance_id_, private_ip_);
  run_ = RunOf(instance_id_);
  script_ = std::make_unique<NodeScript>(
      options_.state_directory, run_,
      Environment({"SPOTINST_", "SNAPSTORE_",
                   "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SESSION_TOKEN="},
                  ""));
  script_known_ = script_.get();
  return true;
}

std::string NodeAgent::StoppedFile() const { return options_.state_directory + "/stopped"; }

// For good: an agent that is started again, perhaps because this one died of it, must not start
// them on an instance that is on its way out.
void NodeAgent::BeginStop(bool checkpoint, milliseconds limit) {
  const Status noted = ReplaceFile(StoppedFile(), AsBytes(run_), 0600);
  if (!noted.ok()) LogWarning("{}", noted.message());
  applications_->BeginStop(checkpoint, limit);
}

Status NodeAgent::Run() {
  int signal = 0;
  while (signal == 0 && !LearnIdentity()) signal = WaitForSignal(kIdentityRetry);
  if (signal != 0) return Status::Ok();
  if (const auto stopped = ReadWholeFile(StoppedFile(), run_.size());
      stopped.ok() && AsText(*stopped) == run_) {
    LogInfo("the applications were stopped for good on this instance");
    applications_->BeginStop(/*checkpoint=*/false, milliseconds(0));
  }
  reporter_->Start();
  notices_->Start();
  while (signal == 0) {
    applications_->Tick();
    HeedNotice();
    signal = WaitForSignal(kTick);
  }
  return End(signal);
}

Status NodeAgent::End(int signal) {
  if (signal == SIGUSR1) {
    LogInfo("SIGUSR1: leaving the applications running");
    applications_->Detach();
    return Status::Ok();
  }
  LogInfo("signal {}: ending", signal);
  const bool checkpoint = signal != SIGQUIT;
  auto limit = Clock::now() + (checkpoint ? kStopLimit : kQuitLimit);
  applications_->BeginStop(checkpoint,
                           std::chrono::duration_cast<milliseconds>(limit - Clock::now()));
  while (!applications_->stopped()) {
    applications_->Tick();
    // Somebody is in a hurry: those that are not done yet are killed.
    if (WaitForSignal(kTick) == SIGQUIT) return Status::Cancelled("ended by SIGQUIT");
  }
  applications_->Tick();
  reporter_->Flush(kLastWord);
  const auto outcomes = applications_->Stop(checkpoint, milliseconds(0));
  if (!checkpoint || !outcomes.ok()) return outcomes.status();
  for (const NodeOutcome& one : *outcomes) {
    if (one.error.empty() || one.had_ended) continue;
    return Status::Io(
        fmt::format("{}: ended without a final checkpoint: {}", one.config_id, one.error));
  }
  return Status::Ok();
}

NodeHeartbeat NodeAgent::Collect() const {
  NodeHeartbeat heartbeat;
  heartbeat.instance_id = instance_id_;
  heartbeat.private_ip = private_ip_;
  heartbeat.port = server_->address().port;
  heartbeat.control_token = control_token_;
  heartbeat.tls_fingerprint = server_->fingerprint();
  heartbeat.version = options_.version;
  heartbeat.cpu_features = cpu_features_;
  heartbeat.applications = applications_->Reports();
  heartbeat.notice = notices_->current();
  return heartbeat;
}

void NodeAgent::OnNotice(const NodeNotice& notice) {
  if (notice.action == "rebalance") {
    if (rebalancing_.exchange(true)) return;
    if (rebalance_.joinable()) rebalance_.join();
    rebalance_ = std::thread([this] {
      if (!applications_->stop_asked()) (void)applications_->Checkpoint("rebalance");
      rebalancing_ = false;
    });
  } else {
    const std::lock_guard lock(notice_mutex_);
    interruption_ = notice;
    act_alone_at_ = Clock::now() + kControllerTurn;
  }
  reporter_->Changed();
}

void NodeAgent::HeedNotice() {
  milliseconds limit{};
  {
    const std::lock_guard lock(notice_mutex_);
    if (!interruption_ || Clock::now() < act_alone_at_) return;
    limit = TimeLeft(*interruption_);
  }
  if (applications_->stop_asked()) return;
  LogWarning("the controller has not come to stop the applications: stopping them");
  BeginStop(/*checkpoint=*/true, limit);
}

std::string NodeAgent::StatusText() const {
  const NodeReporter::Standing standing = reporter_->standing();
  json applications = json::array();
  for (const NodeApplicationReport& one : applications_->Reports()) {
    applications.push_back(ApplicationJson(one));
  }
  json notice;
  if (const auto current = notices_->current()) {
    notice = {{"action", current->action}, {"time", StatusTextOrNull(current->time)}};
  }
  const bool known = script_known_.load() != nullptr;
  const json document = {
      {"message_type", "node_status"},
      {"version", options_.version},
      {"controller", options_.controller_url},
      {"node_id", StatusTextOrNull(standing.node_id)},
      {"instance_id", known ? json(instance_id_) : json()},
      {"private_ip", known ? json(private_ip_) : json()},
      {"last_heartbeat",
       standing.answered_ns == 0 ? json() : json(FormatTime(standing.answered_ns))},
      {"heartbeat_error", StatusTextOrNull(standing.error)},
      {"applications_wanted", standing.applications_wanted},
      {"checkpoints_waiting", standing.checkpoints_waiting},
      {"notice", std::move(notice)},
      {"stopped", applications_->stopped()},
      {"applications", std::move(applications)}};
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace snapstore::agent
