#include "orchestrator/lifecycle/cloud_view.h"

#include "base/log.h"

namespace snapstore::spot {
namespace {

Health HealthOf(const Ec2InstanceStatus& status) {
  if (status.system_status == "impaired" || status.instance_status == "impaired") {
    return Health::kUnhealthy;
  }
  if (status.system_status == "ok" && status.instance_status == "ok") return Health::kHealthy;
  return Health::kUnknown;
}

Health HealthOf(const TargetHealth& target) {
  if (target.state == "healthy" || target.state == "InService") return Health::kHealthy;
  // A target that was just registered is out of service for that reason alone.
  if (target.state == "unhealthy" || (target.state == "OutOfService" && target.reason != "ELB")) {
    return Health::kUnhealthy;
  }
  return Health::kUnknown;
}

void ReadChecks(const Services& services, CloudView* view) {
  const auto statuses = services.ec2->DescribeInstanceStatus({}, false);
  if (!statuses.ok()) {
    LogWarning("status checks: {}", statuses.status().message());
    return;
  }
  for (const Ec2InstanceStatus& status : *statuses) {
    if (view->instances.contains(status.id)) view->checks[status.id] = HealthOf(status);
  }
}

void ReadMarked(const Services& services, CloudView* view) {
  const auto requests = services.ec2->DescribeSpotInstanceRequests(
      {.filters = {{"status-code", {"marked-for-termination", "marked-for-stop"}}}});
  if (!requests.ok()) {
    LogWarning("spot requests: {}", requests.status().message());
    return;
  }
  for (const Ec2SpotRequest& request : *requests) view->marked.insert(request.instance_id);
}

void ReadTargets(const Services& services, const NodeList& nodes, CloudView* view) {
  std::map<std::string, LoadBalancerType> balancers;
  for (const auto& node : nodes) {
    const HealthCheckType type = node->spec.health_check.type.value();
    if (type == HealthCheckType::kEc2) continue;
    const auto wanted =
        type == HealthCheckType::kElb ? LoadBalancerType::kClassic : LoadBalancerType::kTargetGroup;
    for (const LoadBalancer& one : node->spec.integrations.load_balancers_config.load_balancers) {
      if (one.type != wanted) continue;
      balancers[wanted == LoadBalancerType::kClassic ? one.name.value_or("")
                                                     : one.arn.value_or("")] = wanted;
    }
  }
  for (const auto& [name, type] : balancers) {
    const auto targets = type == LoadBalancerType::kClassic
                             ? services.elb->DescribeInstanceHealth(name, "")
                             : services.elb->DescribeTargetHealth(name, "");
    if (!targets.ok()) {
      LogWarning("{}: {}", name, targets.status().message());
      continue;
    }
    for (const TargetHealth& target : *targets) {
      view->targets[{name, target.instance_id}] = HealthOf(target);
    }
  }
}

void ReadPending(const Services& services, const NodeList& nodes, CloudView* view) {
  std::vector<std::string> ids;
  for (const auto& node : nodes) {
    if (node->operation_id) continue;
    for (const KeptDevice& device : node->runtime.resources.devices) {
      for (const KeptSnapshot& one : device.snapshots) {
        if (!one.completed) ids.push_back(one.id);
      }
    }
  }
  for (size_t begin = 0; begin < ids.size(); begin += kIdsAtOnce) {
    const std::vector<std::string> some(
        ids.begin() + static_cast<int64_t>(begin),
        ids.begin() + static_cast<int64_t>(std::min(ids.size(), begin + kIdsAtOnce)));
    // By filter: an id that is gone must not hide the others.
    const auto found = services.ec2->DescribeSnapshots({.filters = {{"snapshot-id", some}}});
    if (!found.ok()) {
      LogWarning("snapshots: {}", found.status().message());
      return;
    }
    for (const std::string& id : some) view->snapshot_states[id] = "gone";
    for (const Ec2Snapshot& one : *found) view->snapshot_states[one.id] = one.state;
  }
}

}  // namespace

Flow<CloudView> LookAtCloud(const Services& services, const NodeList& nodes) {
  CloudView view;
  view.time_ms = services.state->Now();
  auto instances = services.ec2->DescribeInstances({.filters = {{"tag-key", {NodeTag::kNode}}}});
  if (!instances.ok()) return RetryLater(instances.status());
  for (Ec2Instance& instance : *instances) {
    const std::string id = instance.id;
    view.instances.emplace(id, std::move(instance));
  }
  ReadChecks(services, &view);
  ReadMarked(services, &view);
  ReadTargets(services, nodes, &view);
  ReadPending(services, nodes, &view);
  auto agents = services.state->ListAgents();
  if (!agents.ok()) return RetryLater(agents.status());
  for (AgentRecord& agent : *agents) {
    const std::string id = agent.instance_id;
    view.agents.emplace(id, std::move(agent));
  }
  return view;
}

}  // namespace snapstore::spot
