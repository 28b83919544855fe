#include "tests/orchestrator/lifecycle/simulated_agents.h"

#include <functional>
#include <string_view>
#include <unordered_map>

namespace snapstore::spot {
namespace {

constexpr int64_t kOftenMs = kMinuteMs;        // while a node is on its way
constexpr int64_t kSeldomMs = 10 * kMinuteMs;  // silence is measured in half hours
constexpr int64_t kSilentAfterMs = 180 * kMinuteMs;
constexpr int64_t kStartMs = 20'000;
constexpr int64_t kScriptMs = 15'000;

}  // namespace

// From the id alone: the order in which it is asked changes nothing.
SimulatedAgents::Nature SimulatedAgents::NatureOf(const std::string& instance) const {
  uint64_t hash = seed_;
  for (const char c : instance) hash = hash * 131 + static_cast<unsigned char>(c);
  constexpr uint64_t kSteps = 1'000'000;
  double share = static_cast<double>(SplitMix64(hash).Below(kSteps)) / static_cast<double>(kSteps);
  if ((share -= troubles.never_reports) < 0) return Nature::kNeverReports;
  if ((share -= troubles.falls_silent) < 0) return Nature::kFallsSilent;
  if ((share -= troubles.fails) < 0) return Nature::kFails;
  if (share < troubles.unreachable) return Nature::kUnreachable;
  return Nature::kWorks;
}

bool SimulatedAgents::Runs(const std::string& instance) const {
  const auto found = cloud_->instances().all().find(instance);
  return found != cloud_->instances().all().end() && found->second.shown.state == "running";
}

std::vector<std::string> SimulatedAgents::Report(ControllerState* state) {
  std::vector<std::string> noticed;
  const auto listed = state->ListAllNodes();
  if (!listed.ok()) return noticed;
  std::unordered_map<std::string_view, const NodeRecord*> records;
  for (const auto& node : *listed) records.emplace(node->id, node.get());
  const int64_t now = clock_->now_ms();
  for (auto& [node_id, known] : nodes_) {
    const auto alive = cloud_->InstancesOf(node_id);
    if (alive.empty() || !Runs(alive.front())) continue;
    const std::string& id = alive.front();
    const SimInstance& instance = cloud_->instances().all().at(id);
    const bool taken = instance.taken_at_ms > 0;
    const int notice = taken ? 2 : instance.rebalance_at_ms > 0 ? 1 : 0;
    const bool is_new = known.reported_on != id;
    if (is_new) known.noticed = 0;
    if (now - known.reported_ms < kOftenMs && !is_new && notice == known.noticed) continue;
    const Nature nature = NatureOf(id);
    if (nature == Nature::kNeverReports) continue;
    if (nature == Nature::kFallsSilent && now - instance.ran_at_ms > kSilentAfterMs) continue;
    const auto found = records.find(node_id);
    if (found == records.end() || found->second->runtime.instance_id != id) continue;
    const NodeRecord* node = found->second;
    const bool settled = !node->operation_id && !is_new && notice == known.noticed;
    if (settled && now - known.reported_ms < kSeldomMs) continue;
    AgentRecord agent;
    agent.instance_id = id;
    agent.address = "10.0.0.1:9527";
    agent.seen_at_ms = now;
    const bool begun =
        node->runtime.applications_wanted.value() && now - instance.ran_at_ms > kStartMs;
    for (const std::string& config : known.configs) {
      ReportedApplication application;
      application.config_id = config;
      application.state = begun ? "running" : "starting";
      agent.applications.push_back(std::move(application));
    }
    if (notice > 0) {
      agent.notice = taken ? "terminate" : "rebalance";
      agent.notice_at_ms = taken ? instance.taken_at_ms : instance.rebalance_at_ms;
      if (known.noticed != notice) noticed.push_back(node_id);
    }
    known.noticed = notice;
    known.reported_ms = now;
    known.reported_on = id;
    (void)state->PutAgent(known.account, node_id, agent);
  }
  return noticed;
}

Result<std::vector<AgentOutcome>> SimulatedAgents::Stop(const AgentRecord& agent,
                                                        int64_t /*deadline_ms*/) {
  const Nature nature = NatureOf(agent.instance_id);
  if (!Runs(agent.instance_id) || nature == Nature::kUnreachable) {
    return Status::Timeout("the agent does not answer");
  }
  std::vector<AgentOutcome> outcomes;
  for (const ReportedApplication& one : agent.applications) {
    AgentOutcome outcome{.config_id = one.config_id};
    if (nature == Nature::kFails) {
      outcome.error = "the dump failed";
    } else {
      outcome.checkpoint_id = "final-" + agent.instance_id;
    }
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

Status SimulatedAgents::StartShutdownScript(const AgentRecord& agent,
                                            const std::string& /*script*/) {
  if (!Runs(agent.instance_id) || NatureOf(agent.instance_id) == Nature::kUnreachable) {
    return Status::Timeout("the agent does not answer");
  }
  scripts_.emplace(agent.instance_id, clock_->now_ms());
  return {};
}

Result<std::optional<int>> SimulatedAgents::PollShutdownScript(const AgentRecord& agent) {
  const auto started = scripts_.find(agent.instance_id);
  if (!Runs(agent.instance_id) || started == scripts_.end()) return Status::Io("no answer");
  if (clock_->now_ms() - started->second < kScriptMs) return std::optional<int>();
  return std::optional<int>(NatureOf(agent.instance_id) == Nature::kFails ? 1 : 0);
}

}  // namespace snapstore::spot
