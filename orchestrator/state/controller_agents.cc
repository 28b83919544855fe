// The part of ControllerState that is about what agents report, and what nodes leave behind.
#include <algorithm>

#include "orchestrator/state/controller_state.h"
#include "orchestrator/state/internal/keys.h"
#include "orchestrator/state/internal/records_io.h"

namespace snapstore::spot {
namespace {

bool IsSameCheckpoint(const CheckpointReport& a, const CheckpointReport& b) {
  return a.config_id == b.config_id && a.checkpoint_id == b.checkpoint_id &&
         (!a.checkpoint_id.empty() || a.time_ms == b.time_ms);
}

}  // namespace

Result<std::string> ControllerState::NodeOfInstance(const std::string& account,
                                                    const std::string& instance) {
  SNAP_ASSIGN_OR_RETURN(const StateEntry entry, store_->Get(keys::Instance(account, instance)));
  return entry.value;
}

Result<AgentRecord> ControllerState::GetAgent(const std::string& account, const std::string& node) {
  return GetRecord<AgentRecord>(keys::Agent(account, node), nullptr);
}

Result<std::vector<AgentRecord>> ControllerState::ListAgents() {
  return ListRecords<AgentRecord>(std::string(keys::kAgents));
}

Status ControllerState::PutAgent(const std::string& account, const std::string& node,
                                 const AgentRecord& agent) {
  return Retry([&]() -> Status {
    // Not of a node that went meanwhile.
    SNAP_ASSIGN_OR_RETURN(const std::string owner, NodeOfInstance(account, agent.instance_id));
    if (owner != node) return Status::NotFound(agent.instance_id + " is another node's");
    Transaction transaction;
    transaction.Put(keys::Agent(account, node), EncodeRecord(agent));
    return Commit(&transaction);
  });
}

Status ControllerState::AddCheckpoints(const std::string& account, const std::string& node,
                                       const std::vector<CheckpointReport>& checkpoints) {
  const auto change = [&](NodeChange* pending) -> Status {
    const std::string prefix = keys::Checkpoints(account, node);
    int64_t& newest = pending->node.checkpoint_sequence;
    // Nobody adds one meanwhile: the node's sequence would have changed.
    SNAP_ASSIGN_OR_RETURN(
        std::vector<CheckpointReport> kept,
        ListCheckpoints(account, node, std::max<int64_t>(0, newest - kCheckpointsKept),
                        kCheckpointsKept));
    for (CheckpointReport checkpoint : checkpoints) {
      if (std::any_of(kept.begin(), kept.end(), [&](const CheckpointReport& one) {
            return IsSameCheckpoint(one, checkpoint);
          })) {
        continue;
      }
      checkpoint.sequence = ++newest;
      pending->transaction.Put(keys::Numbered(prefix, newest), EncodeRecord(checkpoint));
      if (newest > kCheckpointsKept) {
        pending->transaction.Delete(keys::Numbered(prefix, newest - kCheckpointsKept));
      }
      kept.push_back(std::move(checkpoint));
    }
    // Nothing is to be written.
    return pending->transaction.changes.empty() ? Status::Cancelled("all are known") : Status::Ok();
  };
  const Status added = ChangeNode(account, node, change).status();
  return added.Is(StatusCode::kCancelled) ? Status::Ok() : added;
}

Result<std::vector<CheckpointReport>> ControllerState::ListCheckpoints(const std::string& account,
                                                                       const std::string& node,
                                                                       int64_t after,
                                                                       size_t limit) {
  return ListNumbered<CheckpointReport>(keys::Checkpoints(account, node), after, limit);
}

Result<std::vector<RetainedRecord>> ControllerState::ListRetained() {
  return ListRecords<RetainedRecord>(std::string(keys::kRetained));
}

Status ControllerState::PutRetained(const RetainedRecord& record) {
  Transaction transaction;
  transaction.Put(keys::Retained(record.id), EncodeRecord(record));
  return Commit(&transaction);
}

Status ControllerState::DropRetained(const std::string& id) {
  Transaction transaction;
  transaction.Delete(keys::Retained(id));
  return Commit(&transaction);
}

}  // namespace snapstore::spot
