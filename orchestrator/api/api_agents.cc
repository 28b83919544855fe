// Calls of the agents on nodes' instances, and about what they report.
#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "base/storage_names.h"
#include "orchestrator/api/api_service.h"
#include "orchestrator/api/internal/replies.h"
#include "orchestrator/model/agent_report.h"

namespace snapstore::spot {
namespace {

constexpr const char* kAgentKind = "spotinst:aws:ec2:managedInstance:agent";
constexpr const char* kCheckpointKind = "spotinst:aws:ec2:managedInstance:checkpoint";
constexpr const char* kHeartbeatRoot = "heartbeat";
constexpr const char* kCantReport = "CANT_REPORT_AGENT";

// Of heartbeats; shorter when an agent may not be silent for long: at least so many fall into that.
constexpr double kIntervalSeconds = 10;
constexpr double kHeartbeatsBeforeSilence = 12;
constexpr double kShortIntervalSeconds = 0.25;  // the volumes are about to come
constexpr double kMsOfSecond = 1000;
// A heartbeat that says nothing new is stored that often only, and in a silence's time so often.
constexpr int64_t kUnchangedStoredMs = 30'000;
constexpr int64_t kStoredBeforeSilence = 4;

// Where checkpoints of one application on one node are: no two share a repository, so that each is
// restored, and one day pruned, on its own.
std::string RepositoryOf(const NodeRecord& node, const ConfigRecord& record) {
  const std::string& destination = record.config.snapshot_destination;
  return fmt::format("{}://{}/{}/{}/{}", IsEfsId(destination) ? "efs" : "s3", destination,
                     node.account_id, node.id, record.id);
}

bool IsAboutToStart(const NodeRecord& node) {
  return node.spec.persistence.persist_application.value() &&
         !node.runtime.applications_wanted.value() &&
         (node.state == NodeState::kResume || node.state == NodeState::kResuming ||
          node.state == NodeState::kRecycle || node.state == NodeState::kRecycling);
}

// An agent that has just begun does not know the newest checkpoints. What the one before it told of
// them is kept: it decides on which CPUs they can be restored.
void KeepCheckpoints(const AgentRecord& before, const NodeRecord& node, AgentRecord* agent) {
  const auto& configs = node.spec.persistence.application_persistency_configs;
  for (const ReportedApplication& old : before.applications) {
    if (!old.checkpoint_id ||
        std::find(configs.begin(), configs.end(), old.config_id) == configs.end()) {
      continue;
    }
    auto mine = std::find_if(
        agent->applications.begin(), agent->applications.end(),
        [&](const ReportedApplication& one) { return one.config_id == old.config_id; });
    if (mine == agent->applications.end()) {
      ReportedApplication& added = agent->applications.emplace_back();
      added.config_id = old.config_id;
      added.state = "starting";
      mine = std::prev(agent->applications.end());
    }
    if (mine->checkpoint_id) continue;
    mine->checkpoint_id = old.checkpoint_id;
    mine->checkpoint_at_ms = old.checkpoint_at_ms;
    mine->cpu_features = old.cpu_features;
  }
}

bool SaysTheSame(AgentRecord a, AgentRecord b) {
  a.seen_at_ms = 0;
  b.seen_at_ms = 0;
  return EncodeRecord(a) == EncodeRecord(b);
}

Json ApplicationJson(const ReportedApplication& application) {
  return {{"configId", application.config_id},
          {"state", application.state},
          {"restoredFrom", OrNull(application.restored_from)},
          {"reason", OrNull(application.reason)},
          {"error", OrNull(application.error)},
          {"checkpointId", OrNull(application.checkpoint_id)},
          {"checkpointAt", TimeOrNull(application.checkpoint_at_ms)},
          {"cpuFeatures", application.cpu_features}};
}

// Without the control token, which is the agent's and the life-cycle's alone.
Json AgentJson(const std::string& node, const AgentRecord& agent, bool healthy) {
  Json applications = Json::array();
  for (const ReportedApplication& one : agent.applications) {
    applications.push_back(ApplicationJson(one));
  }
  return {{"managedInstanceId", node},
          {"instanceId", agent.instance_id},
          {"address", agent.address},
          {"version", agent.version},
          {"healthy", healthy},
          {"seenAt", TimeText(agent.seen_at_ms)},
          {"notice", OrNull(agent.notice)},
          {"noticeAt", TimeOrNull(agent.notice_at_ms)},
          {"cpuFeatures", agent.cpu_features},
          {"applications", std::move(applications)}};
}

Json CheckpointJson(const CheckpointReport& report) {
  return {{"sequence", report.sequence},
          {"configId", report.config_id},
          {"checkpointId", report.checkpoint_id.empty() ? Json() : Json(report.checkpoint_id)},
          {"time", TimeText(report.time_ms)},
          {"trigger", report.trigger},
          {"frozenMs", report.frozen_ms},
          {"seconds", report.seconds},
          {"bytesCaptured", report.bytes_captured},
          {"bytesNew", report.bytes_new},
          {"bytesStored", report.bytes_stored},
          {"error", OrNull(report.error)}};
}

ApiReply NoInstance(const std::string& instance) {
  return ApiReply::Error(400, ErrorCode::kNoInstance,
                         fmt::format("no stateful node of this account has instance {}", instance),
                         "heartbeat.instanceId");
}

}  // namespace

// All others share one count.
std::string ApiService::CallerOfHeartbeat(const Json& body) {
  if (!body.is_object()) return "";
  const auto heartbeat = body.find(kHeartbeatRoot);
  if (heartbeat == body.end() || !heartbeat->is_object()) return "";
  const auto id = heartbeat->find("instanceId");
  if (id == heartbeat->end() || !id->is_string()) return "";
  const auto& text = id->get_ref<const std::string&>();
  constexpr size_t kInstanceIdSizeMax = 32;
  return text.size() <= kInstanceIdSizeMax && IsId("i-", text) ? text : "";
}

Result<Json> ApiService::OrdersJson(const NodeRecord& node) {
  const Persistence& persistence = node.spec.persistence;
  Json applications = Json::array();
  if (persistence.persist_application.value()) {
    for (const std::string& id : persistence.application_persistency_configs) {
      SNAP_ASSIGN_OR_RETURN(const ConfigRecord record, state_->GetConfig(node.account_id, id));
      Json config = PersistencyConfigJson(id, record.config);
      config.erase("id");
      applications.push_back(
          {{"id", id}, {"config", std::move(config)}, {"repository", RepositoryOf(node, record)}});
    }
  }
  const double interval =
      std::min(kIntervalSeconds, static_cast<double>(options_.agent_silence_ms) / kMsOfSecond /
                                     kHeartbeatsBeforeSilence);
  return Json{{"managedInstanceId", node.id},
              {"applicationsWanted",
               persistence.persist_application.value() && node.runtime.applications_wanted.value()},
              {"persistPrivateIp", persistence.persist_private_ip.value()},
              {"intervalSeconds", IsAboutToStart(node) ? kShortIntervalSeconds : interval},
              {"applications", std::move(applications)}};
}

ApiReply ApiService::Heartbeat(const Call& call) {
  FieldErrors errors;
  const Json* object = RootOf(call.body, kHeartbeatRoot, &errors);
  auto report = object == nullptr ? std::nullopt : ParseAgentReport(*object, &errors);
  if (!report) return ApiReply::Invalid(kCantReport, errors);
  const auto failed = [&](const Status& status) {
    return status.Is(StatusCode::kNotFound) ? NoInstance(report->agent.instance_id)
                                            : FailureReply(status, kCantReport);
  };
  const auto id = state_->NodeOfInstance(call.account, report->agent.instance_id);
  if (!id.ok()) return failed(id.status());
  const auto node = state_->GetNode(call.account, *id);
  if (!node.ok()) return failed(node.status());

  AgentRecord& agent = report->agent;
  agent.seen_at_ms = state_->Now();
  const auto before = state_->GetAgent(call.account, *id);
  if (!before.ok() && !before.status().Is(StatusCode::kNotFound)) return failed(before.status());
  if (before.ok()) KeepCheckpoints(*before, *node, &agent);
  if (!before.ok() || !SaysTheSame(*before, agent) ||
      std::abs(agent.seen_at_ms - before->seen_at_ms) >=
          std::min(kUnchangedStoredMs, options_.agent_silence_ms / kStoredBeforeSilence)) {
    const Status put = state_->PutAgent(call.account, *id, agent);
    if (!put.ok()) return failed(put);
  }
  if (!report->checkpoints.empty()) {
    const Status added = state_->AddCheckpoints(call.account, *id, report->checkpoints);
    if (!added.ok()) return failed(added);
  }
  auto orders = OrdersJson(*node);
  if (!orders.ok()) return FailureReply(orders.status(), ErrorCode::kGeneral);
  return ApiReply::Items(kAgentKind, {*std::move(orders)});
}

ApiReply ApiService::GetAgent(const Call& call) {
  const std::string& id = call.ids[0];
  const auto node = state_->GetNode(call.account, id);
  if (!node.ok()) return NodeFailed(node.status(), id, ErrorCode::kGeneral);
  const auto agent = state_->GetAgent(call.account, id);
  if (agent.ok()) {
    const bool healthy = state_->Now() - agent->seen_at_ms <= options_.agent_silence_ms;
    return ApiReply::Items(kAgentKind, {AgentJson(id, *agent, healthy)});
  }
  // None has reported yet.
  if (agent.status().Is(StatusCode::kNotFound)) return ApiReply::Items(kAgentKind, {});
  return FailureReply(agent.status(), ErrorCode::kGeneral);
}

ApiReply ApiService::GetCheckpoints(const Call& call) {
  FieldErrors errors;
  const Page page = PageParameters(call.request, &errors);
  if (!errors.empty()) return ApiReply::Invalid(ErrorCode::kQuery, errors);
  const std::string& id = call.ids[0];
  const auto node = state_->GetNode(call.account, id);
  if (!node.ok()) return NodeFailed(node.status(), id, ErrorCode::kGeneral);
  const auto checkpoints = state_->ListCheckpoints(call.account, id, page.after, page.limit);
  if (!checkpoints.ok()) return FailureReply(checkpoints.status(), ErrorCode::kGeneral);
  std::vector<Json> items;
  items.reserve(checkpoints->size());
  for (const CheckpointReport& report : *checkpoints) items.push_back(CheckpointJson(report));
  return ApiReply::Items(kCheckpointKind, std::move(items));
}

}  // namespace snapstore::spot
