// The part of ControllerState that is about what agents report, and what nodes leave behind.
#include "orchestrator/state/controller_state.h"
#include "orchestrator/state/internal/keys.h"
#include "orchestrator/state/internal/records_io.h"

namespace snapstore::spot {

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

Status ControllerState::AddCheckpoint(const std::string& account, const std::string& node,
                                      CheckpointReport checkpoint) {
  const auto change = [&](NodeChange* pending) {
    const std::string prefix = keys::Checkpoints(account, node);
    checkpoint.sequence = ++pending->node.checkpoint_sequence;
    pending->transaction.Put(keys::Numbered(prefix, checkpoint.sequence), EncodeRecord(checkpoint));
    if (checkpoint.sequence > kCheckpointsKept) {
      pending->transaction.Delete(keys::Numbered(prefix, checkpoint.sequence - kCheckpointsKept));
    }
    return Status::Ok();
  };
  return ChangeNode(account, node, change).status();
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
