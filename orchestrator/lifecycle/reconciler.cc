#include "orchestrator/lifecycle/reconciler.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>

#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/lifecycle/node_parts.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kRetryFirstMs = 1'000;
constexpr int64_t kRetryMaxMs = 60'000;
constexpr int64_t kReportEveryMs = 600'000;
constexpr int64_t kSupersededWaitMs = 200;
constexpr int64_t kPurgeRetryMs = 600'000;
constexpr int64_t kPurgeIdleMaxMs = 3'600'000;

std::optional<NodeRecord> NodeOf(ControllerState* state, const Operation& operation,
                                 Status* status) {
  auto node = state->GetNode(operation.account_id, operation.node_id);
  if (node.ok()) return *std::move(node);
  if (!node.status().Is(StatusCode::kNotFound)) *status = node.status();
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> Reconciler::Advance(const std::string& operation_id) {
  auto operation = services_->journal->Get(operation_id);
  if (!operation.ok()) {
    if (operation.status().Is(StatusCode::kNotFound)) return std::nullopt;
    LogError("{}: {}", operation_id, operation.status().message());
    return kRetryFirstMs;
  }
  if (operation->supersedes) {
    const auto earlier = services_->journal->Get(*operation->supersedes);
    if (!earlier.status().Is(StatusCode::kNotFound)) return kSupersededWaitMs;
  }
  Status unreadable;
  OperationRun run(services_, *operation, NodeOf(services_->state, *operation, &unreadable));
  if (!unreadable.ok()) return RetryDelay(*operation, unreadable);
  try {
    const Flow<Ending> ended = RunOperation(&run);
    return ended.ok() ? End(*operation, *ended) : AfterHalt(run.operation(), ended.halt());
  } catch (const std::exception& error) {
    // A record that does not hold what its writer put there.
    return RetryDelay(*operation, Status::Internal(error.what()));
  }
}

std::optional<int64_t> Reconciler::End(const Operation& operation, const Ending& ending) {
  const Status finished = services_->journal->Finish(
      operation.id, ending.state, ending.error, [&](ControllerState::NodeChange* change) {
        // Somebody else's wish is in the record already.
        if (change->node.operation_id && *change->node.operation_id != operation.id) {
          return Status::Ok();
        }
        if (ending.change) ending.change(change);
        return Status::Ok();
      });
  if (!finished.ok() && !finished.Is(StatusCode::kNotFound)) {
    return RetryDelay(operation, finished);
  }
  const std::lock_guard lock(mutex_);
  backoffs_.erase(operation.id);
  return std::nullopt;
}

std::optional<int64_t> Reconciler::AfterHalt(const Operation& operation, const Halt& halt) {
  switch (halt.kind) {
    case Halt::Kind::kWait:
      return halt.wait_ms > 0 ? halt.wait_ms : PollDelay(operation);
    case Halt::Kind::kRetry:
      return RetryDelay(operation, halt.status);
    case Halt::Kind::kSuperseded: {
      Ending ending;
      ending.state = OperationState::kSuperseded;
      return End(operation, ending);
    }
    case Halt::Kind::kFail:
      break;
  }
  Ending ending;
  ending.state = OperationState::kFailed;
  ending.error = halt.status.message();
  const bool ends_node = operation.kind == OperationKind::kDeallocate;
  ending.change = [&](ControllerState::NodeChange* change) {
    if (ends_node || IsTransient(change->node.state)) {
      change->node.state = NodeState::kError;
      change->node.state_reason = ending.error;
    }
    change->AddEvent("OPERATION_FAILED", Severity::kError,
                     fmt::format("{}: {}", OperationKindName(operation.kind), ending.error),
                     operation.id);
  };
  return End(operation, ending);
}

int64_t Reconciler::PollDelay(const Operation& operation) {
  const std::lock_guard lock(mutex_);
  Backoff& backoff = backoffs_[operation.id];
  backoff.retries = 0;
  const auto done = static_cast<size_t>(
      std::count_if(operation.steps.begin(), operation.steps.end(),
                    [](const StepRecord& step) { return step.state == StepState::kDone; }));
  if (done != backoff.steps_done) backoff.waits = 0;
  backoff.steps_done = done;
  int64_t delay = services_->options.poll_ms;
  for (int i = 0; i < backoff.waits / 4 && delay < services_->options.poll_max_ms; ++i) {
    delay += delay / 2;
  }
  ++backoff.waits;
  return std::min(delay, services_->options.poll_max_ms);
}

int64_t Reconciler::RetryDelay(const Operation& operation, const Status& why) {
  const int64_t now = services_->state->Now();
  bool reports = false;
  int64_t delay = kRetryFirstMs;
  {
    const std::lock_guard lock(mutex_);
    Backoff& backoff = backoffs_[operation.id];
    for (int i = 0; i < backoff.retries && delay < kRetryMaxMs; ++i) delay *= 2;
    delay = std::min(delay, kRetryMaxMs);
    ++backoff.retries;
    // Once is nothing to speak of.
    reports = backoff.retries > 2 && now - backoff.reported_ms >= kReportEveryMs;
    if (reports) backoff.reported_ms = now;
  }
  LogWarning("{} of {}: {}", OperationKindName(operation.kind), operation.node_id, why.message());
  if (reports) {
    (void)services_->state->ChangeNode(
        operation.account_id, operation.node_id, [&](ControllerState::NodeChange* change) {
          change->AddEvent(
              "OPERATION_RETRIED", Severity::kWarning,
              fmt::format("{} is tried on: {}", OperationKindName(operation.kind), why.message()),
              operation.id);
          return Status::Ok();
        });
  }
  return delay;
}

Result<std::vector<Reconciler::NodeName>> Reconciler::Poll() {
  SNAP_ASSIGN_OR_RETURN(const auto nodes, services_->state->ListAllNodes());
  const Flow<CloudView> view = LookAtCloud(*services_, nodes);
  if (!view.ok()) return view.halt().status;
  std::vector<NodeName> due;
  for (const auto& known : nodes) {
    const NodeRecord& node = *known;
    if (node.operation_id || IsTransient(node.state)) continue;
    auto findings = Look(node, *view);
    if (!findings.ok()) {
      LogWarning("{}: {}", node.id, findings.status().message());
      continue;
    }
    WeighRevert(node, &*findings);
    if (node.tags_wanted.value()) findings->changed = true;
    if (findings->wants_snapshots) due.push_back({node.account_id, node.id});
    if (!findings->changed && !findings->action && findings->outdated.empty() &&
        findings->tasks_that_are_over.empty()) {
      continue;
    }
    const Status stored = Store(node, *findings);
    // Somebody asked for something meanwhile: it is looked at again when that is over.
    if (!stored.ok()) LogInfo("{}: {}", node.id, stored.message());
  }
  return due;
}

Result<Findings> Reconciler::Look(const NodeRecord& node, const CloudView& view) {
  const Ec2Instance* instance = nullptr;
  std::optional<Ec2Instance> single;
  if (node.runtime.instance_id) {
    const auto found = view.instances.find(*node.runtime.instance_id);
    if (found != view.instances.end()) {
      instance = &found->second;
    } else {
      // A list may lag: before a node is given up its instance is asked for by name.
      const auto asked = FindInstance(*services_, *node.runtime.instance_id);
      if (!asked.ok()) return asked.halt().status;
      single = *asked;
      if (single) instance = &*single;
      const int64_t age = view.time_ms - node.runtime.launched_at_ms.value_or(0);
      if (!single && age < kConsistencyMs) {
        return Status::NotFound(*node.runtime.instance_id + " is not known to EC2 yet");
      }
    }
  }
  return WatchNode(*services_, node, view, instance);
}

std::set<std::string> Reconciler::Delete(const NodeRecord& node,
                                         const std::vector<std::string>& snapshots) {
  std::set<std::string> deleted;
  for (const std::string& id : snapshots) {
    const auto done = services_->ec2->DeleteSnapshot(id);
    if (!done.ok()) LogWarning("{}: {}", node.id, done.status().message());
    // Conflict: somebody made something of it, and owns it now.
    if (done.ok() || done.status().Is(StatusCode::kNotFound) ||
        done.status().Is(StatusCode::kConflict)) {
      deleted.insert(id);
    }
  }
  return deleted;
}

Status Reconciler::Store(const NodeRecord& node, const Findings& findings) {
  // What could not be deleted stays in the record, and is tried again.
  const std::set<std::string> deleted = Delete(node, findings.outdated);
  if (!findings.changed && !findings.action && deleted.empty() &&
      findings.tasks_that_are_over.empty()) {
    return {};
  }
  if (findings.action) Heed(node, *findings.action);
  const auto change = [&](ControllerState::NodeChange* pending) -> Status {
    NodeRecord& record = pending->node;
    if (record.operation_id || record.updated_at_ms != node.updated_at_ms ||
        record.state != node.state || record.generation != node.generation) {
      return Status::Cancelled("it was changed meanwhile");
    }
    record.runtime = findings.runtime;
    for (KeptDevice& device : record.runtime.resources.devices) {
      std::erase_if(device.snapshots,
                    [&](const KeptSnapshot& one) { return deleted.contains(one.id); });
    }
    record.runtime.devices = ShownDevices(record.runtime.resources);
    for (auto index = findings.tasks_that_are_over.rbegin();
         index != findings.tasks_that_are_over.rend(); ++index) {
      record.spec.scheduling.tasks.erase(record.spec.scheduling.tasks.begin() +
                                         static_cast<int64_t>(*index));
    }
    for (const NewEvent& event : findings.events) {
      pending->AddEvent(event.type, event.severity, event.message);
    }
    // With the record: a task that is over, and is not carried out, would be lost.
    if (!findings.action) {
      pending->StartTagging();
      return {};
    }
    return services_->state->AskWith(pending, findings.action->action, findings.action->trigger,
                                     InputOf(*findings.action));
  };
  return services_->state->ChangeNode(node.account_id, node.id, change).status();
}

Json Reconciler::InputOf(const WantedAction& wanted) {
  Json input = {{"reason", wanted.reason}};
  if (wanted.deadline_ms > 0) input["deadline"] = wanted.deadline_ms;
  return input;
}

void Reconciler::Heed(const NodeRecord& node, const WantedAction& wanted) {
  const bool taken = wanted.trigger == "terminated" || wanted.trigger == "interruption";
  if (!taken || node.runtime.life_cycle != LifeCycle::kSpot) return;
  services_->markets->NoteInterrupted(
      fmt::format("{}/{}/spot", node.runtime.instance_type.value_or(""),
                  node.runtime.availability_zone.value_or("")),
      services_->state->Now());
}

void Reconciler::WeighRevert(const NodeRecord& node, Findings* findings) {
  if (!findings->action || findings->action->trigger != "revert") return;
  const Flow<bool> better = MayFindBetterMarket(*services_, node);
  if (better.ok() && *better) return;
  findings->action.reset();
  findings->runtime.resources.revert_after_ms =
      services_->state->Now() + services_->options.revert_interval_ms;
  findings->changed = true;
}

Status Reconciler::HeedAgent(const std::string& account_id, const std::string& node_id) {
  SNAP_ASSIGN_OR_RETURN(const auto agent, services_->state->GetAgent(account_id, node_id));
  if (!agent.notice) return {};
  SNAP_ASSIGN_OR_RETURN(const auto node, services_->state->GetNode(account_id, node_id));
  if (node.operation_id) return {};
  const auto wanted = ActionOfNotice(node, agent, services_->state->Now());
  if (!wanted) return {};
  Heed(node, *wanted);
  return services_->state
      ->Ask(account_id, node_id, wanted->action, wanted->trigger, InputOf(*wanted))
      .status();
}

Status Reconciler::PurgeRetained() {
  const int64_t now = services_->state->Now();
  const uint64_t commits = services_->state->retained_commits();
  // What nobody flagged stays for ever: the list grows, and is not read every time.
  if (now < purge_idle_until_ms_ && commits == purge_commits_) return {};
  SNAP_ASSIGN_OR_RETURN(const auto records, services_->state->ListRetained());
  int64_t idle_until = now + kPurgeIdleMaxMs;
  // Images before snapshots: an image's snapshot cannot be deleted.
  for (const bool images : {true, false}) {
    for (RetainedRecord record : records) {
      if ((record.kind == "image") != images) continue;
      if (!record.delete_at_ms) continue;
      int64_t due = *record.delete_at_ms;
      const auto failed = purge_after_ms_.find(record.id);
      if (failed != purge_after_ms_.end()) due = std::max(due, failed->second);
      if (now < due) {
        idle_until = std::min(idle_until, due);
        continue;
      }
      purge_after_ms_.erase(record.id);
      const Flow<Done> deleted = DeleteResource(*services_, record.kind, record.id);
      if (deleted.ok()) {
        SNAP_RETURN_IF_ERROR(services_->state->DropRetained(record.id));
        continue;
      }
      purge_after_ms_[record.id] = now + kPurgeRetryMs;
      idle_until = std::min(idle_until, now + kPurgeRetryMs);
      const std::string error = deleted.halt().status.message();
      LogWarning("{} {}: {}", record.kind, record.id, error);
      if (record.error == error) continue;
      record.error = error;
      SNAP_RETURN_IF_ERROR(services_->state->PutRetained(record));
    }
  }
  purge_idle_until_ms_ = idle_until;
  purge_commits_ = commits;
  return {};
}

}  // namespace snapstore::spot
