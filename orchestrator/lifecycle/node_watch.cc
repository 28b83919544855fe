#include "orchestrator/lifecycle/node_watch.h"

#include <fmt/format.h>

#include <algorithm>

#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/schedule.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kNoticeMs = 120'000;  // EC2's, when it does not say until when

class Watch {
 public:
  Watch(const Services& services, const NodeRecord& node, const CloudView& view,
        const Ec2Instance* instance)
      : services_(services), node_(node), view_(view), instance_(instance), now_(view.time_ms) {
    findings_.runtime = node.runtime;
  }

  Findings Run() {
    if (node_.state == NodeState::kActive && node_.runtime.instance_id) LookAtInstance();
    LookAtTasks();
    if (node_.state == NodeState::kActive && !findings_.action) LookForBetterMarket();
    LookAtSnapshots();
    return std::move(findings_);
  }

 private:
  KeptResources& Kept() { return findings_.runtime.resources; }
  void Want(NodeAction action, const std::string& trigger, const std::string& reason,
            int64_t deadline_ms = 0) {
    if (!findings_.action) findings_.action = {action, trigger, reason, deadline_ms};
  }
  void Note(const std::string& type, Severity severity, const std::string& message) {
    findings_.events.push_back({type, severity, message});
    findings_.changed = true;
  }
  template <typename T>
  void Set(T* member, const T& value) {
    if (*member == value) return;
    *member = value;
    findings_.changed = true;
  }

  void LookAtInstance() {
    const std::string& id = *node_.runtime.instance_id;
    if (instance_ == nullptr || !IsAlive(*instance_)) {
      const std::string why = instance_ == nullptr ? "it does not exist any more"
                              : instance_->state_reason_message.empty()
                                  ? "it was terminated"
                                  : instance_->state_reason_message;
      return Want(NodeAction::kRecycle, "terminated", fmt::format("{}: {}", id, why));
    }
    if (instance_->state == "stopping" || instance_->state == "stopped") {
      if (!Kept().stop_reported) {
        Note("AWS_EC2_INSTANCE_STOPPED", Severity::kWarning,
             fmt::format("{} was stopped from outside; the node waits until it is started", id));
      }
      return Set(&Kept().stop_reported, true);
    }
    Set(&Kept().stop_reported, false);
    FollowFacts();
    const auto agent = view_.agents.find(id);
    if (agent != view_.agents.end()) {
      if (auto wanted = ActionOfNotice(node_, agent->second, now_)) {
        findings_.action = std::move(wanted);
        return;
      }
    }
    if (view_.marked.contains(id)) {
      return Want(NodeAction::kRecycle, "interruption",
                  fmt::format("{} is about to be interrupted", id), now_ + kNoticeMs);
    }
    LookAtHealth();
  }

  // Volumes that were attached by hand, addresses that were moved.
  void FollowFacts() {
    NodeRuntime& runtime = findings_.runtime;
    KeptResources merged = runtime.resources;
    MergeDevices(*instance_, node_.spec, &merged);
    const auto same = [](const KeptDevice& a, const KeptDevice& b) {
      return a.device_name == b.device_name && a.volume_id == b.volume_id;
    };
    const auto& before = runtime.resources.devices;
    if (!std::equal(merged.devices.begin(), merged.devices.end(), before.begin(), before.end(),
                    same)) {
      runtime.resources = std::move(merged);
      runtime.devices = ShownDevices(runtime.resources);
      findings_.changed = true;
    }
    const auto optional = [](const std::string& text) {
      return text.empty() ? std::nullopt : std::optional(text);
    };
    Set(&runtime.public_ip, optional(instance_->public_ip));
    if (!instance_->private_ip.empty()) {
      Set(&runtime.private_ip, optional(instance_->private_ip));
    }
  }

  struct Checked {
    Health health = Health::kUnknown;
    const char* event = "";  // of one that is unhealthy
    std::string why;
  };

  Checked CheckedHealth() const {
    const std::string& id = *node_.runtime.instance_id;
    const auto check = view_.checks.find(id);
    const Health health = check == view_.checks.end() ? Health::kUnknown : check->second;
    if (health == Health::kUnhealthy) {
      return {health, "AWS_EC2_INSTANCE_UNHEALTHY", "EC2's status checks fail"};
    }
    const auto agent = view_.agents.find(id);
    if (node_.spec.persistence.persist_application.value() && agent != view_.agents.end()) {
      // Nobody could report before this controller was there.
      const int64_t silent_ms = now_ - std::max(agent->second.seen_at_ms, services_.started_at_ms);
      if (silent_ms > services_.options.agent_silence_ms) {
        return {Health::kUnhealthy, "AWS_EC2_INSTANCE_UNHEALTHY",
                fmt::format("its agent has not reported for {} s", silent_ms / kMsPerSecond)};
      }
    }
    if (node_.spec.health_check.type.value() == HealthCheckType::kEc2) return {health, "", ""};
    return {BalancerHealth(id), "AWS_EC2_INSTANCE_UNHEALTHY_IN_ELB",
            "its load balancer's health check fails"};
  }

  Health BalancerHealth(const std::string& id) const {
    const auto wanted = node_.spec.health_check.type.value() == HealthCheckType::kElb
                            ? LoadBalancerType::kClassic
                            : LoadBalancerType::kTargetGroup;
    Health worst = Health::kUnknown;
    for (const LoadBalancer& one : node_.spec.integrations.load_balancers_config.load_balancers) {
      if (one.type != wanted) continue;
      const std::string name =
          wanted == LoadBalancerType::kClassic ? one.name.value_or("") : one.arn.value_or("");
      const auto target = view_.targets.find({name, id});
      if (target == view_.targets.end()) continue;
      if (target->second == Health::kUnhealthy) return Health::kUnhealthy;
      if (worst == Health::kUnknown) worst = target->second;
    }
    return worst;
  }

  void LookAtHealth() {
    const Checked checked = CheckedHealth();
    KeptResources& kept = Kept();
    if (checked.health == Health::kHealthy) {
      Set(&kept.healthy_once, true);
      if (kept.unhealthy_since_ms) {
        Note("AWS_EC2_INSTANCE_HEALTHY", Severity::kInfo,
             fmt::format("{} is healthy again", *node_.runtime.instance_id));
        kept.unhealthy_since_ms.reset();
      }
      return;
    }
    if (checked.health == Health::kUnknown) return;
    const std::string message =
        fmt::format("{} is unhealthy: {}", *node_.runtime.instance_id, checked.why);
    const HealthCheck& check = node_.spec.health_check;
    if (!kept.unhealthy_since_ms) {
      kept.unhealthy_since_ms = now_;
      Note(checked.event, Severity::kWarning, message);
    }
    if (!check.auto_healing.value()) return;
    const int64_t age = now_ - node_.runtime.launched_at_ms.value_or(now_);
    // Never within the grace period, whatever it was before.
    if (age < check.grace_period_seconds.value() * kMsPerSecond) return;
    const int64_t must = kept.healthy_once ? check.unhealthy_duration_seconds.value() : 0;
    if (now_ - *kept.unhealthy_since_ms < must * kMsPerSecond) return;
    Want(NodeAction::kRecycle, "unhealthy", message);
  }

  void LookAtTasks() {
    KeptResources& kept = Kept();
    const auto& tasks = node_.spec.scheduling.tasks;
    // What is due waits for what is done about the instance.
    if (tasks.empty() || findings_.action) return;
    if (kept.tasks_generation != node_.generation) {
      // Tasks of a changed specification do not fire for the time before it.
      kept.tasks_generation = node_.generation;
      kept.tasks_since_ms =
          std::max(kept.tasks_since_ms, node_.generation == 1 ? node_.created_at_ms : now_ - 1);
      findings_.changed = true;
    }
    const int64_t since = kept.tasks_since_ms;
    std::vector<std::pair<int64_t, size_t>> fires;
    for (size_t i = 0; i < tasks.size(); ++i) {
      const auto fire = NewestFire(tasks[i], since, now_);
      if (!fire) continue;
      fires.emplace_back(*fire, i);
      if (!tasks[i].cron_expression && !tasks[i].frequency) {
        findings_.tasks_that_are_over.push_back(i);
      }
      kept.tasks_since_ms = std::max(kept.tasks_since_ms, *fire);
      findings_.changed = true;
    }
    std::sort(fires.begin(), fires.end());
    CarryOut(fires);
  }

  // What the tasks, one after the other, make of the node: at most one action.
  void CarryOut(const std::vector<std::pair<int64_t, size_t>>& fires) {
    const bool was_active = node_.state == NodeState::kActive;
    if (!was_active && node_.state != NodeState::kPaused) return;
    bool active = was_active;
    bool recycled = false;
    for (const auto& [time, index] : fires) {
      const TaskType type = node_.spec.scheduling.tasks[index].type;
      if (type == TaskType::kRecycle) {
        recycled = recycled || active;
      } else {
        active = type == TaskType::kResume;
      }
    }
    if (active != was_active) {
      Want(active ? NodeAction::kResume : NodeAction::kPause, "schedule", "scheduled");
    } else if (active && recycled) {
      Want(NodeAction::kRecycle, "schedule", "scheduled");
    }
  }

  // Back to spot, or to a preferred type, when that is wanted and may work.
  void LookForBetterMarket() {
    const Strategy& strategy = node_.spec.strategy;
    const PerformAt when = strategy.revert_to_spot.perform_at.value();
    if (when == PerformAt::kNever || strategy.life_cycle.value() != LifeCycle::kSpot) return;
    const KeptResources& kept = node_.runtime.resources;
    if (!kept.fallback && kept.preferred) return;
    if (when == PerformAt::kTimeWindow && !InAnyWindow(strategy.optimization_windows, now_)) return;
    if (now_ < kept.revert_after_ms) return;
    Want(NodeAction::kRecycle, "revert",
         kept.fallback ? "back to spot" : "back to a preferred instance type");
  }

  void LookAtSnapshots() {
    KeptResources& kept = Kept();
    bool pending = false;
    for (KeptDevice& device : kept.devices) {
      std::erase_if(device.snapshots, [&](KeptSnapshot& one) {
        if (one.completed) return false;
        const auto state = view_.snapshot_states.find(one.id);
        // One that was just made may not be listed everywhere yet.
        const bool young = now_ - one.time_ms < kConsistencyMs;
        if (state == view_.snapshot_states.end() || state->second == "pending" ||
            (state->second == "gone" && young)) {
          pending = true;
          return false;
        }
        if (state->second != "completed" && state->second != "gone") {
          findings_.outdated.push_back(one.id);
          return false;
        }
        findings_.changed = true;
        one.completed = state->second == "completed";
        return !one.completed;
      });
      FindOutdated(device);
    }
    if (findings_.changed) findings_.runtime.devices = ShownDevices(kept);
    if (node_.state != NodeState::kActive || findings_.action || pending) return;
    findings_.wants_snapshots =
        instance_ != nullptr && IsAlive(*instance_) && now_ >= kept.snapshot_after_ms;
  }

  void FindOutdated(const KeptDevice& device) {
    size_t completed = 0;
    for (const KeptSnapshot& one : device.snapshots) completed += one.completed ? 1 : 0;
    for (const KeptSnapshot& one : device.snapshots) {
      if (completed <= services_.options.snapshots_kept) return;
      // An image's snapshot cannot be deleted.
      if (!one.completed || one.id == Kept().image_snapshot_id) continue;
      --completed;
      findings_.outdated.push_back(one.id);
    }
  }

  const Services& services_;
  const NodeRecord& node_;
  const CloudView& view_;
  const Ec2Instance* const instance_;
  const int64_t now_;
  Findings findings_;
};

}  // namespace

Findings WatchNode(const Services& services, const NodeRecord& node, const CloudView& view,
                   const Ec2Instance* instance) {
  return Watch(services, node, view, instance).Run();
}

std::optional<WantedAction> ActionOfNotice(const NodeRecord& node, const AgentRecord& agent,
                                           int64_t now_ms) {
  if (!agent.notice || node.runtime.instance_id != agent.instance_id ||
      node.state != NodeState::kActive) {
    return std::nullopt;
  }
  if (*agent.notice == "rebalance") {
    return WantedAction{NodeAction::kRecycle, "rebalance",
                        "EC2 recommends to leave the instance's market", 0};
  }
  return WantedAction{NodeAction::kRecycle, "interruption",
                      fmt::format("{} is interrupted ({})", agent.instance_id, *agent.notice),
                      agent.notice_at_ms.value_or(now_ms + kNoticeMs)};
}

bool TakesPeriodicSnapshots(const NodeSpec& spec, const KeptDevice& device, bool many_zones) {
  if (device.foreign || device.volume_id.empty() || !IsKept(spec, device)) return false;
  return device.root ||
         spec.persistence.block_devices_mode.value() == BlockDevicesMode::kOnLaunch || many_zones;
}

}  // namespace snapstore::spot
