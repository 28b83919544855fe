#include "agent/node_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/clock.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;

constexpr size_t kReportMessageBytesMax = 2000;
constexpr double kIntervalSecondsMin = 0.1;
constexpr double kIntervalSecondsMax = 60;
constexpr size_t kApplicationsMax = 100;

json ReportTextOrNull(const std::string& text) { return text.empty() ? json() : json(text); }
json LineOrNull(const std::string& text) {
  return ReportTextOrNull(OneLine(text, kReportMessageBytesMax));
}
// A time that is none would have the whole heartbeat refused.
json ReportTimeOrNull(const std::string& text) {
  return ParseTime(text).ok() ? json(text) : json();
}

json ReportedApplicationJson(const NodeApplicationReport& one) {
  return {{"configId", one.config_id},
          {"state", one.state},
          {"restoredFrom", ReportTextOrNull(one.restored_from)},
          {"reason", LineOrNull(one.reason)},
          {"error", LineOrNull(one.error)},
          {"checkpointId", ReportTextOrNull(one.checkpoint_id)},
          {"checkpointAt", ReportTextOrNull(one.checkpoint_at)},
          {"cpuFeatures", one.cpu_features}};
}

json CheckpointJson(const NodeCheckpointReport& one) {
  const bool failed = one.checkpoint_id.empty();
  const std::string error = OneLine(one.error, kReportMessageBytesMax);
  return {{"configId", one.config_id},
          {"checkpointId", ReportTextOrNull(one.checkpoint_id)},
          {"time", one.time},
          {"trigger", one.trigger},
          {"frozenMs", one.frozen_ms},
          {"seconds", one.seconds},
          {"bytesCaptured", one.bytes_captured},
          {"bytesNew", one.bytes_new},
          {"bytesStored", one.bytes_stored},
          {"error", failed ? json(error.empty() ? "failed" : error) : json()}};
}

bool IsConfigId(const std::string& text) {
  constexpr std::string_view kPrefix = "apc-";
  constexpr size_t kIdBytesMax = 64;
  return text.starts_with(kPrefix) && text.size() > kPrefix.size() && text.size() <= kIdBytesMax &&
         std::all_of(text.begin() + kPrefix.size(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); });
}

Result<OrderedApplication> ParseApplication(const json& object) {
  OrderedApplication application;
  // The library reports what is missing or of another type only by exception.
  try {
    object.at("id").get_to(application.id);
    object.at("repository").get_to(application.repository);
    if (!object.at("config").is_object()) return Status::Io("an application without configuration");
    application.config = json({{"config", object.at("config")}}).dump();
  } catch (const json::exception& error) {
    return Status::Io(error.what());
  }
  if (!IsConfigId(application.id)) {
    return Status::Io(fmt::format("an application with the id '{}'", OneLine(application.id, 80)));
  }
  if (!application.repository.starts_with("efs://") &&
      !application.repository.starts_with("s3://")) {
    return Status::Io(fmt::format("{}: a repository that is neither efs:// nor s3://: '{}'",
                                  application.id, OneLine(application.repository, 200)));
  }
  return application;
}

}  // namespace

std::string OneLine(std::string_view text, size_t bytes_max) {
  // Replaces what is no UTF-8.
  std::string line =
      json::parse(json(std::string(text)).dump(-1, ' ', false, json::error_handler_t::replace))
          .get<std::string>();
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  if (line.size() <= bytes_max) return line;
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0) == 0x80) --end;
  line.resize(end);
  return line;
}

std::string HeartbeatText(const NodeHeartbeat& heartbeat) {
  json applications = json::array();
  for (const NodeApplicationReport& one : heartbeat.applications) {
    applications.push_back(ReportedApplicationJson(one));
  }
  json checkpoints = json::array();
  for (const NodeCheckpointReport& one : heartbeat.checkpoints) {
    checkpoints.push_back(CheckpointJson(one));
  }
  json notice;
  if (heartbeat.notice) {
    notice = {{"action", heartbeat.notice->action},
              {"time", ReportTimeOrNull(heartbeat.notice->time)}};
  }
  json document = {{"heartbeat",
                    {{"instanceId", heartbeat.instance_id},
                     {"privateIp", heartbeat.private_ip},
                     {"port", heartbeat.port},
                     {"controlToken", heartbeat.control_token},
                     {"version", heartbeat.version},
                     {"cpuFeatures", heartbeat.cpu_features},
                     {"applications", std::move(applications)},
                     {"checkpoints", std::move(checkpoints)},
                     {"notice", std::move(notice)}}}};
  if (!heartbeat.tls_fingerprint.empty()) {
    document["heartbeat"]["tlsFingerprint"] = heartbeat.tls_fingerprint;
  }
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<NodeOrders> ParseOrders(std::string_view text) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  NodeOrders orders;
  // As above.
  try {
    const json& item = document.at("response").at("items").at(0);
    item.at("managedInstanceId").get_to(orders.node_id);
    item.at("applicationsWanted").get_to(orders.applications_wanted);
    item.at("intervalSeconds").get_to(orders.interval_seconds);
    for (const json& one : item.at("applications")) {
      auto application = ParseApplication(one);
      if (!application.ok()) return application.status();
      application->keeps_address = item.value("persistPrivateIp", false);
      orders.applications.push_back(*std::move(application));
    }
  } catch (const json::exception& error) {
    return Status::Io(fmt::format("no answer to a heartbeat: {}", error.what()));
  }
  if (orders.applications.size() > kApplicationsMax || std::isnan(orders.interval_seconds)) {
    return Status::Io("no answer to a heartbeat: too many applications, or no interval");
  }
  orders.interval_seconds =
      std::clamp(orders.interval_seconds, kIntervalSecondsMin, kIntervalSecondsMax);
  return orders;
}

}  // namespace snapstore::agent
