// The members of the stored records. Names are kept for ever: stores hold them. Private to the
// folder.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_RECORD_FIELDS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_RECORD_FIELDS_H_

#include <array>

#include "orchestrator/model/internal/config_fields.h"
#include "orchestrator/model/internal/node_spec_fields.h"
#include "orchestrator/model/internal/request_fields.h"
#include "orchestrator/model/records.h"

namespace snapstore::spot {

template <>
struct EnumNames<NodeState> {
  static constexpr std::array<std::string_view, 12> kNames{
      "ACTIVE",  "PAUSE",     "PAUSING",    "PAUSED",       "RESUME",      "RESUMING",
      "RECYCLE", "RECYCLING", "DEALLOCATE", "DEALLOCATING", "DEALLOCATED", "ERROR"};
};
template <>
struct EnumNames<OperationKind> {
  static constexpr std::array<std::string_view, 8> kNames{
      "launch", "pause", "resume", "recycle", "deallocate", "deleteVolume", "import", "applyTags"};
};
template <>
struct EnumNames<OperationState> {
  static constexpr std::array<std::string_view, 5> kNames{"pending", "running", "done", "failed",
                                                          "superseded"};
};
template <>
struct EnumNames<StepState> {
  static constexpr std::array<std::string_view, 3> kNames{"started", "done", "failed"};
};
template <>
struct EnumNames<Severity> {
  static constexpr std::array<std::string_view, 3> kNames{"INFO", "WARN", "ERROR"};
};

template <typename V, Is<StepRecord> T>
void Fields(V& v, T& o) {
  v.Required("name", o.name);
  v.Required("clientToken", o.client_token);
  v.Required("state", o.state);
  v.Field("input", o.input);
  v.Field("output", o.output);
  v.Field("error", o.error);
  v.Field("attempts", o.attempts);
  v.Field("startedAt", o.started_at_ms);
  v.Field("finishedAt", o.finished_at_ms);
}
template <typename V, Is<Operation> T>
void Fields(V& v, T& o) {
  v.Required("id", o.id);
  v.Required("accountId", o.account_id);
  v.Required("nodeId", o.node_id);
  v.Required("kind", o.kind);
  v.Required("state", o.state);
  v.Field("trigger", o.trigger);
  v.Field("input", o.input);
  v.Field("steps", o.steps);
  v.Field("supersededBy", o.superseded_by);
  v.Field("supersedes", o.supersedes);
  v.Field("error", o.error);
  v.Field("sequence", o.sequence);
  v.Field("createdAt", o.created_at_ms);
  v.Field("updatedAt", o.updated_at_ms);
}
template <typename V, Is<Device> T>
void Fields(V& v, T& o) {
  v.Required("deviceName", o.device_name);
  v.Required("volumeId", o.volume_id);
  v.Field("snapshotId", o.snapshot_id);
}
template <typename V, Is<KeptSnapshot> T>
void Fields(V& v, T& o) {
  v.Required("id", o.id);
  v.Field("volumeId", o.volume_id);
  v.Field("time", o.time_ms);
  v.Field("completed", o.completed);
}
template <typename V, Is<VolumeFacts> T>
void Fields(V& v, T& o) {
  v.Required("volumeId", o.volume_id);
  v.Field("type", o.type);
  v.Field("iops", o.iops);
  v.Field("throughput", o.throughput);
  v.Field("encrypted", o.encrypted);
  v.Field("kmsKeyId", o.kms_key_id);
  v.Field("tags", o.tags);
}
template <typename V, Is<KeptDevice> T>
void Fields(V& v, T& o) {
  v.Required("deviceName", o.device_name);
  v.Field("volumeId", o.volume_id);
  v.Field("zone", o.zone);
  v.Field("sizeGib", o.size_gib);
  v.Field("root", o.root);
  v.Field("copied", o.copied);
  v.Field("oldVolumeId", o.old_volume_id);
  v.Field("foreign", o.foreign);
  v.Field("facts", o.facts);
  v.Field("snapshots", o.snapshots);
}
template <typename V, Is<KeptName> T>
void Fields(V& v, T& o) {
  v.Required("zoneId", o.zone_id);
  v.Required("name", o.name);
  v.Required("type", o.type);
  v.Required("value", o.value);
}
template <typename V, Is<KeptResources> T>
void Fields(V& v, T& o) {
  v.Field("imageId", o.image_id);
  v.Field("imageSnapshotId", o.image_snapshot_id);
  v.Field("interfaceId", o.interface_id);
  v.Field("subnetId", o.subnet_id);
  v.Field("privateIp", o.private_ip);
  v.Field("devices", o.devices);
  v.Field("names", o.names);
  v.Field("checkpointedOn", o.checkpointed_on);
  v.Field("healthyOnce", o.healthy_once);
  v.Field("unhealthySince", o.unhealthy_since_ms);
  v.Field("stopReported", o.stop_reported);
  v.Field("fallback", o.fallback);
  v.Field("preferred", o.preferred);
  v.Field("revertAfter", o.revert_after_ms);
  v.Field("revertsInVain", o.reverts_in_vain);
  v.Field("snapshotAfter", o.snapshot_after_ms);
  v.Field("snapshotAsked", o.snapshot_asked_ms);
  v.Field("tasksSince", o.tasks_since_ms);
  v.Field("tasksGeneration", o.tasks_generation);
}
template <typename V, Is<NodeRuntime> T>
void Fields(V& v, T& o) {
  v.Field("instanceId", o.instance_id);
  v.Field("instanceType", o.instance_type);
  v.Field("imageId", o.image_id);
  v.Field("privateIp", o.private_ip);
  v.Field("publicIp", o.public_ip);
  v.Field("ipv6Address", o.ipv6_address);
  v.Field("availabilityZone", o.availability_zone);
  v.Field("lifeCycle", o.life_cycle);
  v.Field("launchedAt", o.launched_at_ms);
  v.Field("applicationsWanted", o.applications_wanted);
  v.Field("devices", o.devices);
  v.Field("resources", o.resources);
}
template <typename V, Is<FormerSettings> T>
void Fields(V& v, T& o) {
  v.Field("tags", o.tags);
  v.Field("elasticIps", o.elastic_ips);
}
template <typename V, Is<NodeRecord> T>
void Fields(V& v, T& o) {
  v.Required("id", o.id);
  v.Required("accountId", o.account_id);
  v.Required("spec", o.spec);
  v.Field("generation", o.generation);
  v.Field("former", o.former);
  v.Field("tagsWanted", o.tags_wanted);
  v.Required("state", o.state);
  v.Field("stateReason", o.state_reason);
  v.Field("operationId", o.operation_id);
  v.Field("groupId", o.group_id);
  v.Field("statefulInstanceId", o.stateful_instance_id);
  v.Field("eventSequence", o.event_sequence);
  v.Field("operationSequence", o.operation_sequence);
  v.Field("checkpointSequence", o.checkpoint_sequence);
  v.Field("createdAt", o.created_at_ms);
  v.Field("updatedAt", o.updated_at_ms);
  v.Field("runtime", o.runtime);
}
template <typename V, Is<Event> T>
void Fields(V& v, T& o) {
  v.Required("sequence", o.sequence);
  v.Required("time", o.time_ms);
  v.Required("type", o.type);
  v.Field("severity", o.severity);
  v.Field("message", o.message);
  v.Field("operationId", o.operation_id);
}
template <typename V, Is<MigrationRecord> T>
void Fields(V& v, T& o) {
  v.Required("id", o.id);
  v.Required("accountId", o.account_id);
  v.Required("nodeId", o.node_id);
  v.Field("groupId", o.group_id);
  v.Field("statefulInstanceId", o.stateful_instance_id);
  v.Required("operationId", o.operation_id);
  v.Required("request", o.request);
  v.Required("state", o.state);
  v.Field("stateDescription", o.state_description);
  v.Field("instanceId", o.instance_id);
  v.Field("cancelRequested", o.cancel_requested);
  v.Field("terminationConfirmed", o.termination_confirmed);
  v.Field("sourceEnds", o.source_ends);
  v.Field("createdAt", o.created_at_ms);
  v.Field("updatedAt", o.updated_at_ms);
}
template <typename V, Is<ConfigRecord> T>
void Fields(V& v, T& o) {
  v.Required("id", o.id);
  v.Required("accountId", o.account_id);
  v.Required("config", o.config);
  v.Field("users", o.users);
  v.Field("createdAt", o.created_at_ms);
  v.Field("updatedAt", o.updated_at_ms);
}
template <typename V, Is<PriceChange> T>
void Fields(V& v, T& o) {
  v.Required("since", o.since_ms);
  v.Required("hourlyPrice", o.hourly_price);
}
template <typename V, Is<UsageRecord> T>
void Fields(V& v, T& o) {
  v.Required("instanceId", o.instance_id);
  v.Required("startedAt", o.started_at_ms);
  v.Field("endedAt", o.ended_at_ms);
  v.Field("hourlyPrice", o.hourly_price);
  v.Field("prices", o.prices);
  v.Field("onDemandHourlyPrice", o.on_demand_hourly_price);
}
template <typename V, Is<ReportedApplication> T>
void Fields(V& v, T& o) {
  v.Required("configId", o.config_id);
  v.Required("state", o.state);
  v.Field("restoredFrom", o.restored_from);
  v.Field("reason", o.reason);
  v.Field("error", o.error);
  v.Field("checkpointId", o.checkpoint_id);
  v.Field("checkpointAt", o.checkpoint_at_ms);
  v.Field("cpuFeatures", o.cpu_features);
}
template <typename V, Is<AgentRecord> T>
void Fields(V& v, T& o) {
  v.Required("instanceId", o.instance_id);
  v.Required("address", o.address);
  v.Required("controlToken", o.control_token);
  v.Field("tlsFingerprint", o.tls_fingerprint);
  v.Field("version", o.version);
  v.Field("cpuFeatures", o.cpu_features);
  v.Field("applications", o.applications);
  v.Field("notice", o.notice);
  v.Field("noticeAt", o.notice_at_ms);
  v.Field("seenAt", o.seen_at_ms);
}
template <typename V, Is<CheckpointReport> T>
void Fields(V& v, T& o) {
  v.Required("sequence", o.sequence);
  v.Required("configId", o.config_id);
  v.Field("checkpointId", o.checkpoint_id);
  v.Field("time", o.time_ms);
  v.Field("trigger", o.trigger);
  v.Field("frozenMs", o.frozen_ms);
  v.Field("seconds", o.seconds);
  v.Field("bytesCaptured", o.bytes_captured);
  v.Field("bytesNew", o.bytes_new);
  v.Field("bytesStored", o.bytes_stored);
  v.Field("error", o.error);
}
template <typename V, Is<RetainedRecord> T>
void Fields(V& v, T& o) {
  v.Required("kind", o.kind);
  v.Required("id", o.id);
  v.Required("accountId", o.account_id);
  v.Required("nodeId", o.node_id);
  v.Field("deleteAt", o.delete_at_ms);
  v.Field("error", o.error);
  v.Field("createdAt", o.created_at_ms);
}
template <typename V, Is<AccountRecord> T>
void Fields(V& v, T& o) {
  v.Required("id", o.id);
  v.Field("createdAt", o.created_at_ms);
}
template <typename V, Is<TokenRecord> T>
void Fields(V& v, T& o) {
  v.Required("id", o.id);
  v.Required("accounts", o.accounts);
  v.Field("label", o.label);
  v.Field("createdAt", o.created_at_ms);
  v.Field("expiresAt", o.expires_at_ms);
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_RECORD_FIELDS_H_
