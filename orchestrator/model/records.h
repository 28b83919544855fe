// What the state store keeps: nodes, operations, events, imports, configurations, tokens.
//
// Times are milliseconds since 1970 (UTC). Records are stored as JSON; members may be added in
// later versions and are never renamed.
//
// Thread safety: values.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_RECORDS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/model/kept_resources.h"
#include "orchestrator/model/node_spec.h"
#include "orchestrator/model/persistency_config.h"
#include "orchestrator/model/requests.h"

namespace snapstore::spot {

// In the words of the Spot API. PAUSE, RESUME, RECYCLE and DEALLOCATE are asked for and not begun:
// the API sets them, the life-cycle everything else.
enum class NodeState {
  kActive,
  kPause,
  kPausing,
  kPaused,
  kResume,
  kResuming,
  kRecycle,
  kRecycling,
  kDeallocate,
  kDeallocating,
  kDeallocated,
  kError,
};

enum class OperationKind {
  kLaunch,  // the first instance of a new node
  kPause,
  kResume,
  kRecycle,
  kDeallocate,    // input: the Deallocation
  kDeleteVolume,  // input: {"volumeId"}
  kImport,        // input: {"migrationId"}; the node's record comes with it
  kApplyTags,     // retag what lives
};
enum class OperationState { kPending, kRunning, kDone, kFailed, kSuperseded };
enum class StepState { kStarted, kDone, kFailed };

// One idempotent step of an operation. It is recorded before it is tried, with the client token
// that makes the cloud recognise a second try; its outputs are what later steps build on.
struct StepRecord {
  std::string name;  // distinct within the operation
  std::string client_token;
  StepState state = StepState::kStarted;
  Json input;
  Json output;
  std::optional<std::string> error;  // of the last try that failed
  int64_t attempts = 1;
  int64_t started_at_ms = 0;
  std::optional<int64_t> finished_at_ms;
};

struct Operation {
  std::string id;
  std::string account_id;
  std::string node_id;
  OperationKind kind = OperationKind::kLaunch;
  OperationState state = OperationState::kPending;
  std::string trigger;  // "api", "schedule", "interruption", …
  Json input;
  std::vector<StepRecord> steps;
  // Another operation wants its place (a deallocation): it should end soon as kSuperseded.
  std::optional<std::string> superseded_by;
  std::optional<std::string> supersedes;  // that operation ends first
  std::optional<std::string> error;
  int64_t sequence = 0;  // among the node's operations
  int64_t created_at_ms = 0;
  int64_t updated_at_ms = 0;
};

struct Device {
  std::string device_name;
  std::string volume_id;
  std::optional<std::string> snapshot_id;
};

// What the life-cycle has found and made; the API only shows it.
struct NodeRuntime {
  std::optional<std::string> instance_id;
  std::optional<std::string> instance_type;
  std::optional<std::string> image_id;
  std::optional<std::string> private_ip;
  std::optional<std::string> public_ip;
  std::optional<std::string> ipv6_address;
  std::optional<std::string> availability_zone;
  std::optional<LifeCycle> life_cycle;
  std::optional<int64_t> launched_at_ms;
  // The volumes are there: the agent may start, or restore, the applications.
  Flag<false> applications_wanted;
  std::vector<Device> devices;
  KeptResources resources;
};

// What earlier specifications put on the node's resources, and the present one does not have.
struct FormerSettings {
  std::vector<Tag> tags;
  std::vector<std::string> elastic_ips;  // allocations
};

struct NodeRecord {
  std::string id;
  std::string account_id;
  NodeSpec spec;
  int64_t generation = 1;  // of spec
  FormerSettings former;
  // The resources are to get the tags of spec, and no operation is there for it yet.
  Flag<false> tags_wanted;
  NodeState state = NodeState::kResume;
  std::optional<std::string> state_reason;
  std::optional<std::string> operation_id;  // the one under way or asked for
  std::optional<std::string> group_id;      // of a node imported as a group
  std::optional<std::string> stateful_instance_id;
  int64_t event_sequence = 0;       // of the newest event
  int64_t operation_sequence = 0;   // of the newest operation
  int64_t checkpoint_sequence = 0;  // of the newest checkpoint that was reported
  int64_t created_at_ms = 0;
  int64_t updated_at_ms = 0;
  NodeRuntime runtime;
};

enum class Severity { kInfo, kWarning, kError };
struct Event {
  int64_t sequence = 0;  // from 1, without gaps, per node
  int64_t time_ms = 0;
  std::string type;  // AWS_EC2_MANAGED_INSTANCE_PAUSING, …
  Severity severity = Severity::kInfo;
  std::string message;
  std::optional<std::string> operation_id;
};

struct MigrationRecord {
  std::string id;
  std::string account_id;
  std::string node_id;  // the record of that node exists once it is launched
  std::optional<std::string> group_id;
  std::optional<std::string> stateful_instance_id;
  std::string operation_id;
  MigrationRequest request;
  std::string state;  // MIGRATE_START … MIGRATE_FINISH, MIGRATE_CANCEL or MIGRATE_ERROR
  std::optional<std::string> state_description;
  std::optional<std::string> instance_id;  // the new one
  Flag<false> cancel_requested;
  Flag<false> termination_confirmed;  // by the source's owner
  // The source is being terminated, or may be: the import cannot be cancelled any more.
  Flag<false> source_ends;
  int64_t created_at_ms = 0;
  int64_t updated_at_ms = 0;
};

struct ConfigRecord {
  std::string id;
  std::string account_id;
  PersistencyConfig config;
  int64_t users = 0;  // nodes that refer to it
  int64_t created_at_ms = 0;
  int64_t updated_at_ms = 0;
};

// A stretch of time during which one instance ran at one price; what costs are summed from.
struct PriceChange {
  int64_t since_ms = 0;
  double hourly_price = 0;  // US dollars
};
struct UsageRecord {
  std::string instance_id;
  int64_t started_at_ms = 0;
  std::optional<int64_t> ended_at_ms;
  double hourly_price = 0;            // US dollars, at first
  std::vector<PriceChange> prices;    // what it was later, ascending
  double on_demand_hourly_price = 0;  // of the same type
};

// An application as the agent of its node last reported it.
struct ReportedApplication {
  std::string config_id;
  std::string state;  // "starting", "running", "checkpointing", "stopping", "ended", "failed"
  std::optional<std::string> restored_from;  // the checkpoint's id; none: started afresh
  std::optional<std::string> reason;         // one line: why it was started that way
  std::optional<std::string> error;
  std::optional<std::string> checkpoint_id;  // the newest good one
  std::optional<int64_t> checkpoint_at_ms;
  std::vector<std::string> cpu_features;  // that this checkpoint needs
};

// What runs on a node's instance and reports to the controller.
struct AgentRecord {
  std::string instance_id;
  std::string address;        // of its control interface: "10.0.1.5:9527"
  std::string control_token;  // what that wants to see
  // SHA-256 of the certificate that it shows there; none: plain HTTP.
  std::optional<std::string> tls_fingerprint;
  std::string version;
  std::vector<std::string> cpu_features;  // of the instance
  std::vector<ReportedApplication> applications;
  std::optional<std::string> notice;  // the cloud's: "terminate", "stop", "hibernate", "rebalance"
  std::optional<int64_t> notice_at_ms;  // when the instance goes, or when it was recommended
  int64_t seen_at_ms = 0;
};

// One checkpoint of an application, as reported.
struct CheckpointReport {
  int64_t sequence = 0;  // from 1, without gaps, per node
  std::string config_id;
  std::string checkpoint_id;  // empty: it failed
  int64_t time_ms = 0;
  std::string trigger;
  double frozen_ms = 0;
  double seconds = 0;
  int64_t bytes_captured = 0;
  int64_t bytes_new = 0;
  int64_t bytes_stored = 0;
  std::optional<std::string> error;
};

// Something a node that is gone left in the cloud, to be deleted at its time.
struct RetainedRecord {
  std::string kind;  // "image", "snapshot", "volume", "interface"
  std::string id;
  std::string account_id;
  std::string node_id;
  std::optional<int64_t> delete_at_ms;  // none: it is kept
  std::optional<std::string> error;     // of the last try
  int64_t created_at_ms = 0;
};

struct AccountRecord {
  std::string id;
  int64_t created_at_ms = 0;
};

// Stored under the SHA-256 of the token, which itself is nowhere.
struct TokenRecord {
  std::string id;
  std::vector<std::string> accounts;  // the oldest first
  std::string label;
  int64_t created_at_ms = 0;
  std::optional<int64_t> expires_at_ms;
};

// What a user or a schedule can ask of a node.
enum class NodeAction { kPause, kResume, kRecycle, kDeallocate };

std::string_view NodeStateName(NodeState state);
std::string_view OperationKindName(OperationKind kind);
std::string_view OperationStateName(OperationState state);
std::string_view StepStateName(StepState state);
std::string_view SeverityName(Severity severity);
std::string_view NodeActionName(NodeAction action);  // "pause", …

// InvalidArgument when the action makes no sense in that state.
Status CheckAction(NodeState state, NodeAction action);
// The state that says that the action is asked for, and its operation.
NodeState AskedState(NodeAction action);
OperationKind KindOf(NodeAction action);
// Whether something is asked for or under way.
bool IsTransient(NodeState state);
// Whether an import in this state goes no further.
bool IsMigrationOver(std::string_view state);
// Asks for its end; InvalidArgument: it goes no further, or there is no way back.
Status CancelMigration(MigrationRecord* migration);

// Of every record type above. Decode: Corruption, `what` names the record.
template <typename T>
std::string EncodeRecord(const T& record);
template <typename T>
Result<T> DecodeRecord(std::string_view text, std::string_view what);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_RECORDS_H_
