#include "orchestrator/state/operation_journal.h"

#include <algorithm>

#include "orchestrator/model/ids.h"
#include "orchestrator/state/internal/keys.h"
#include "orchestrator/state/internal/records_io.h"

namespace snapstore::spot {
namespace {

StepRecord* FindStep(Operation* operation, const std::string& name) {
  for (StepRecord& step : operation->steps) {
    if (step.name == name) return &step;
  }
  return nullptr;
}

StepRecord* AddStep(Operation* operation, const std::string& name, int64_t now_ms) {
  operation->steps.push_back({});
  StepRecord* step = &operation->steps.back();
  step->name = name;
  step->started_at_ms = now_ms;
  return step;
}

// Moves the operation to those that are over, and drops the oldest of these.
void Retire(const std::string& key, const Operation& operation, Transaction* transaction) {
  const std::string done = keys::DoneOperations(operation.account_id, operation.node_id);
  transaction->Delete(key);
  transaction->Put(keys::Numbered(done, operation.sequence), EncodeRecord(operation));
  if (operation.sequence > kOperationsKept) {
    transaction->Delete(keys::Numbered(done, operation.sequence - kOperationsKept));
  }
}

}  // namespace

Result<std::vector<Operation>> OperationJournal::Active() {
  SNAP_ASSIGN_OR_RETURN(auto operations,
                        state_->ListRecords<Operation>(std::string(keys::kActiveOperations)));
  std::sort(operations.begin(), operations.end(), [](const Operation& a, const Operation& b) {
    return std::tie(a.created_at_ms, a.id) < std::tie(b.created_at_ms, b.id);
  });
  return operations;
}

Result<Operation> OperationJournal::Get(const std::string& id) {
  return state_->GetRecord<Operation>(keys::ActiveOperation(id), nullptr);
}

Result<std::vector<Operation>> OperationJournal::Finished(const std::string& account,
                                                          const std::string& node) {
  return state_->ListRecords<Operation>(keys::DoneOperations(account, node));
}

Result<StepRecord> OperationJournal::BeginStep(const std::string& id, const std::string& step,
                                               const Json& input) {
  StepRecord begun;
  const auto change = [&, this](Operation* operation, Transaction*) {
    operation->state = OperationState::kRunning;
    operation->updated_at_ms = state_->Now();
    StepRecord* known = FindStep(operation, step);
    if (known == nullptr) {
      known = AddStep(operation, step, state_->Now());
      known->client_token = state_->sources_.new_uuid();
      known->input = input;
    } else if (known->state != StepState::kDone) {
      known->state = StepState::kStarted;
      ++known->attempts;
    }
    begun = *known;
    return Status::Ok();
  };
  SNAP_RETURN_IF_ERROR(state_->ChangeRecord<Operation>(keys::ActiveOperation(id), change).status());
  return begun;
}

Status OperationJournal::ChangeStep(const std::string& id, const std::string& step,
                                    const std::function<void(StepRecord*)>& change) {
  const auto apply = [&](Operation* operation, Transaction*) {
    StepRecord* known = FindStep(operation, step);
    if (known == nullptr) return Status::Internal(id + ": step " + step + " was not begun");
    change(known);
    operation->updated_at_ms = state_->Now();
    return Status::Ok();
  };
  return state_->ChangeRecord<Operation>(keys::ActiveOperation(id), apply).status();
}

Status OperationJournal::Complete(
    const std::string& id, const std::string& step, bool may_begin, const Json& output,
    const std::function<Status(ControllerState::NodeChange*)>& change) {
  const std::string key = keys::ActiveOperation(id);
  return ControllerState::Retry([&]() -> Status {
    uint64_t revision = 0;
    SNAP_ASSIGN_OR_RETURN(auto operation, state_->GetRecord<Operation>(key, &revision));
    StepRecord* known = FindStep(&operation, step);
    if (known == nullptr) {
      if (!may_begin) return Status::Internal(id + ": step " + step + " was not begun");
      known = AddStep(&operation, step, state_->Now());
      operation.state = OperationState::kRunning;
    }
    known->state = StepState::kDone;
    known->output = output;
    known->error.reset();
    known->finished_at_ms = operation.updated_at_ms = state_->Now();
    if (!change) {
      Transaction transaction;
      transaction.Require(key, revision);
      state_->PutRecord(key, operation, &transaction);
      return state_->Commit(&transaction);
    }
    uint64_t node_revision = 0;
    SNAP_ASSIGN_OR_RETURN(
        auto node, state_->GetRecord<NodeRecord>(
                       keys::Nodes(operation.account_id) + operation.node_id, &node_revision));
    ControllerState::NodeChange pending{std::move(node), {}, state_->sources_};
    const auto configs = pending.node.spec.persistence.application_persistency_configs;
    pending.transaction.Require(key, revision);
    state_->PutRecord(key, operation, &pending.transaction);
    SNAP_RETURN_IF_ERROR(change(&pending));
    return state_->CommitNode(&pending, configs, node_revision, nullptr);
  });
}

Status OperationJournal::FinishStep(
    const std::string& id, const std::string& step, const Json& output,
    const std::function<Status(ControllerState::NodeChange*)>& change) {
  return Complete(id, step, false, output, change);
}

Status OperationJournal::RecordStep(
    const std::string& id, const std::string& step, const Json& output,
    const std::function<Status(ControllerState::NodeChange*)>& change) {
  return Complete(id, step, true, output, change);
}

Status OperationJournal::DropSteps(const std::string& id, const std::string& name) {
  const auto drop = [&](Operation* operation, Transaction*) {
    std::erase_if(operation->steps, [&](const StepRecord& step) {
      return step.name == name || (name.ends_with('/') && step.name.starts_with(name));
    });
    return Status::Ok();
  };
  return state_->ChangeRecord<Operation>(keys::ActiveOperation(id), drop).status();
}

Status OperationJournal::FailStep(const std::string& id, const std::string& step,
                                  const std::string& error) {
  return ChangeStep(id, step, [&error](StepRecord* record) {
    record->state = StepState::kFailed;
    record->error = error;
  });
}

Status OperationJournal::Finish(const std::string& id, OperationState state,
                                const std::string& error,
                                const std::function<Status(ControllerState::NodeChange*)>& change) {
  const std::string key = keys::ActiveOperation(id);
  return ControllerState::Retry([&]() -> Status {
    uint64_t revision = 0;
    SNAP_ASSIGN_OR_RETURN(auto operation, state_->GetRecord<Operation>(key, &revision));
    state_->CacheOf<Operation>().Forget(key);
    operation.state = state;
    if (!error.empty()) operation.error = error;
    operation.updated_at_ms = state_->Now();
    uint64_t node_revision = 0;
    auto node = state_->GetRecord<NodeRecord>(keys::Nodes(operation.account_id) + operation.node_id,
                                              &node_revision);
    if (!node.ok()) {
      if (!node.status().Is(StatusCode::kNotFound)) return node.status();
      Transaction transaction;
      transaction.Require(key, revision);
      Retire(key, operation, &transaction);
      return state_->Commit(&transaction);
    }
    ControllerState::NodeChange pending{*std::move(node), {}, state_->sources_};
    const auto configs = pending.node.spec.persistence.application_persistency_configs;
    pending.transaction.Require(key, revision);
    Retire(key, operation, &pending.transaction);
    if (pending.node.operation_id == id) pending.node.operation_id.reset();
    if (change) SNAP_RETURN_IF_ERROR(change(&pending));
    return state_->CommitNode(&pending, configs, node_revision, nullptr);
  });
}

}  // namespace snapstore::spot
