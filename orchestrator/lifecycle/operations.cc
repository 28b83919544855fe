#include "orchestrator/lifecycle/operations.h"

#include <fmt/format.h>

#include "orchestrator/lifecycle/node_parts.h"

namespace snapstore::spot {
namespace {

Ending EndIn(NodeState state, const std::string& reason = {}) {
  Ending ending;
  ending.change = [state, reason](ControllerState::NodeChange* change) {
    change->node.state = state;
    if (reason.empty()) {
      change->node.state_reason.reset();
    } else {
      change->node.state_reason = reason;
    }
  };
  return ending;
}

Flow<Ending> RunPause(OperationRun* run) {
  SNAP_FLOW_ASSIGN(const Beginning beginning, Begin(run, NodeState::kPausing));
  SNAP_FLOW(ReleaseInstance(run, beginning, "release"));
  return EndIn(NodeState::kPaused);
}

// A launch that cannot succeed is undone: what it made goes, what was kept stays.
Flow<Ending> Undo(OperationRun* run, const std::string& why) {
  const bool first = run->operation().kind == OperationKind::kLaunch;
  // The instance that this operation itself launched, if it got so far.
  SNAP_FLOW_ASSIGN(const Json undo, run->Observe("undo", [&]() -> Flow<Json> {
    SNAP_FLOW(run->ReloadNode());
    if (!run->has_node()) return Fail(Status::NotFound("the node is gone"));
    return Json{{"why", why}, {"instanceId", run->node().runtime.instance_id.value_or("")}};
  }));
  // The zones are those of the launch: they say which snapshots its volumes need.
  Beginning beginning;
  if (run->IsDone("begin")) {
    SNAP_FLOW_ASSIGN(beginning, Begin(run, run->node().state));
  }
  beginning.deadline_ms = 0;
  beginning.instance_id = undo.value("instanceId", "");
  if (!beginning.instance_id.empty()) SNAP_FLOW(ReleaseInstance(run, beginning, "undo"));
  const std::string reason = undo.value("why", "");
  Ending ending = EndIn(first ? NodeState::kError : NodeState::kPaused, reason);
  ending.state = OperationState::kFailed;
  ending.error = reason;
  const auto set_state = ending.change;
  const std::string operation_id = run->operation().id;
  ending.change = [set_state, reason, operation_id, first](ControllerState::NodeChange* change) {
    set_state(change);
    change->AddEvent(first ? "AWS_EC2_MANAGED_INSTANCE_ERROR" : "AWS_EC2_MANAGED_INSTANCE_PAUSED",
                     Severity::kError, fmt::format("no instance could be launched: {}", reason),
                     operation_id);
  };
  return ending;
}

// Whether the instance would run on if nothing were done.
bool MayStay(const std::string& trigger) {
  return trigger == "api" || trigger == "schedule" || trigger == "revert" || trigger == "rebalance";
}

Flow<Ending> RunLaunches(OperationRun* run, NodeState state) {
  if (run->IsDone("undo")) return Undo(run, "");
  SNAP_FLOW_ASSIGN(const Beginning beginning, Begin(run, state));
  const std::string operation_id = run->operation().id;
  const bool releases =
      run->operation().kind == OperationKind::kRecycle && !beginning.instance_id.empty();
  if (!beginning.problem.empty() && releases && MayStay(run->operation().trigger)) {
    // Better the instance that runs than none.
    Ending ending = EndIn(NodeState::kActive);
    const auto set_state = ending.change;
    const std::string problem = beginning.problem;
    ending.state = OperationState::kFailed;
    ending.error = problem;
    ending.change = [set_state, operation_id, problem](ControllerState::NodeChange* change) {
      set_state(change);
      change->AddEvent("AWS_EC2_MANAGED_INSTANCE_NOT_RECYCLED", Severity::kError,
                       fmt::format("the node stays as it is: {}", problem), operation_id);
    };
    return ending;
  }
  if (releases) SNAP_FLOW(ReleaseInstance(run, beginning, "release"));
  if (!beginning.problem.empty()) return Undo(run, beginning.problem);
  const Flow<Launched> launched = LaunchInstance(run, beginning);
  if (!launched.ok()) {
    if (launched.halt().kind == Halt::Kind::kFail) {
      return Undo(run, launched.halt().status.message());
    }
    return launched.halt();
  }
  Ending ending = EndIn(NodeState::kActive);
  if (launched->lost) return ending;  // whoever watches the node finds that out next
  const auto set_state = ending.change;
  ending.change = [set_state, operation_id](ControllerState::NodeChange* change) {
    set_state(change);
    change->AddEvent("AWS_EC2_MANAGED_INSTANCE_ACTIVE", Severity::kInfo, "the node is active",
                     operation_id);
  };
  return ending;
}

}  // namespace

Flow<Ending> RunOperation(OperationRun* run) {
  switch (run->operation().kind) {
    case OperationKind::kLaunch:
    case OperationKind::kResume:
      return RunLaunches(run, NodeState::kResuming);
    case OperationKind::kRecycle:
      return RunLaunches(run, NodeState::kRecycling);
    case OperationKind::kPause:
      return RunPause(run);
    case OperationKind::kDeallocate:
      return RunDeallocation(run);
    case OperationKind::kDeleteVolume:
      return RunVolumeDeletion(run);
    case OperationKind::kApplyTags:
      return RunTagging(run);
    case OperationKind::kImport:
      return RunImport(run);
  }
  return Fail(Status::Internal("unknown operation"));
}

}  // namespace snapstore::spot
