// The part of ControllerState that is about nodes.
#include <fmt/format.h>

#include <algorithm>

#include "orchestrator/model/ids.h"
#include "orchestrator/state/controller_state.h"
#include "orchestrator/state/internal/keys.h"
#include "orchestrator/state/internal/records_io.h"

namespace snapstore::spot {
namespace {

bool Contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

struct AskedEvent {
  const char* type;
  const char* message;
};
AskedEvent EventOf(NodeAction action) {
  switch (action) {
    case NodeAction::kPause:
      return {"AWS_EC2_MANAGED_INSTANCE_PAUSING", "a pause was asked for"};
    case NodeAction::kResume:
      return {"AWS_EC2_MANAGED_INSTANCE_RESUMING", "a resume was asked for"};
    case NodeAction::kRecycle:
      return {"AWS_EC2_MANAGED_INSTANCE_RECYCLING", "a recycle was asked for"};
    case NodeAction::kDeallocate:
      break;
  }
  return {"AWS_EC2_MANAGED_INSTANCE_DELETING", "the deletion was asked for"};
}

NodeRecord NewNode(const std::string& account, const std::string& id, const NodeSpec& spec,
                   int64_t now_ms) {
  NodeRecord node;
  node.id = id;
  node.account_id = account;
  node.spec = spec;
  node.created_at_ms = node.updated_at_ms = now_ms;
  return node;
}

}  // namespace

void ControllerState::NodeChange::AddEvent(const std::string& type, Severity severity,
                                           const std::string& message,
                                           const std::optional<std::string>& operation_id) {
  const std::string prefix = keys::Events(node.account_id, node.id);
  const Event event{++node.event_sequence, sources.now_ms(), type, severity, message, operation_id};
  transaction.Put(keys::Numbered(prefix, event.sequence), EncodeRecord(event));
  if (event.sequence > kEventsKept) {
    transaction.Delete(keys::Numbered(prefix, event.sequence - kEventsKept));
  }
}

Operation ControllerState::NodeChange::AddOperation(OperationKind kind, const std::string& trigger,
                                                    const Json& input) {
  Operation operation;
  operation.id = sources.new_id(IdPrefix::kOperation);
  operation.account_id = node.account_id;
  operation.node_id = node.id;
  operation.kind = kind;
  operation.trigger = trigger;
  operation.input = input;
  operation.sequence = ++node.operation_sequence;
  operation.created_at_ms = operation.updated_at_ms = sources.now_ms();
  transaction.Put(keys::ActiveOperation(operation.id), EncodeRecord(operation));
  node.operation_id = operation.id;
  return operation;
}

void ControllerState::NodeChange::StartTagging() {
  if (!node.tags_wanted.value() || node.operation_id || IsTransient(node.state)) return;
  node.tags_wanted = {};
  AddOperation(OperationKind::kApplyTags, "api", Json());
}

void ControllerState::NodeChange::SetInstance(const std::optional<std::string>& instance_id) {
  std::optional<std::string>& mine = node.runtime.instance_id;
  if (mine == instance_id) return;
  if (mine) transaction.Delete(keys::Instance(node.account_id, *mine));
  if (instance_id) transaction.Put(keys::Instance(node.account_id, *instance_id), node.id);
  mine = instance_id;
}

void ControllerState::NodeChange::AddRetained(const RetainedRecord& record) {
  transaction.Put(keys::Retained(record.id), EncodeRecord(record));
}

Status ControllerState::CountConfigUsers(const std::string& account,
                                         const std::vector<std::string>& before,
                                         const std::vector<std::string>& after,
                                         Transaction* transaction, FieldErrors* errors) {
  bool unknown = false;
  const auto count = [&](const std::string& id, int64_t by) -> Status {
    const std::string key = keys::Configs(account) + id;
    uint64_t revision = 0;
    SNAP_ASSIGN_OR_RETURN(auto config, GetRecord<ConfigRecord>(key, &revision));
    config.users = std::max<int64_t>(0, config.users + by);
    transaction->Require(key, revision);
    PutRecord(key, config, transaction);
    return Status::Ok();
  };
  for (size_t i = 0; i < after.size(); ++i) {
    if (Contains(before, after[i])) continue;
    const Status counted = count(after[i], 1);
    if (counted.ok()) continue;
    if (!counted.Is(StatusCode::kNotFound)) return counted;
    unknown = true;
    if (errors != nullptr) {
      errors->Add(
          fmt::format("managedInstance.persistence.applicationPersistencyConfig[{}]", i),
          fmt::format("there is no application persistency configuration {} in this account",
                      after[i]));
    }
  }
  if (unknown)
    return Status::InvalidArgument("an application persistency configuration is unknown");
  for (const std::string& id : before) {
    if (Contains(after, id)) continue;
    const Status counted = count(id, -1);
    if (!counted.ok() && !counted.Is(StatusCode::kNotFound)) return counted;
  }
  return Status::Ok();
}

Status ControllerState::CommitNode(NodeChange* change,
                                   const std::vector<std::string>& configs_before,
                                   uint64_t revision, FieldErrors* errors) {
  NodeRecord& node = change->node;
  const bool gone = node.state == NodeState::kDeallocated;
  const std::vector<std::string> configs =
      gone ? std::vector<std::string>() : node.spec.persistence.application_persistency_configs;
  SNAP_RETURN_IF_ERROR(
      CountConfigUsers(node.account_id, configs_before, configs, &change->transaction, errors));
  node.updated_at_ms = std::max(Now(), node.updated_at_ms);
  const std::string key = keys::Nodes(node.account_id) + node.id;
  change->transaction.Require(key, revision);
  if (gone) {
    change->transaction.Delete(key);
    change->transaction.Delete(keys::Agent(node.account_id, node.id));
    if (node.group_id) change->transaction.Delete(keys::Group(node.account_id, *node.group_id));
  } else {
    PutRecord(key, node, &change->transaction);
  }
  return Commit(&change->transaction);
}

Result<NodeRecord> ControllerState::CreateNode(const std::string& account, const NodeSpec& spec,
                                               FieldErrors* errors) {
  NodeRecord node;
  const Status done = Retry([&]() -> Status {
    NodeChange change{
        NewNode(account, sources_.new_id(IdPrefix::kNode), spec, Now()), {}, sources_};
    const Operation operation = change.AddOperation(OperationKind::kLaunch, "api", Json());
    change.AddEvent("AWS_EC2_MANAGED_INSTANCE_RESUMING", Severity::kInfo, "the node was created",
                    operation.id);
    SNAP_RETURN_IF_ERROR(CommitNode(&change, {}, 0, errors));
    node = std::move(change.node);
    return Status::Ok();
  });
  if (!done.ok()) return done;
  return node;
}

Result<NodeRecord> ControllerState::CreateImportedNode(const MigrationRecord& migration,
                                                       const NodeSpec& spec) {
  NodeRecord node;
  const Status done = Retry([&]() -> Status {
    NodeChange change{NewNode(migration.account_id, migration.node_id, spec, Now()), {}, sources_};
    change.node.operation_id = migration.operation_id;
    change.node.operation_sequence = 1;
    change.node.group_id = migration.group_id;
    change.node.stateful_instance_id = migration.stateful_instance_id;
    change.AddEvent("AWS_EC2_MANAGED_INSTANCE_RESUMING", Severity::kInfo,
                    "the node was imported from " + migration.request.original_instance_id,
                    migration.operation_id);
    SNAP_RETURN_IF_ERROR(CommitNode(&change, {}, 0, nullptr));
    node = std::move(change.node);
    return Status::Ok();
  });
  if (!done.ok()) return done;
  return node;
}

Result<NodeRecord> ControllerState::GetNode(const std::string& account, const std::string& id) {
  return GetRecord<NodeRecord>(keys::Nodes(account) + id, nullptr);
}

Result<StateEntry> ControllerState::GetNodeEntry(const std::string& account,
                                                 const std::string& id) {
  return store_->Get(keys::Nodes(account) + id);
}

Result<std::vector<StateEntry>> ControllerState::ListNodeEntries(const std::string& account,
                                                                 const std::string& after,
                                                                 size_t limit) {
  const std::string prefix = keys::Nodes(account);
  std::string last = after.empty() ? "" : prefix + after;
  std::vector<StateEntry> entries;
  for (bool more = true; more && entries.size() < limit;) {
    SNAP_ASSIGN_OR_RETURN(
        StateListing page,
        store_->List(prefix, last, std::min(kPageEntries, limit - entries.size())));
    more = page.more && !page.entries.empty();
    if (more) last = page.entries.back().key;
    entries.insert(entries.end(), std::make_move_iterator(page.entries.begin()),
                   std::make_move_iterator(page.entries.end()));
  }
  return entries;
}

Result<std::vector<NodeRecord>> ControllerState::ListNodes(const std::string& account) {
  return ListRecords<NodeRecord>(keys::Nodes(account));
}

Result<NodeList> ControllerState::ListAllNodes() {
  return CacheOf<NodeRecord>().List(store_, "node/", kPageEntries);
}

Result<NodeRecord> ControllerState::ChangeNode(const std::string& account, const std::string& id,
                                               const std::function<Status(NodeChange*)>& change,
                                               FieldErrors* errors) {
  NodeRecord node;
  const std::string key = keys::Nodes(account) + id;
  const Status done = Retry([&]() -> Status {
    uint64_t revision = 0;
    SNAP_ASSIGN_OR_RETURN(auto found, GetRecord<NodeRecord>(key, &revision));
    NodeChange pending{std::move(found), {}, sources_};
    const auto configs_before = pending.node.spec.persistence.application_persistency_configs;
    SNAP_RETURN_IF_ERROR(change(&pending));
    SNAP_RETURN_IF_ERROR(CommitNode(&pending, configs_before, revision, errors));
    node = std::move(pending.node);
    return Status::Ok();
  });
  if (!done.ok()) return done;
  return node;
}

Status ControllerState::AskWith(NodeChange* change, NodeAction action, const std::string& trigger,
                                const Json& input) {
  NodeRecord& node = change->node;
  SNAP_RETURN_IF_ERROR(CheckAction(node.state, action));
  const std::optional<std::string> earlier = node.operation_id;
  Operation operation = change->AddOperation(KindOf(action), trigger, input);
  if (earlier) {
    const std::string key = keys::ActiveOperation(*earlier);
    uint64_t revision = 0;
    auto running = GetRecord<Operation>(key, &revision);
    if (running.ok()) {
      if (action != NodeAction::kDeallocate) {
        return Status::InvalidArgument(
            fmt::format("cannot {} the stateful node: another operation ({}) is under way",
                        NodeActionName(action), OperationKindName(running->kind)));
      }
      running->superseded_by = operation.id;
      operation.supersedes = running->id;
      change->transaction.changes.back().value = EncodeRecord(operation);
      change->transaction.Require(key, revision);
      PutRecord(key, *running, &change->transaction);
    } else if (!running.status().Is(StatusCode::kNotFound)) {
      return running.status();
    }
  }
  node.state = AskedState(action);
  node.state_reason.reset();
  const AskedEvent event = EventOf(action);
  const std::string reason = input.is_object() ? input.value("reason", "") : "";
  change->AddEvent(event.type, Severity::kInfo,
                   reason.empty() ? event.message : fmt::format("{}: {}", event.message, reason),
                   operation.id);
  return Status::Ok();
}

Result<NodeRecord> ControllerState::Ask(const std::string& account, const std::string& id,
                                        NodeAction action, const std::string& trigger,
                                        const Json& input) {
  return ChangeNode(account, id,
                    [&](NodeChange* change) { return AskWith(change, action, trigger, input); });
}

Status ControllerState::AskVolumeDeletion(const std::string& account, const std::string& id,
                                          const std::string& volume_id) {
  return ChangeNode(
             account, id,
             [&](NodeChange* change) -> Status {
               const auto& devices = change->node.runtime.devices;
               if (std::none_of(devices.begin(), devices.end(), [&](const Device& device) {
                     return device.volume_id == volume_id;
                   })) {
                 return Status::InvalidArgument(
                     fmt::format("the stateful node has no volume {}", volume_id));
               }
               const auto& kept = change->node.runtime.resources.devices;
               if (std::any_of(kept.begin(), kept.end(), [&](const KeptDevice& device) {
                     return device.root && device.volume_id == volume_id;
                   })) {
                 return Status::InvalidArgument(fmt::format(
                     "{} is the stateful node's root device, which cannot be deleted", volume_id));
               }
               if (change->node.operation_id || IsTransient(change->node.state)) {
                 return Status::InvalidArgument(
                     fmt::format("cannot delete a volume of a stateful node that is {}, or has an "
                                 "operation under way",
                                 NodeStateName(change->node.state)));
               }
               change->AddOperation(OperationKind::kDeleteVolume, "api", {{"volumeId", volume_id}});
               return Status::Ok();
             })
      .status();
}

}  // namespace snapstore::spot
