#include "agent/control_json.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "agent/checkpoint_metadata.h"
#include "base/clock.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;

std::string Line(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

json TimeOrNull(int64_t nanos) { return nanos == 0 ? json() : json(FormatTime(nanos)); }
json TextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }

json Record(const CheckpointRecord& record) {
  return {{"number", record.number},
          {"trigger", record.trigger},
          {"time", TimeOrNull(record.time_ns)},
          {"ok", record.status.ok()},
          {"error", TextOrNull(record.status.message())},
          {"id", TextOrNull(record.snapshot_id)},
          {"parent_id", TextOrNull(record.parent_id)},
          {"frozen_ms", record.frozen_ms},
          {"seconds", record.seconds},
          {"bytes_captured", record.bytes_captured},
          {"bytes_external", record.bytes_external},
          {"bytes_read", record.bytes_read},
          {"bytes_new", record.bytes_new},
          {"bytes_stored", record.bytes_stored},
          {"bytes_grown_frozen", record.bytes_grown_frozen},
          {"unlisted_files", record.unlisted_files}};
}

json Newest(const NewestCheckpoint& newest) {
  return {{"id", newest.id},
          {"time", FormatTime(newest.time_ns)},
          {"cpu_features", newest.cpu_features}};
}

json Lazy(const LazyProgress& lazy) {
  return {{"bytes", lazy.bytes},
          {"bytes_missing", lazy.missing_bytes},
          {"pages_touched", lazy.touched},
          {"seconds", lazy.seconds}};
}

json Stored(const SnapshotInfo& info, const KeeperStatus& kept) {
  auto tag = [&](const char* name) {
    const auto it = info.tags.find(name);
    return it == info.tags.end() ? std::string() : it->second;
  };
  const std::string frozen = tag("snapstore.frozen_ms");
  return {{"id", info.id},
          {"time", FormatTime(info.time_ns)},
          {"host", info.host},
          {"parent_id", TextOrNull(info.parent_id)},
          {"trigger", TextOrNull(tag(kTriggerTag))},
          {"verified", kept.verified.contains(info.id)},
          {"damaged", kept.damaged.contains(info.id)},
          {"frozen_ms", frozen.empty() ? json() : json(std::strtod(frozen.c_str(), nullptr))},
          {"bytes_read", info.bytes_read},
          {"bytes_new", info.bytes_new},
          {"bytes_stored", info.bytes_stored}};
}

}  // namespace

std::string StatusJson(const SupervisorStatus& status) {
  return Line(
      {{"message_type", "status"},
       {"app", status.app},
       {"state", AppStateName(status.state)},
       {"run_cmd", status.run_cmd},
       {"repository", status.repository},
       {"pid", status.pid == 0 ? json() : json(status.pid)},
       {"started", TimeOrNull(status.started_ns)},
       {"restored_from", TextOrNull(status.restored_from)},
       {"restore_seconds", status.restore_seconds},
       {"start_reason", status.start_reason},
       {"lazy_memory", status.lazy ? Lazy(*status.lazy) : json()},
       {"connections", TcpOutcomeName(status.connections)},
       {"next_checkpoint", TimeOrNull(status.next_checkpoint_ns)},
       {"checkpoints_taken", status.taken},
       {"checkpoints_failed", status.failed},
       {"checkpoints_skipped", status.skipped},
       {"dirty_bytes", status.dirty_bytes ? json(*status.dirty_bytes) : json()},
       {"store_seconds", status.store_seconds},
       {"checkpoints_forgotten", status.kept.forgotten},
       {"keeper_error", TextOrNull(status.kept.error)},
       {"last_checkpoint", status.last ? Record(*status.last) : json()},
       {"last_good_checkpoint", status.last_success ? Record(*status.last_success) : json()},
       {"unlisted_files", status.last ? json(status.last->unlisted_files) : json::array()},
       {"newest_checkpoint", status.newest_checkpoint ? Newest(*status.newest_checkpoint) : json()},
       {"epoch", status.epoch},
       {"superseded", TextOrNull(status.superseded)},
       {"ended", TextOrNull(status.ended)},
       {"taken_over", status.taken_over},
       {"ended_by_itself", status.ended_by_itself}});
}

std::string RecordJson(const CheckpointRecord& record) {
  json document = Record(record);
  document["message_type"] = "checkpoint";
  return Line(document);
}

std::string CheckpointsJson(const std::vector<SnapshotInfo>& stored,
                            const std::vector<CheckpointRecord>& records,
                            const KeeperStatus& kept) {
  json in_store = json::array();
  for (const SnapshotInfo& info : stored) in_store.push_back(Stored(info, kept));
  json attempts = json::array();
  for (const CheckpointRecord& record : records) attempts.push_back(Record(record));
  return Line({{"message_type", "checkpoints"},
               {"checkpoints", std::move(in_store)},
               {"attempts", std::move(attempts)}});
}

std::string ErrorJson(const Status& status) {
  return Line({{"message_type", "error"},
               {"code", StatusCodeName(status.code())},
               {"message", status.message()}});
}

}  // namespace snapstore::agent
