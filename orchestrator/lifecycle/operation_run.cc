#include "orchestrator/lifecycle/operation_run.h"

#include <fmt/format.h>

#include <algorithm>

namespace snapstore::spot {

Halt HaltOf(const AwsFailure& failure) {
  switch (failure.status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnsupported:
      return Fail(failure.status);
    default:
      return RetryLater(failure.status);
  }
}

OperationRun::OperationRun(const Services* services, Operation operation,
                           std::optional<NodeRecord> node)
    : services_(services), operation_(std::move(operation)), node_(std::move(node)) {
  if (node_) spec_ = node_->spec;
}

const StepRecord* OperationRun::Find(const std::string& step) const {
  const auto found = std::find_if(operation_.steps.begin(), operation_.steps.end(),
                                  [&](const StepRecord& record) { return record.name == step; });
  return found == operation_.steps.end() ? nullptr : &*found;
}

bool OperationRun::IsDone(const std::string& step) const {
  const StepRecord* record = Find(step);
  return record != nullptr && record->state == StepState::kDone;
}

std::optional<int64_t> OperationRun::BegunAt(const std::string& step) const {
  const StepRecord* record = Find(step);
  if (record == nullptr) return std::nullopt;
  return record->started_at_ms;
}

Flow<Done> OperationRun::ReloadOperation() {
  auto operation = services_->journal->Get(operation_.id);
  if (!operation.ok()) return RetryLater(operation.status());
  operation_ = *std::move(operation);
  return Done{};
}

Flow<Done> OperationRun::ReloadNode() {
  auto node = services_->state->GetNode(operation_.account_id, operation_.node_id);
  if (!node.ok()) {
    if (!node.status().Is(StatusCode::kNotFound)) return RetryLater(node.status());
    node_.reset();
    return Done{};
  }
  node_ = *std::move(node);
  return Done{};
}

Flow<Done> OperationRun::UseSpec(const Json& stored) {
  auto spec = StoredNodeSpec(stored);
  if (!spec.ok()) return Fail(spec.status());
  spec_ = *std::move(spec);
  return Done{};
}

Flow<Json> OperationRun::Complete(const std::string& step, bool begun, const Json& output,
                                  const Update& update) {
  std::function<Status(ControllerState::NodeChange*)> change;
  if (update) {
    change = [&](ControllerState::NodeChange* pending) {
      update(output, pending);
      return Status::Ok();
    };
  }
  OperationJournal* journal = services_->journal;
  const Status status = begun ? journal->FinishStep(operation_.id, step, output, change)
                              : journal->RecordStep(operation_.id, step, output, change);
  if (!status.ok()) return RetryLater(status.WithContext(step));
  SNAP_FLOW(ReloadOperation());
  if (update) SNAP_FLOW(ReloadNode());
  return output;
}

Flow<Json> OperationRun::Do(const std::string& step, const Json& input, const Body& body,
                            const Update& update) {
  const StepRecord* known = Find(step);
  if (known != nullptr && known->state == StepState::kDone) return known->output;
  if (known == nullptr) {
    // What is begun is brought to an end; nothing new is.
    if (operation_.superseded_by) return Halt{Halt::Kind::kSuperseded, 0, {}};
    const auto begun = services_->journal->BeginStep(operation_.id, step, input);
    if (!begun.ok()) return RetryLater(begun.status().WithContext(step));
    begun_now_.insert(step);
    SNAP_FLOW(ReloadOperation());
    known = Find(step);
    if (known == nullptr) return RetryLater(Status::Internal(step + ": is not in the journal"));
  }
  const StepRecord record = *known;
  const Flow<Json> done = body(record);
  if (!done.ok()) {
    Halt halt = done.halt();
    if (!halt.status.ok()) halt.status = halt.status.WithContext(step);
    return halt;
  }
  return Complete(step, true, *done, update);
}

Flow<Json> OperationRun::Linger(const std::string& step, const Body& body) {
  return Do(step, Json(), [&](const StepRecord& record) -> Flow<Json> {
    Flow<Json> waited = body(record);
    const bool waits = !waited.ok() && waited.halt().kind == Halt::Kind::kWait;
    if (waits && operation_.superseded_by) return Halt{Halt::Kind::kSuperseded, 0, {}};
    return waited;
  });
}

Flow<Json> OperationRun::Observe(const std::string& step, const Look& look, const Update& update) {
  const StepRecord* known = Find(step);
  if (known != nullptr && known->state == StepState::kDone) return known->output;
  if (operation_.superseded_by) return Halt{Halt::Kind::kSuperseded, 0, {}};
  const Flow<Json> seen = look();
  if (!seen.ok()) {
    Halt halt = seen.halt();
    if (!halt.status.ok()) halt.status = halt.status.WithContext(step);
    return halt;
  }
  return Complete(step, false, *seen, update);
}

Flow<Done> OperationRun::Forget(const std::string& step) {
  const Status dropped = services_->journal->DropSteps(operation_.id, step);
  if (!dropped.ok()) return RetryLater(dropped);
  return ReloadOperation();
}

Flow<Done> OperationRun::ChangeNode(
    const std::function<void(ControllerState::NodeChange*)>& change) {
  auto node = services_->state->ChangeNode(operation_.account_id, operation_.node_id,
                                           [&](ControllerState::NodeChange* pending) {
                                             change(pending);
                                             return Status::Ok();
                                           });
  if (!node.ok()) return RetryLater(node.status());
  node_ = *std::move(node);
  return Done{};
}

Flow<Done> OperationRun::Report(const std::string& step, const std::string& type, Severity severity,
                                const std::string& message) {
  SNAP_FLOW(Observe(
      step, [] { return Flow<Json>(Json()); },
      [&](const Json&, ControllerState::NodeChange* change) {
        change->AddEvent(type, severity, message, operation_.id);
      }));
  return Done{};
}

}  // namespace snapstore::spot
