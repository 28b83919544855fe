// ControllerState: the records in a StateStore, and the changes that go together.
//
// This is the seam between the API and the life-cycle. The API asks: it stores specifications,
// states that say "asked for", and pending operations. The life-cycle follows the operations
// (OperationJournal), carries them out and stores what it found. Every change here is one
// transaction, tried again when somebody else changed the same record meanwhile.
//
// Errors: NotFound (no such record in that account), InvalidArgument (it makes no sense as things
// are; the message is for users), Conflict (changed by others again and again; or the leadership
// is lost), and those of the store.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_CONTROLLER_STATE_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_CONTROLLER_STATE_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "orchestrator/model/ids.h"
#include "orchestrator/model/records.h"
#include "orchestrator/state/internal/record_cache.h"
#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

// Older ones are dropped.
inline constexpr int64_t kEventsKept = 1000;
inline constexpr int64_t kOperationsKept = 100;

// Nobody reads more of one node's.
inline constexpr int64_t kCheckpointsKept = 1000;

// Milliseconds since 1970, of this machine's clock.
int64_t NowMs();

// Where times and ids come from. A simulation has its own.
struct StateSources {
  std::function<int64_t()> now_ms = NowMs;
  std::function<std::string(std::string_view prefix)> new_id = NewId;
  std::function<std::string()> new_uuid = NewUuid;
};

using NodeList = std::vector<std::shared_ptr<const NodeRecord>>;

class ControllerState {
 public:
  // Both must outlive it. With a leadership every change fails once that is lost; the API, which
  // any controller may serve, goes without.
  explicit ControllerState(StateStore* store, const Leadership* leadership = nullptr,
                           StateSources sources = {})
      : store_(store), leadership_(leadership), sources_(std::move(sources)) {}

  StateStore* store() const { return store_; }
  int64_t Now() const { return sources_.now_ms(); }

  // Tokens. The text is returned once and kept nowhere.
  struct NewToken {
    std::string text;
    TokenRecord record;
  };
  // Makes the accounts that do not exist yet. REQUIRES: `accounts` is not empty.
  Result<NewToken> AddToken(const std::vector<std::string>& accounts, const std::string& label,
                            std::optional<std::chrono::seconds> lifetime);
  Status RevokeToken(const std::string& id);
  Result<std::vector<TokenRecord>> ListTokens();
  // PermissionDenied: unknown or expired.
  Result<TokenRecord> FindToken(std::string_view text);

  Result<ConfigRecord> CreateConfig(const std::string& account, const PersistencyConfig& config);
  Result<ConfigRecord> GetConfig(const std::string& account, const std::string& id);
  Result<std::vector<ConfigRecord>> ListConfigs(const std::string& account);
  // `change` may be called several times, each time with the newest record.
  Result<ConfigRecord> ChangeConfig(const std::string& account, const std::string& id,
                                    const std::function<Status(ConfigRecord*)>& change);
  // InvalidArgument while a node refers to it.
  Status DeleteConfig(const std::string& account, const std::string& id);

  // A node in state RESUME, and its operation kLaunch. Unknown configurations go to `errors`, with
  // InvalidArgument.
  Result<NodeRecord> CreateNode(const std::string& account, const NodeSpec& spec,
                                FieldErrors* errors);
  Result<NodeRecord> GetNode(const std::string& account, const std::string& id);
  // As they are stored, for who need not decode most of them: keys end in the node's id.
  Result<StateEntry> GetNodeEntry(const std::string& account, const std::string& id);
  // Those after the node `after` (empty: from the first), in the order of their ids, at most
  // `limit`.
  Result<std::vector<StateEntry>> ListNodeEntries(const std::string& account,
                                                  const std::string& after, size_t limit);
  Result<std::vector<NodeRecord>> ListNodes(const std::string& account);
  // Of all accounts, for the life-cycle. Those that did not change since the last call are the same
  // objects.
  Result<NodeList> ListAllNodes();

  // A change of a node, in which more may happen: events, operations. Counts references to
  // configurations; unknown ones go to `errors` (which may be null) as above. A node that becomes
  // DEALLOCATED is removed.
  class NodeChange;
  Result<NodeRecord> ChangeNode(const std::string& account, const std::string& id,
                                const std::function<Status(NodeChange*)>& change,
                                FieldErrors* errors = nullptr);

  // Asks for an action: state, operation and event. InvalidArgument when it makes no sense in the
  // node's state. A deallocation supersedes what is under way.
  Result<NodeRecord> Ask(const std::string& account, const std::string& id, NodeAction action,
                         const std::string& trigger, const Json& input);
  // The same as a part of a change.
  Status AskWith(NodeChange* change, NodeAction action, const std::string& trigger,
                 const Json& input);
  Status AskVolumeDeletion(const std::string& account, const std::string& id,
                           const std::string& volume_id);

  // Newest last; those after `after`, at most `limit`.
  Result<std::vector<Event>> ListEvents(const std::string& account, const std::string& node,
                                        int64_t after, size_t limit);
  Status PutUsage(const std::string& account, const std::string& node, const UsageRecord& usage);
  // The stretch that has not ended, of those that began then or later; NotFound: there is none.
  Result<UsageRecord> OpenUsage(const std::string& account, const std::string& node,
                                int64_t since_ms);
  // Of the stretch that began then. One that grew long (SplitUsage) goes on in another record.
  Status ChangeUsage(const std::string& account, const std::string& node, int64_t started_at_ms,
                     const std::function<Status(UsageRecord*)>& change);
  // Those that began then or later, ascending.
  Result<std::vector<UsageRecord>> ListUsage(const std::string& account, const std::string& node,
                                             int64_t since_ms = 0);

  // The node an instance belongs to; NotFound: to none. Written by the life-cycle with the launch
  // (NodeChange::SetInstance).
  Result<std::string> NodeOfInstance(const std::string& account, const std::string& instance);
  Result<AgentRecord> GetAgent(const std::string& account, const std::string& node);
  // Of all accounts.
  Result<std::vector<AgentRecord>> ListAgents();
  Status PutAgent(const std::string& account, const std::string& node, const AgentRecord& agent);
  // Their sequences are given here. What is kept already, of the same configuration with the same
  // id (or, of failures, the same time), is not added again; older ones than kCheckpointsKept are
  // dropped.
  Status AddCheckpoints(const std::string& account, const std::string& node,
                        const std::vector<CheckpointReport>& checkpoints);
  Status AddCheckpoint(const std::string& account, const std::string& node,
                       const CheckpointReport& checkpoint) {
    return AddCheckpoints(account, node, {checkpoint});
  }
  // As ListEvents.
  Result<std::vector<CheckpointReport>> ListCheckpoints(const std::string& account,
                                                        const std::string& node, int64_t after,
                                                        size_t limit);
  // What nodes that are gone left, of all accounts.
  Result<std::vector<RetainedRecord>> ListRetained();
  Status PutRetained(const RetainedRecord& record);
  Status DropRetained(const std::string& id);
  // Counts commits through this object that may have changed them.
  uint64_t retained_commits() const { return retained_commits_; }

  // An import with its operation; `as_group` gives it ids of a group and a stateful instance.
  Result<MigrationRecord> CreateMigration(const std::string& account,
                                          const MigrationRequest& request, bool as_group);
  Result<MigrationRecord> GetMigration(const std::string& account, const std::string& id);
  Result<MigrationRecord> MigrationOfGroup(const std::string& account, const std::string& group);
  Result<MigrationRecord> ChangeMigration(const std::string& account, const std::string& id,
                                          const std::function<Status(MigrationRecord*)>& change);
  // The node of an import, once its settings are known: its id, its group and its operation are the
  // import's.
  Result<NodeRecord> CreateImportedNode(const MigrationRecord& migration, const NodeSpec& spec);

 private:
  friend class OperationJournal;

  // What somebody else can have changed meanwhile is tried again, a bounded number of times.
  static Status Retry(const std::function<Status()>& attempt);
  Status Commit(Transaction* transaction);
  template <typename T>
  Result<T> GetRecord(const std::string& key, uint64_t* revision);
  template <typename T>
  void PutRecord(const std::string& key, const T& record, Transaction* transaction);
  template <typename T>
  RecordCache<T>& CacheOf() {
    return std::get<RecordCache<T>>(caches_);
  }
  template <typename T>
  Result<std::vector<T>> ListRecords(const std::string& prefix);
  template <typename T>
  Result<T> ChangeRecord(const std::string& key,
                         const std::function<Status(T*, Transaction*)>& change);
  Status CountConfigUsers(const std::string& account, const std::vector<std::string>& before,
                          const std::vector<std::string>& after, Transaction* transaction,
                          FieldErrors* errors);
  // Adds the node's own part of a change to the transaction and commits it.
  Status CommitNode(NodeChange* change, const std::vector<std::string>& configs_before,
                    uint64_t revision, FieldErrors* errors);

  // Numbered records, newest last; those after `after`, at most `limit`.
  template <typename T>
  Result<std::vector<T>> ListNumbered(const std::string& prefix, int64_t after, size_t limit);

  StateStore* const store_;
  const Leadership* const leadership_;
  const StateSources sources_;
  std::atomic<uint64_t> retained_commits_ = 0;
  std::tuple<RecordCache<NodeRecord>, RecordCache<Operation>, RecordCache<UsageRecord>,
             RecordCache<AgentRecord>, RecordCache<MigrationRecord>, RecordCache<ConfigRecord>,
             RecordCache<TokenRecord>>
      caches_;
};

// What ChangeNode hands to its caller.
class ControllerState::NodeChange {
 public:
  NodeRecord node;
  Transaction transaction;  // further changes that go with it
  const StateSources& sources;

  // The node's instance from now on, or none: it is found by it (NodeOfInstance).
  void SetInstance(const std::optional<std::string>& instance_id);
  // What the node leaves behind.
  void AddRetained(const RetainedRecord& record);

  void AddEvent(const std::string& type, Severity severity, const std::string& message,
                const std::optional<std::string>& operation_id = std::nullopt);
  // Pending; becomes the node's operation.
  Operation AddOperation(OperationKind kind, const std::string& trigger, const Json& input);
  // An operation for node.tags_wanted, unless something else is asked for or under way.
  void StartTagging();
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_CONTROLLER_STATE_H_
