#include "tools/snapstore_controller/leader.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/ec2/aws_session.h"
#include "orchestrator/lifecycle/http_agent_caller.h"
#include "orchestrator/lifecycle/on_demand_prices.h"

namespace snapstore::spot {
namespace {

constexpr std::chrono::seconds kCampaign{2};
constexpr std::chrono::milliseconds kCheck{250};
constexpr int64_t kMsPerHour = 3'600'000;
// What is under way when the controller is told to stop may take so long; then it is abandoned, and
// whoever leads next finds out what came of it.
constexpr std::chrono::seconds kLastCalls{5};

}  // namespace

struct Leader::Impl {
  StateStore* store = nullptr;
  std::string name;
  LeaderOptions options;
  std::unique_ptr<AwsSession> aws;
  HttpAgentCaller agents;
  MarketMemory markets;
  OnDemandPrices prices;

  std::mutex mutex;  // guards the next two
  bool stopping = false;
  bool ended = false;
  std::condition_variable wake;
  std::atomic<bool> calls_abandoned = false;
  std::thread thread;

  bool Wait(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex);
    return wake.wait_for(lock, time, [this] { return stopping; });
  }

  void Run() {
    bool told = false;
    while (!Wait(std::chrono::milliseconds(0))) {
      auto leadership = store->Campaign(name, kCampaign);
      if (!leadership.ok()) {
        const bool other = leadership.status().Is(StatusCode::kTimeout);
        if (!other) LogWarning("campaign: {}", leadership.status().message());
        if (other && !told) LogInfo("another controller leads");
        told = true;
        if (Wait(other ? std::chrono::milliseconds(0) : kCampaign)) return;
        continue;
      }
      told = false;
      LogInfo("this controller leads");
      Lead(**leadership);
    }
  }

  void Lead(const Leadership& leadership) {
    ControllerState state(store, &leadership);
    OperationJournal journal(&state);
    Services services;
    services.state = &state;
    services.journal = &journal;
    services.ec2 = aws->ec2();
    services.elb = aws->elb();
    services.route53 = aws->route53();
    services.agents = &agents;
    services.markets = &markets;
    services.on_demand_price = [this](const std::string& type) { return prices.Of(type); };
    services.region = aws->region();
    services.started_at_ms = state.Now();
    services.options.snapshot_interval_ms = options.snapshot_seconds * kMsPerSecond;
    services.options.retention_ms = options.retention_hours * kMsPerHour;
    services.options.revert_interval_ms = options.revert_seconds * kMsPerSecond;
    services.options.agent_silence_ms = options.agent_silence_seconds * kMsPerSecond;
    services.options.script_limit_ms = options.script_seconds * kMsPerSecond;
    services.options.purge_unflagged = options.purge_unflagged;
    LifecycleThreads threads;
    threads.poll = std::chrono::seconds(options.poll_seconds);
    threads.workers = options.workers;
    const auto lifecycle = Lifecycle::Start(&services, threads);
    while (leadership.Held()) {
      if (Wait(kCheck)) return;
    }
    LogWarning("another controller leads now");
  }
};

void LeaderOptions::AddTo(CLI::App* app) {
  app->add_option("--poll-seconds", poll_seconds, "How often the cloud is looked at")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app->add_option("--snapshot-seconds", snapshot_seconds,
                  "How often the volumes of running nodes are snapshotted")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
  app->add_option("--retention-hours", retention_hours,
                  "How long what a deletion flags is kept, unless it flags everything")
      ->check(CLI::Range(0, 24 * 365))
      ->capture_default_str();
  app->add_flag("--purge-unflagged", purge_unflagged,
                "What a deletion does not flag goes after that time, too");
  app->add_option("--revert-seconds", revert_seconds,
                  "How long a node stays where it fell back to before spot is tried again")
      ->check(CLI::Range(0, 604'800))
      ->capture_default_str();
  app->add_option("--agent-silence-seconds", agent_silence_seconds,
                  "A node whose agent does not report that long is unhealthy")
      ->check(CLI::Range(5, 86'400))
      ->capture_default_str();
  app->add_option("--script-seconds", script_seconds, "How long a shutdown script may run")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
  app->add_option("--on-demand-prices", prices_file,
                  "US dollars an hour by instance type, JSON; else those of us-east-1")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  app->add_option("--workers", workers, "Operations that are carried on at the same instant")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
}

Leader::Leader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Leader>> Leader::Start(StateStore* store, const std::string& name,
                                              const LeaderOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->store = store;
  impl->name = name;
  impl->options = options;
  Impl* const self = impl.get();
  auto aws = AwsSession::Open([self] { return self->calls_abandoned.load(); });
  if (aws.status().Is(StatusCode::kNotFound)) {
    return Status::InvalidArgument(
        "no AWS region is set: set AWS_REGION (and the credentials), or serve with --api-only");
  }
  if (!aws.ok()) return aws.status();
  impl->aws = *std::move(aws);
  if (!options.prices_file.empty()) {
    SNAP_ASSIGN_OR_RETURN(impl->prices, OnDemandPrices::Load(options.prices_file));
  }
  self->thread = std::thread([self] {
    self->Run();
    const std::lock_guard lock(self->mutex);
    self->ended = true;
    self->wake.notify_all();
  });
  return std::unique_ptr<Leader>(new Leader(std::move(impl)));
}

const std::string& Leader::region() const { return impl_->aws->region(); }

Leader::~Leader() {
  std::unique_lock lock(impl_->mutex);
  impl_->stopping = true;
  impl_->wake.notify_all();
  const auto ended = [this] { return impl_->ended; };
  if (!impl_->wake.wait_for(lock, kLastCalls, ended)) {
    LogInfo("calls under way are abandoned");
    impl_->calls_abandoned = true;
    do {
      impl_->agents.Abandon();
    } while (!impl_->wake.wait_for(lock, kCheck, ended));
  }
  lock.unlock();
  impl_->thread.join();
}

}  // namespace snapstore::spot
