#include "tests/orchestrator/lifecycle/campaign.h"

#include <fmt/format.h>

#include <cmath>

#include "tests/orchestrator/lifecycle/simulation.h"

namespace snapstore::spot {
namespace {

class Campaign {
 public:
  explicit Campaign(const CampaignOptions& options)
      : options_(options),
        simulation_(
            {.seed = options.seed, .poll_ms = options.poll_seconds * kSecondMs, .forgetful = true}),
        random_(options.seed * 977 + 3) {}

  CampaignResult Run() {
    Prepare();
    const int64_t begin = simulation_.clock.now_ms();
    const int64_t end = begin + options_.days * kDayMs;
    int day = 0;
    while (simulation_.clock.now_ms() < end && Fine()) {
      simulation_.RunUntil(std::min(end, simulation_.clock.now_ms() + NextGap()));
      Act();
      const int today = static_cast<int>((simulation_.clock.now_ms() - begin) / kDayMs);
      if (today != day) Tell(day = today);
    }
    if (Fine()) Settle();
    CampaignResult result;
    result.problems = simulation_.Problems() + problems_;
    result.happened = simulation_.cloud.happened();
    for (const auto& [what, count] : asked_) result.happened["asked: " + what] = count;
    result.happened["calls"] = simulation_.cloud.calls();
    result.happened["controller deaths"] = simulation_.crashes();
    result.happened["operations"] = simulation_.operations_ended();
    result.happened["looks at the cloud"] = simulation_.polls();
    return result;
  }

 private:
  // Of the tasks of RandomNode and RandomChange.
  static constexpr int64_t kPauseHour = 20;
  static constexpr int64_t kResumeHour = 6;

  uint64_t Below(uint64_t bound) { return random_.Below(bound); }
  bool Fine() { return problems_.empty() && simulation_.cloud.Violations().empty(); }

  void Prepare() {
    SimulatedCloud& cloud = simulation_.cloud;
    cloud.account_lines = options_.account_lines;
    cloud.AddTargetGroup(kCampaignTargets);
    cloud.AddZone(kCampaignZone);
    PersistencyConfig config;
    config.name = "app";
    config.run_cmd = "run";
    config.snapshot_scheduler = "*/5 * * * *";
    config.snapshot_destination = "bucket";
    config_ = simulation_.state().CreateConfig(Simulation::kAccount, config)->id;
    const double f = options_.faults;
    cloud.faults = {
        .throttled = 0.01 * f, .internal = 0.003 * f, .answer_lost = 0.005 * f, .late = 0.02 * f};
    const double t = options_.troubles;
    cloud.rates = {.interrupted = 0.1 * t,
                   .interrupted_at_once = 0.03 * t,
                   .interrupted_silently = 0.03 * t,
                   .rebalance = 0.03 * t,
                   .hardware = 0.02 * t,
                   .stopped = 0.01 * t,
                   .terminated = 0.01 * t,
                   .volume_attached = 0.01 * t,
                   .droughts = 0.15 * t,
                   .on_demand_droughts = 0.02 * t};
    simulation_.agents.troubles = {.never_reports = 0.05 * f,
                                   .falls_silent = 0.05 * f,
                                   .fails = 0.1 * f,
                                   .unreachable = 0.05 * f};
    simulation_.crash_chance = options_.crash_chance;
  }

  // Between two requests of users.
  int64_t NextGap() {
    const double per_day = std::max(1.0, options_.asked_per_day * options_.nodes);
    const double share = (1.0 + static_cast<double>(Below(1'000'000))) / 1'000'001.0;
    double gap = -std::log(share) * static_cast<double>(kDayMs) / per_day;
    // At first there are many nodes to be made.
    if (static_cast<int>(nodes_.size()) < options_.nodes && made_ < options_.nodes) {
      gap = std::min(gap, static_cast<double>(kMinuteMs));
    }
    return 1 + static_cast<int64_t>(gap);
  }

  void Create() {
    std::string address;
    if (Below(10) == 0) {
      const auto allocated = simulation_.cloud.AllocateAddress({});
      if (allocated.ok()) address = allocated->allocation_id;
    }
    const Json body =
        RandomNode(made_++, config_, address, [this](uint64_t bound) { return Below(bound); });
    const auto node = simulation_.Create(body);
    if (!node.ok()) {
      problems_ += fmt::format("create: {}\n{}\n", node.status().message(), body.dump());
      return;
    }
    nodes_.push_back(*node);
    ++asked_["create"];
  }

  void Act() {
    if (static_cast<int>(nodes_.size()) < options_.nodes) return Create();
    const size_t index = Below(nodes_.size());
    const std::string node = nodes_[index];
    const auto count = [this](const char* what, bool done) { asked_[what] += done ? 1 : 0; };
    switch (Below(16)) {
      case 0:
        return Delete(index);
      case 1:
        return Import();
      case 2:
        return count("update", ChangeSomething(node));
      case 3:
        return count("tags", simulation_.ApplyTags(node).ok());
      case 4:
        return DeleteVolume(node);
      case 5:
      case 6:
      case 7:
        return count("recycle", simulation_.Ask(node, NodeAction::kRecycle).ok());
      case 8:
      case 9:
      case 10:
        return count("pause", simulation_.Ask(node, NodeAction::kPause).ok());
      default:
        return count("resume", simulation_.Ask(node, NodeAction::kResume).ok());
    }
  }

  bool ChangeSomething(const std::string& id) {
    const auto node = simulation_.Node(id);
    if (!node) return false;
    const bool paused = node->state == NodeState::kPaused && !node->operation_id;
    return simulation_
        .Change(id, RandomChange(paused, [this](uint64_t bound) { return Below(bound); }))
        .ok();
  }

  void Delete(size_t index) {
    Json config;
    const bool all = Below(3) == 0;
    for (const char* flag : {"shouldDeleteImages", "shouldDeleteSnapshots", "shouldDeleteVolumes",
                             "shouldDeleteNetworkInterfaces"}) {
      config[flag] = all || Below(2) == 0;
    }
    if (Below(6) == 0) {
      config["shouldTerminateInstance"] = false;
      ++asked_["delete and let run"];
    }
    const Json body = {{"deallocationConfig", config}};
    if (!simulation_.Ask(nodes_[index], NodeAction::kDeallocate, body).ok()) return;
    ++asked_["delete"];
    simulation_.agents.Forget(nodes_[index]);
    gone_.push_back(nodes_[index]);
    nodes_.erase(nodes_.begin() + static_cast<int64_t>(index));
  }

  void DeleteVolume(const std::string& id) {
    const auto node = simulation_.Node(id);
    if (!node) return;
    for (const KeptDevice& device : node->runtime.resources.devices) {
      if (device.root || device.volume_id.empty()) continue;
      asked_["delete a volume"] += simulation_.DeleteVolume(id, device.volume_id).ok() ? 1 : 0;
      return;
    }
  }

  // Nodes that came by an import live on as others do.
  void TakeOverImported() {
    std::erase_if(migrations_, [this](const std::string& id) {
      const auto migration = simulation_.state().GetMigration(Simulation::kAccount, id);
      if (!migration.ok() || migration->state != "MIGRATE_FINISH") return false;
      ++asked_["import: " + migration->state];
      nodes_.push_back(migration->node_id);
      return true;
    });
  }

  void Import() {
    TakeOverImported();
    const std::string source = simulation_.cloud.LaunchByHand('a', "m5.large");
    if (source.empty()) return;
    simulation_.RunUntil(simulation_.clock.now_ms() + 2 * kMinuteMs);
    MigrationRequest request;
    request.original_instance_id = source;
    request.region = SimulatedCloud::kRegion;
    request.should_keep_private_ip = Below(2) == 0;
    request.should_terminate_instance = request.should_keep_private_ip.value() || Below(2) == 0;
    request.spot_instance_types = {"m5.large", "c5.large"};
    const auto migration = simulation_.Import(request);
    if (!migration.ok()) return;
    ++asked_["import"];
    migrations_.push_back(migration->id);
  }

  // Nothing happens any more: within a virtual day everything must be as it was asked for.
  void Settle() {
    simulation_.cloud.faults = {};
    simulation_.cloud.rates = {};
    simulation_.crash_chance = 0;
    simulation_.agents.troubles = {};
    // The longest time without a pause or resume of a schedule.
    Rest(14 * kHourMs);
    TakeOverImported();
    AskAgain();
    for (const std::string& id : nodes_) Judge(id);
    for (const std::string& id : gone_) {
      if (simulation_.Node(id)) problems_ += id + " was deleted and is still there\n";
    }
    for (const std::string& id : migrations_) {
      const auto migration = simulation_.state().GetMigration(Simulation::kAccount, id);
      if (!migration.ok() || IsMigrationOver(migration->state)) {
        if (migration.ok()) ++asked_["import: " + migration->state];
        continue;
      }
      problems_ += fmt::format("import {} is {}\n", id, migration->state);
    }
    problems_ += simulation_.Leaks();
    JudgeRetained();
  }

  void Rest(int64_t at_least_ms) {
    simulation_.RunUntil(simulation_.clock.now_ms() + at_least_ms);
    // Not while tasks are due: two hours later what they asked for is done.
    const auto hour = [this] { return simulation_.clock.now_ms() % kDayMs / kHourMs; };
    while (hour() == 4 || hour() == 5 || hour() == kResumeHour || hour() == kResumeHour + 1 ||
           hour() == kPauseHour || hour() == kPauseHour + 1) {
      simulation_.RunUntil(simulation_.clock.now_ms() + kHourMs);
    }
    if (simulation_.RunUntilIdle(10 * kHourMs)) return;
    const auto active = simulation_.journal().Active();
    for (const Operation& operation : *active) {
      problems_ += fmt::format("{} of {} does not end\n{}", OperationKindName(operation.kind),
                               operation.node_id, simulation_.cloud.Account(operation.node_id));
      for (const StepRecord& step : operation.steps) {
        problems_ += fmt::format("    {} {}\n", step.name, StepStateName(step.state));
      }
    }
  }

  // A launch that could not be is asked for again, now that nothing fails any more.
  void AskAgain() {
    bool asked = false;
    for (const std::string& id : nodes_) {
      const auto node = simulation_.Node(id);
      if (!node || simulation_.WishFor(id) != NodeState::kActive) continue;
      if (node->state != NodeState::kPaused) continue;
      asked = simulation_.Ask(id, NodeAction::kResume).ok() || asked;
    }
    if (asked) Rest(kHourMs);
  }

  // What is kept for a while goes when its time has come.
  void JudgeRetained() {
    const auto retained = simulation_.state().ListRetained();
    for (const RetainedRecord& one : *retained) {
      ++asked_["retained at the end"];
      if (simulation_.clock.now_ms() - one.delete_at_ms.value_or(INT64_MAX) < kDayMs) continue;
      problems_ += fmt::format("{} {} of {} does not go: {}\n", one.kind, one.id, one.node_id,
                               one.error.value_or(""));
    }
  }

  // How it is to be: what was asked for last, by a user or a schedule.
  std::optional<NodeState> Wanted(const NodeRecord& node) const {
    bool pauses = false;
    for (const Task& task : node.spec.scheduling.tasks) pauses |= task.type == TaskType::kPause;
    if (!pauses) return simulation_.WishFor(node.id);
    // The clock decides, not what the life-cycle made of it.
    const int64_t hour = simulation_.clock.now_ms() % kDayMs / kHourMs;
    return hour < kResumeHour || hour >= kPauseHour ? NodeState::kPaused : NodeState::kActive;
  }

  // The only reason for which a node may be paused without anybody's wish: its volumes, or its
  // address, are where it has no subnet any more.
  static bool CannotBeLaunched(const std::string& reason) {
    return reason.find("where it has no") != std::string::npos ||
           reason.find("no subnet of the node has the address") != std::string::npos;
  }

  void Judge(const std::string& id) {
    const auto node = simulation_.Node(id);
    if (!node) {
      problems_ += id + " is gone\n";
      return;
    }
    ++asked_[fmt::format("at the end {}", NodeStateName(node->state))];
    const size_t alive = simulation_.cloud.InstancesOf(id).size();
    const std::string reason = node->state_reason.value_or("");
    bool fine = node->state == Wanted(*node);
    if (!fine && node->state == NodeState::kPaused && CannotBeLaunched(reason)) {
      ++asked_["at the end without a place"];
      fine = true;
    }
    fine = fine && alive == (node->state == NodeState::kActive ? 1U : 0U);
    problems_ += simulation_.Missing(id);
    if (fine) return;
    const auto wanted = Wanted(*node);
    problems_ += fmt::format(
        "{} is {} with {} instances, asked for was {}: {}\n{}", id, NodeStateName(node->state),
        alive, wanted ? NodeStateName(*wanted) : "nothing", reason, simulation_.cloud.Account(id));
  }

  void Tell(int day) {
    if (!options_.progress) return;
    options_.progress(fmt::format("day {}: {} nodes, {} operations, {} calls, {} deaths", day,
                                  nodes_.size(), simulation_.operations_ended(),
                                  simulation_.cloud.calls(), simulation_.crashes()));
  }

  const CampaignOptions options_;
  Simulation simulation_;
  SplitMix64 random_;
  std::string config_;
  int made_ = 0;
  std::vector<std::string> nodes_;
  std::vector<std::string> gone_;
  std::vector<std::string> migrations_;
  std::map<std::string, uint64_t> asked_;
  std::string problems_;
};

}  // namespace

CampaignResult RunCampaign(const CampaignOptions& options) { return Campaign(options).Run(); }

}  // namespace snapstore::spot
