#include "orchestrator/model/records.h"

#include "orchestrator/model/internal/record_fields.h"

namespace snapstore::spot {

std::string_view NodeStateName(NodeState state) { return NameOf(state); }
std::string_view OperationKindName(OperationKind kind) { return NameOf(kind); }
std::string_view OperationStateName(OperationState state) { return NameOf(state); }
std::string_view StepStateName(StepState state) { return NameOf(state); }
std::string_view SeverityName(Severity severity) { return NameOf(severity); }
std::string_view NodeActionName(NodeAction action) { return NameOf(KindOf(action)); }

OperationKind KindOf(NodeAction action) {
  switch (action) {
    case NodeAction::kPause:
      return OperationKind::kPause;
    case NodeAction::kResume:
      return OperationKind::kResume;
    case NodeAction::kRecycle:
      return OperationKind::kRecycle;
    case NodeAction::kDeallocate:
      break;
  }
  return OperationKind::kDeallocate;
}

NodeState AskedState(NodeAction action) {
  switch (action) {
    case NodeAction::kPause:
      return NodeState::kPause;
    case NodeAction::kResume:
      return NodeState::kResume;
    case NodeAction::kRecycle:
      return NodeState::kRecycle;
    case NodeAction::kDeallocate:
      break;
  }
  return NodeState::kDeallocate;
}

bool IsTransient(NodeState state) {
  return state != NodeState::kActive && state != NodeState::kPaused &&
         state != NodeState::kDeallocated && state != NodeState::kError;
}

Status CheckAction(NodeState state, NodeAction action) {
  const bool deallocating = state == NodeState::kDeallocate || state == NodeState::kDeallocating ||
                            state == NodeState::kDeallocated;
  bool fits = false;
  switch (action) {
    case NodeAction::kPause:
      fits = state == NodeState::kActive;
      break;
    case NodeAction::kResume:
      fits = state == NodeState::kPaused || state == NodeState::kError;
      break;
    case NodeAction::kRecycle:  // of a paused node: its resume
      fits = !IsTransient(state) && !deallocating;
      break;
    case NodeAction::kDeallocate:
      fits = !deallocating;
      break;
  }
  if (fits) return Status::Ok();
  return Status::InvalidArgument(
      fmt::format("cannot {} a stateful node that is {}", NodeActionName(action), NameOf(state)));
}

bool IsMigrationOver(std::string_view state) {
  return state == "MIGRATE_FINISH" || state == "MIGRATE_CANCEL" || state == "MIGRATE_ERROR";
}

Status CancelMigration(MigrationRecord* migration) {
  if (IsMigrationOver(migration->state)) {
    return Status::InvalidArgument(
        fmt::format("the migration is over already ({})", migration->state));
  }
  if (migration->source_ends.value()) {
    return Status::InvalidArgument(
        fmt::format("{} is terminated, or being terminated: the migration goes on to its end",
                    migration->request.original_instance_id));
  }
  migration->cancel_requested = true;
  return Status::Ok();
}

template <typename T>
std::string EncodeRecord(const T& record) {
  return JsonText(Writer::ValueJson(record));
}
template <typename T>
Result<T> DecodeRecord(std::string_view text, std::string_view what) {
  return ReadStored<T>(text, what);
}

#define SNAP_RECORD_(T)                           \
  template std::string EncodeRecord<T>(const T&); \
  template Result<T> DecodeRecord<T>(std::string_view, std::string_view)
SNAP_RECORD_(Operation);
SNAP_RECORD_(NodeRecord);
SNAP_RECORD_(Event);
SNAP_RECORD_(MigrationRecord);
SNAP_RECORD_(ConfigRecord);
SNAP_RECORD_(UsageRecord);
SNAP_RECORD_(AgentRecord);
SNAP_RECORD_(CheckpointReport);
SNAP_RECORD_(RetainedRecord);
SNAP_RECORD_(AccountRecord);
SNAP_RECORD_(TokenRecord);
#undef SNAP_RECORD_

}  // namespace snapstore::spot
