// Calls about stateful nodes.
#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "orchestrator/api/api_service.h"
#include "orchestrator/api/internal/replies.h"
#include "orchestrator/model/node_change.h"
#include "orchestrator/model/usage.h"
#include "orchestrator/state/operation_journal.h"

namespace snapstore::spot {
namespace {

constexpr const char* kNodeKind = "spotinst:aws:ec2:managedInstance";
constexpr const char* kStatusKind = "spotinst:aws:ec2:managedInstanceStatus";
constexpr const char* kNodeRoot = "managedInstance";
constexpr const char* kCantCreateNode = "CANT_CREATE_MANAGED_INSTANCE";
constexpr const char* kCantUpdateNode = "CANT_UPDATE_MANAGED_INSTANCE";
constexpr const char* kCantDeleteNode = "CANT_DELETE_MANAGED_INSTANCE";
constexpr const char* kCantDeleteNodeVolume = "CANT_DELETE_MANAGED_INSTANCE_VOLUME";
constexpr double kMsPerHour = 3'600'000;
constexpr int64_t kMsPerDay = 86'400'000;

// Flat for one kind of clients, with a wrapper for the other.
void AddListItem(const NodeTexts::Text& text, ItemTexts* items) {
  const std::string_view flat = *text;
  items->pieces.push_back({text, flat.substr(0, flat.size() - 1)});
  items->pieces.push_back({nullptr, ",\"config\":"});
  items->pieces.push_back({text, flat});
  items->pieces.push_back({nullptr, "}"});
}

std::string CodeOfRefused(NodeAction action) {
  std::string verb(NodeActionName(action));
  std::transform(verb.begin(), verb.end(), verb.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return action == NodeAction::kDeallocate ? kCantDeleteNode
                                           : fmt::format("CANT_{}_MANAGED_INSTANCE", verb);
}

// Without a time of the day.
bool IsDate(const ApiRequest& request, const char* name) {
  constexpr size_t kDateSize = 10;
  return request.Parameter(name).value_or("").size() == kDateSize;
}

// Which end of a day its date stands for.
enum class DayEnd { kFirst, kLast };

// Milliseconds since 1970.
std::optional<int64_t> TimeParameter(const ApiRequest& request, const char* name, DayEnd day_end,
                                     FieldErrors* errors) {
  const auto text = request.Parameter(name);
  if (!text) {
    errors->Add(name, "is required");
    return std::nullopt;
  }
  const bool is_date = IsDate(request, name);
  const auto time = ParseTime(is_date ? *text + "T00:00:00Z" : *text);
  if (!time.ok()) {
    errors->Add(name,
                fmt::format("must be a date such as 2026-03-01, not '{}'", text->substr(0, 40)));
    return std::nullopt;
  }
  const int64_t time_ms = *time / 1'000'000;
  return is_date && day_end == DayEnd::kLast ? time_ms + kMsPerDay : time_ms;
}

Json CostsJson(const std::vector<UsageRecord>& usage, int64_t from, int64_t to) {
  double hours = 0;
  double actual = 0;
  double potential = 0;
  const int64_t now = NowMs();
  for (const UsageRecord& stretch : usage) {
    const int64_t start = std::max(from, stretch.started_at_ms);
    const int64_t end = std::min(to, stretch.ended_at_ms.value_or(now));
    if (end <= start) continue;
    const double length = static_cast<double>(end - start) / kMsPerHour;
    hours += length;
    actual += CostBetween(stretch, from, to, now);
    potential += length * stretch.on_demand_hourly_price;
  }
  const double savings = potential > 0 ? 100 * (potential - actual) / potential : 0;
  return {{"running", {{"value", hours}, {"unit", "hours"}}},
          {"savings", {{"value", savings}, {"unit", "percentage"}}},
          {"costs", {{"actual", actual}, {"potential", potential}}}};
}

Json DevicesJson(const std::vector<Device>& devices) {
  Json list = Json::array();
  for (const Device& device : devices) {
    list.push_back({{"deviceName", device.device_name},
                    {"volumeId", device.volume_id},
                    {"snapshotId", OrNull(device.snapshot_id)}});
  }
  return list;
}

Json LifeCycleJson(const std::optional<LifeCycle>& life_cycle) {
  if (!life_cycle) return Json();
  return *life_cycle == LifeCycle::kSpot ? "spot" : "on_demand";
}

// Inputs and outputs of steps are the controller's own affair.
Json OperationJson(const Operation& operation) {
  Json steps = Json::array();
  for (const StepRecord& step : operation.steps) {
    steps.push_back({{"name", step.name},
                     {"state", StepStateName(step.state)},
                     {"attempts", step.attempts},
                     {"startedAt", TimeText(step.started_at_ms)},
                     {"finishedAt", TimeOrNull(step.finished_at_ms)},
                     {"error", OrNull(step.error)}});
  }
  return {{"id", operation.id},
          {"kind", OperationKindName(operation.kind)},
          {"state", OperationStateName(operation.state)},
          {"trigger", operation.trigger},
          {"error", OrNull(operation.error)},
          {"createdAt", TimeText(operation.created_at_ms)},
          {"updatedAt", TimeText(operation.updated_at_ms)},
          {"steps", std::move(steps)}};
}

}  // namespace

Json NodeJson(const NodeRecord& node) {
  Json json = {{"id", node.id}};
  json.update(NodeSpecJson(node.spec));
  json["createdAt"] = TimeText(node.created_at_ms);
  json["updatedAt"] = TimeText(node.updated_at_ms);
  return json;
}

Result<Json> ApiService::LastCheckpointJson(const NodeRecord& node) {
  if (node.checkpoint_sequence == 0) return Json();
  SNAP_ASSIGN_OR_RETURN(
      const auto newest,
      state_->ListCheckpoints(node.account_id, node.id, node.checkpoint_sequence - 1, 1));
  if (newest.empty()) return Json();
  const CheckpointReport& checkpoint = newest.front();
  return Json{{"time", TimeText(checkpoint.time_ms)},
              {"frozenMs", checkpoint.frozen_ms},
              {"bytesStored", checkpoint.bytes_stored},
              {"error", OrNull(checkpoint.error)}};
}

Result<Json> ApiService::NodeStatusJson(const NodeRecord& node) {
  const NodeRuntime& runtime = node.runtime;
  SNAP_ASSIGN_OR_RETURN(Json last_checkpoint, LastCheckpointJson(node));
  return Json{{"id", node.id},
              {"name", node.spec.name},
              {"status", NodeStateName(node.state)},
              {"instanceId", OrNull(runtime.instance_id)},
              {"instanceType", OrNull(runtime.instance_type)},
              {"imageId", OrNull(runtime.image_id)},
              {"privateIp", OrNull(runtime.private_ip)},
              {"publicIp", OrNull(runtime.public_ip)},
              {"ipv6Address", OrNull(runtime.ipv6_address)},
              {"createdAt", TimeText(node.created_at_ms)},
              {"launchedAt", TimeOrNull(runtime.launched_at_ms)},
              {"lifeCycle", LifeCycleJson(runtime.life_cycle)},
              {"availabilityZone", OrNull(runtime.availability_zone)},
              {"stateReason", OrNull(node.state_reason)},
              {"lastCheckpoint", std::move(last_checkpoint)},
              {"devices", DevicesJson(runtime.devices)}};
}

ApiReply ApiService::CreateNode(const Call& call) {
  FieldErrors errors;
  const Json* object = RootOf(call.body, kNodeRoot, &errors);
  const auto spec = object == nullptr ? std::nullopt : ParseNodeSpec(*object, &errors);
  if (!spec) return ApiReply::Invalid(kCantCreateNode, errors);
  const auto node = state_->CreateNode(call.account, *spec, &errors);
  if (node.ok()) return ApiReply::Items(kNodeKind, {NodeJson(*node)});
  if (!errors.empty()) return ApiReply::Invalid(kCantCreateNode, errors);
  return FailureReply(node.status(), kCantCreateNode);
}

ApiReply ApiService::NodeEntries(const Call& call, std::vector<StateEntry>* entries) {
  FieldErrors errors;
  const NodePage page = NodePageParameters(call.request, &errors);
  if (!errors.empty()) return ApiReply::Invalid(ErrorCode::kQuery, errors);
  auto found = state_->ListNodeEntries(call.account, page.after, page.limit);
  if (!found.ok()) return FailureReply(found.status(), ErrorCode::kGeneral);
  *entries = *std::move(found);
  return {};
}

ApiReply ApiService::ListNodes(const Call& call) {
  std::vector<StateEntry> entries;
  if (ApiReply refused = NodeEntries(call, &entries); refused.status != 200) return refused;
  ItemTexts items;
  items.pieces.reserve(5 * entries.size());
  for (const StateEntry& entry : entries) {
    const auto text = node_texts_.Of(entry);
    if (!text.ok()) return FailureReply(text.status(), ErrorCode::kGeneral);
    if (items.count++ > 0) items.pieces.push_back({nullptr, ","});
    AddListItem(*text, &items);
  }
  return ApiReply::Texts(kNodeKind, std::move(items));
}

ApiReply ApiService::OneNode(const Call& call, const char* kind, NodeTexts* texts) {
  const auto entry = state_->GetNodeEntry(call.account, call.ids[0]);
  if (!entry.ok()) return NodeFailed(entry.status(), call.ids[0], ErrorCode::kGeneral);
  const auto text = texts->Of(*entry);
  if (!text.ok()) return FailureReply(text.status(), ErrorCode::kGeneral);
  return ApiReply::Texts(kind, {{{*text, **text}}, 1});
}

ApiReply ApiService::GetNode(const Call& call) { return OneNode(call, kNodeKind, &node_texts_); }

ApiReply ApiService::UpdateNode(const Call& call) {
  FieldErrors errors;
  const Json* object = RootOf(call.body, kNodeRoot, &errors);
  const std::string apply = call.request.Parameter("autoApplyTags").value_or("false");
  if (apply != "true" && apply != "false") errors.Add("autoApplyTags", "must be true or false");
  if (!errors.empty()) return ApiReply::Invalid(kCantUpdateNode, errors);
  const auto change = [&](ControllerState::NodeChange* pending) -> Status {
    errors = {};
    NodeRecord& node = pending->node;
    if (!CheckAction(node.state, NodeAction::kDeallocate).ok()) {
      return Status::InvalidArgument("the stateful node is being deleted");
    }
    if (!ChangeNodeSpec(&node, *object, &errors)) return errors.ToStatus();
    pending->AddEvent("AWS_EC2_MANAGED_INSTANCE_UPDATED", Severity::kInfo,
                      "the configuration was changed");
    if (apply == "true") {
      node.tags_wanted = true;
      pending->StartTagging();
    }
    return Status::Ok();
  };
  const auto node = state_->ChangeNode(call.account, call.ids[0], change, &errors);
  if (node.ok()) return ApiReply::Items(kNodeKind, {NodeJson(*node)});
  if (!errors.empty()) return ApiReply::Invalid(kCantUpdateNode, errors);
  return NodeFailed(node.status(), call.ids[0], kCantUpdateNode);
}

ApiReply ApiService::Act(const std::string& account, const std::string& id, NodeAction action,
                         const Json& input) {
  const auto node = state_->Ask(account, id, action, "api", input);
  return node.ok() ? ApiReply::Done()
                   : NodeFailed(node.status(), id, CodeOfRefused(action).c_str());
}

ApiReply ApiService::DeleteNode(const Call& call) {
  FieldErrors errors;
  const auto deallocation = ParseDeallocation(call.body, &errors);
  if (!deallocation) return ApiReply::Invalid(kCantDeleteNode, errors);
  return Act(call.account, call.ids[0], NodeAction::kDeallocate, DeallocationJson(*deallocation));
}

ApiReply ApiService::PauseNode(const Call& call) {
  return Act(call.account, call.ids[0], NodeAction::kPause, Json());
}
ApiReply ApiService::ResumeNode(const Call& call) {
  return Act(call.account, call.ids[0], NodeAction::kResume, Json());
}
ApiReply ApiService::RecycleNode(const Call& call) {
  return Act(call.account, call.ids[0], NodeAction::kRecycle, Json());
}

ApiReply ApiService::ChangeStates(const Call& call) {
  constexpr const char* kCode = "CANT_UPDATE_MANAGED_INSTANCE_STATE";
  FieldErrors errors;
  const Json* list = RootOf(call.body, "managedInstanceStates", &errors);
  const auto changes = list == nullptr ? std::nullopt : ParseStateChanges(*list, &errors);
  if (!changes) return ApiReply::Invalid(kCode, errors);
  const auto action_of = [](const StateChange& change) {
    return change.state == WantedState::kPause ? NodeAction::kPause : NodeAction::kResume;
  };
  // Nothing is asked for unless all of it makes sense.
  ApiReply refused;
  refused.status = 400;
  for (const StateChange& change : *changes) {
    const auto node = state_->GetNode(call.account, change.id);
    Status fits = node.status();
    if (node.ok()) fits = CheckAction(node->state, action_of(change));
    if (fits.ok()) continue;
    ApiReply failed = NodeFailed(fits, change.id, CodeOfRefused(action_of(change)).c_str());
    if (failed.status != 400) return failed;
    refused.errors.push_back(failed.errors[0]);
    refused.errors.back().message = fmt::format("{}: {}", change.id, failed.errors[0].message);
  }
  if (!refused.errors.empty()) return refused;
  // What somebody else changed since is named; the others are under way.
  for (const StateChange& change : *changes) {
    ApiReply reply = Act(call.account, change.id, action_of(change), Json());
    if (reply.status == 200) continue;
    if (reply.status != 400) return reply;
    refused.errors.push_back(reply.errors[0]);
  }
  return refused.errors.empty() ? ApiReply::Done() : refused;
}

ApiReply ApiService::GetStatus(const Call& call) {
  return OneNode(call, kStatusKind, &status_texts_);
}

ApiReply ApiService::ListStatus(const Call& call) {
  std::vector<StateEntry> entries;
  if (ApiReply refused = NodeEntries(call, &entries); refused.status != 200) return refused;
  ItemTexts items;
  items.pieces.reserve(2 * entries.size());
  for (const StateEntry& entry : entries) {
    const auto text = status_texts_.Of(entry);
    if (!text.ok()) return FailureReply(text.status(), ErrorCode::kGeneral);
    if (items.count++ > 0) items.pieces.push_back({nullptr, ","});
    items.pieces.push_back({*text, **text});
  }
  return ApiReply::Texts(kStatusKind, std::move(items));
}

ApiReply ApiService::GetCosts(const Call& call) {
  FieldErrors errors;
  const auto from = TimeParameter(call.request, "fromDate", DayEnd::kFirst, &errors);
  const auto to = TimeParameter(call.request, "toDate", DayEnd::kLast, &errors);
  // The next day's first instant is not a part of the last day.
  const bool is_later =
      from && to && (*from > *to || (*from == *to && IsDate(call.request, "toDate")));
  if (is_later) errors.Add("fromDate", "must not be later than toDate");
  if (!errors.empty()) return ApiReply::Invalid(ErrorCode::kQuery, errors);
  const auto node = state_->GetNodeEntry(call.account, call.ids[0]);
  if (!node.ok()) return NodeFailed(node.status(), call.ids[0], ErrorCode::kGeneral);
  const auto usage = state_->ListUsage(call.account, call.ids[0]);
  if (!usage.ok()) return FailureReply(usage.status(), ErrorCode::kGeneral);
  return ApiReply::Items("spotinst:aws:ec2:managedInstance:costs", {CostsJson(*usage, *from, *to)});
}

ApiReply ApiService::GetEvents(const Call& call) {
  FieldErrors errors;
  const Page page = PageParameters(call.request, &errors);
  if (!errors.empty()) return ApiReply::Invalid(ErrorCode::kQuery, errors);
  const auto events = state_->ListEvents(call.account, call.ids[0], page.after, page.limit);
  if (!events.ok()) return FailureReply(events.status(), ErrorCode::kGeneral);
  // A node that is gone leaves its events; one that never was has none.
  if (events->empty()) {
    const auto node = state_->GetNode(call.account, call.ids[0]);
    if (!node.ok()) return NodeFailed(node.status(), call.ids[0], ErrorCode::kGeneral);
  }
  std::vector<Json> items;
  for (const Event& event : *events) {
    items.push_back({{"sequence", event.sequence},
                     {"createdAt", TimeText(event.time_ms)},
                     {"eventType", event.type},
                     {"severity", SeverityName(event.severity)},
                     {"message", event.message},
                     {"operationId", OrNull(event.operation_id)}});
  }
  return ApiReply::Items("spotinst:aws:ec2:managedInstance:event", std::move(items));
}

ApiReply ApiService::GetOperations(const Call& call) {
  OperationJournal journal(state_);
  auto operations = journal.Finished(call.account, call.ids[0]);
  if (!operations.ok()) return FailureReply(operations.status(), ErrorCode::kGeneral);
  const auto node = state_->GetNode(call.account, call.ids[0]);
  // A node that is gone leaves its operations; one that never was has none.
  if (!node.ok() && operations->empty()) {
    return NodeFailed(node.status(), call.ids[0], ErrorCode::kGeneral);
  }
  if (node.ok() && node->operation_id) {
    auto active = journal.Get(*node->operation_id);
    if (active.ok()) operations->push_back(*std::move(active));
  }
  std::vector<Json> items;
  items.reserve(operations->size());
  for (const Operation& operation : *operations) items.push_back(OperationJson(operation));
  return ApiReply::Items("spotinst:aws:ec2:managedInstance:operation", std::move(items));
}

ApiReply ApiService::DeleteVolume(const Call& call) {
  const Status asked = state_->AskVolumeDeletion(call.account, call.ids[0], call.ids[1]);
  return asked.ok() ? ApiReply::Done() : NodeFailed(asked, call.ids[0], kCantDeleteNodeVolume);
}

}  // namespace snapstore::spot
