#include "tools/snapstore/json.h"

#include <sys/sysmacros.h>

#include <algorithm>

#include "base/base64.h"
#include "base/clock.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

Json IdOrNull(const std::string& id) { return id.empty() ? Json(nullptr) : Json(id); }

Json TagsJson(const SnapshotInfo& info) {
  Json tags = Json::object();
  for (const auto& [key, value] : info.tags) tags[key] = value;
  return tags;
}

void SetCounters(Json* out, const SnapshotInfo& info) {
  (*out)["bytes_total"] = info.bytes_total;
  (*out)["bytes_read"] = info.bytes_read;
  (*out)["bytes_new"] = info.bytes_new;
  (*out)["bytes_stored"] = info.bytes_stored;
  (*out)["chunks_total"] = info.chunks_total;
  (*out)["chunks_new"] = info.chunks_new;
  (*out)["seconds"] = info.seconds;
  (*out)["entries"] = info.entries;
  (*out)["unreadable"] = info.unreadable;
}

Json StagesJson(const std::vector<PipelineStage>& stages) {
  Json out = Json::array();
  for (const PipelineStage& stage : stages) {
    out.push_back({{"name", stage.name},
                   {"threads", stage.threads},
                   {"seconds", stage.seconds},
                   {"busy_seconds", stage.busy_seconds}});
  }
  return out;
}

// Names of attributes are text in practice, their values are not.
Json XattrsJson(const Entry& entry) {
  Json out = Json::object();
  for (const auto& [name, value] : entry.xattrs) out[name] = Base64Encode(AsBytes(value));
  return out;
}

}  // namespace

std::string DumpJson(const Json& document) {
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void SetBytes(Json* object, const std::string& key, std::string_view bytes) {
  (*object)[key] = bytes;
  if (!IsUtf8(bytes)) (*object)[key + "_base64"] = Base64Encode(AsBytes(bytes));
}

void SetBytesList(Json* object, const std::string& key, const std::vector<std::string>& list) {
  (*object)[key] = list;
  if (std::all_of(list.begin(), list.end(), IsUtf8)) return;
  Json exact = Json::array();
  for (const std::string& item : list) exact.push_back(Base64Encode(AsBytes(item)));
  (*object)[key + "_base64"] = std::move(exact);
}

void SetStoreUsage(Json* summary, const StoreUsage& usage) {
  Json& out = (*summary)["store"];
  if (!usage.metered) return;
  out["writes"] = usage.writes;
  out["reads"] = usage.reads;
  out["deletes"] = usage.deletes;
  out["retries"] = usage.retries;
  out["throttled"] = usage.throttled;
  out["bytes_up"] = usage.bytes_up;
  out["bytes_down"] = usage.bytes_down;
  out["estimated_usd"] = usage.usd;
}

Json ListItemJson(const SnapshotInfo& info) {
  Json out;
  out["id"] = info.id;
  out["time"] = FormatTime(info.time_ns);
  out["host"] = info.host;
  SetBytesList(&out, "paths", info.paths);
  out["tags"] = TagsJson(info);
  out["bytes_total"] = info.bytes_total;
  out["parent_id"] = IdOrNull(info.parent_id);
  return out;
}

Json SnapshotJson(const SnapshotInfo& info) {
  Json out;
  out["message_type"] = "snapshot";
  out["id"] = info.id;
  out["parent_id"] = IdOrNull(info.parent_id);
  out["time"] = FormatTime(info.time_ns);
  out["host"] = info.host;
  out["user"] = info.user;
  SetBytesList(&out, "paths", info.paths);
  out["tags"] = TagsJson(info);
  SetCounters(&out, info);
  if (!info.original_id.empty()) {
    out["original_repository"] = info.original_repository;
    out["original_id"] = info.original_id;
  }
  if (!info.repaired_from.empty()) out["repaired_from"] = info.repaired_from;
  return out;
}

Json SnapshotSummaryJson(const SnapshotSummary& summary) {
  const SnapshotInfo& info = summary.info;
  Json out;
  out["message_type"] = "summary";
  out["snapshot_id"] = info.id;
  out["parent_id"] = IdOrNull(info.parent_id);
  SetCounters(&out, info);
  out["time"] = FormatTime(info.time_ns);
  out["host"] = info.host;
  SetBytesList(&out, "paths", info.paths);
  out["tags"] = TagsJson(info);
  out["stages"] = StagesJson(summary.stages);
  return out;
}

Json RestoreSummaryJson(const std::string& snapshot_id, const RestoreSummary& summary) {
  Json out;
  out["message_type"] = "summary";
  out["snapshot_id"] = snapshot_id;
  out["entries"] = summary.entries;
  out["failed"] = summary.failed;
  out["bytes_total"] = summary.bytes_total;
  out["bytes_written"] = summary.bytes_written;
  out["bytes_fetched"] = summary.bytes_fetched;
  out["seconds"] = summary.seconds;
  out["stages"] = StagesJson(summary.stages);
  return out;
}

Json EntryJson(const Entry& entry) {
  Json out;
  out["message_type"] = "entry";
  SetBytes(&out, "path", entry.path);
  out["type"] = EntryTypeName(entry.type);
  out["mode"] = entry.mode;
  out["permissions"] = FormatMode(entry.type, entry.mode);
  out["uid"] = entry.uid;
  out["gid"] = entry.gid;
  out["size"] = entry.size;
  out["mtime"] = FormatTime(entry.mtime_ns, /*decimals=*/9);
  out["ctime"] = FormatTime(entry.ctime_ns, /*decimals=*/9);
  out["inode"] = entry.inode;
  out["links"] = entry.links;
  if (entry.type == EntryType::kSymlink) SetBytes(&out, "target", entry.symlink_target);
  if (entry.type == EntryType::kCharDevice || entry.type == EntryType::kBlockDevice) {
    out["device_major"] = major(entry.rdev);
    out["device_minor"] = minor(entry.rdev);
  }
  if (!entry.hard_link_to.empty()) SetBytes(&out, "hard_link_to", entry.hard_link_to);
  if (!entry.xattrs.empty()) out["xattrs_base64"] = XattrsJson(entry);
  if (entry.changed_while_read) out["changed_while_read"] = true;
  return out;
}

std::string_view ChangeName(DiffEntry::Change change) {
  switch (change) {
    case DiffEntry::Change::kAdded:
      return "added";
    case DiffEntry::Change::kRemoved:
      return "removed";
    case DiffEntry::Change::kContent:
      return "content";
    case DiffEntry::Change::kMetadata:
      return "metadata";
    case DiffEntry::Change::kType:
      return "type";
  }
  return "unknown";
}

Json ChangeJson(const DiffEntry& entry) {
  Json out;
  out["message_type"] = "change";
  SetBytes(&out, "path", entry.path);
  out["change"] = ChangeName(entry.change);
  out["size_before"] = entry.size_before;
  out["size_after"] = entry.size_after;
  Json ranges = Json::array();
  for (const ByteRange& range : entry.ranges) {
    ranges.push_back({{"offset", range.offset}, {"length", range.length}});
  }
  out["ranges"] = std::move(ranges);
  return out;
}

Json ProblemJson(const CheckProblem& problem) {
  Json out;
  out["message_type"] = "problem";
  SetBytes(&out, "object", problem.object);
  SetBytes(&out, "message", problem.message);
  SetBytesList(&out, "lost_paths", problem.lost_paths);
  return out;
}

Json ProgressJson(const Progress& progress, double seconds) {
  Json out;
  out["message_type"] = "status";
  out["phase"] = progress.phase;
  out["seconds_elapsed"] = seconds;
  out["bytes_done"] = progress.bytes_done;
  out["bytes_total"] = progress.bytes_total;
  out["items_done"] = progress.items_done;
  out["items_total"] = progress.items_total;
  if (!progress.current.empty()) SetBytes(&out, "current", progress.current);
  return out;
}

Json WarningJson(const Warning& warning, std::string_view during) {
  Json out;
  out["message_type"] = "error";
  out["during"] = during;
  SetBytes(&out, "item", warning.item);
  out["status"] = StatusCodeName(warning.status.code());
  out["message"] = warning.status.message();
  return out;
}

Json ExitErrorJson(int code, const Status& status) {
  Json out;
  out["message_type"] = "exit_error";
  out["code"] = code;
  out["status"] = StatusCodeName(status.code());
  out["message"] = status.message();
  return out;
}

}  // namespace snapstore::cli
