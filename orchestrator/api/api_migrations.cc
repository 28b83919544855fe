// Imports of running instances, and their older twins of Elastigroup.
#include <fmt/format.h>

#include "base/status_macros.h"
#include "orchestrator/api/api_service.h"
#include "orchestrator/api/internal/replies.h"
#include "orchestrator/model/ids.h"

namespace snapstore::spot {
namespace {

constexpr const char* kMigrationKind = "spotinst:aws:ec2:managedInstance:migration";
constexpr const char* kGroupKind = "spotinst:aws:ec2:statefulMigrationGroup";
constexpr const char* kInstanceKind = "spotinst:aws:ec2:statefulInstance";
constexpr const char* kCantMigrate = "CANT_CREATE_MANAGED_INSTANCE_MIGRATION";
constexpr const char* kCantMigrateGroup = "CANT_CREATE_STATEFUL_MIGRATION_GROUP";
constexpr const char* kCantChangeGroup = "CANT_UPDATE_STATEFUL_MIGRATION_GROUP";

Json DataJson(const MigrationRequest& request) {
  return {{"originalInstanceId", request.original_instance_id},
          {"shouldKeepPrivateIp", request.should_keep_private_ip.value()},
          {"shouldKeepMetadataOptions", request.should_keep_metadata_options.value()},
          {"shouldTerminateInstance", request.should_terminate_instance.value()}};
}

Json MigrationJson(const MigrationRecord& record, bool with_name) {
  Json json = {{"migrationId", record.id},
               {"managedInstanceId", record.node_id},
               {"state", record.state},
               {"data", DataJson(record.request)}};
  if (with_name) json["data"]["managedInstanceName"] = OrNull(record.request.name);
  return json;
}

Json MigrationStatusJson(const MigrationRecord& record) {
  return {{"migrationId", record.id},
          {"managedInstanceId", record.node_id},
          {"instanceId", OrNull(record.instance_id)},
          {"state", record.state},
          {"stateDescription", OrNull(record.state_description)}};
}

Json GroupStatusJson(const MigrationRecord& record) {
  return {{"statefulMigrationId", record.id},
          {"groupId", OrNull(record.group_id)},
          {"instanceId", OrNull(record.instance_id)},
          {"state", record.state},
          {"stateDescription", OrNull(record.state_description)}};
}

Json InstanceJson(const NodeRecord& node) {
  Json devices = Json::array();
  for (const Device& device : node.runtime.devices) {
    devices.push_back({{"deviceName", device.device_name},
                       {"volumeId", device.volume_id},
                       {"snapshotId", OrNull(device.snapshot_id)}});
  }
  return {{"id", OrNull(node.stateful_instance_id)},
          {"instanceId", OrNull(node.runtime.instance_id)},
          {"privateIp", OrNull(node.runtime.private_ip)},
          {"imageId", OrNull(node.runtime.image_id)},
          {"state", NodeStateName(node.state)},
          {"devices", std::move(devices)},
          {"launchedAt", TimeOrNull(node.runtime.launched_at_ms)},
          {"createdAt", TimeText(node.created_at_ms)}};
}

ApiReply MigrationFailed(const Status& status, const std::string& id, const char* code,
                         bool of_group) {
  if (!status.Is(StatusCode::kNotFound)) return FailureReply(status, code);
  return ApiReply::Error(400, of_group ? ErrorCode::kNoGroupMigration : ErrorCode::kNoMigration,
                         fmt::format("No migration {} in this account", id),
                         of_group ? "statefulMigrationId" : "migrationId");
}

ApiReply GroupFailed(const Status& status, const std::string& group) {
  if (status.Is(StatusCode::kInvalidArgument)) {
    return ApiReply::Error(400, ErrorCode::kNoStatefulInstance, status.message(),
                           "statefulInstanceId");
  }
  if (!status.Is(StatusCode::kNotFound)) return FailureReply(status, ErrorCode::kGeneral);
  return ApiReply::Error(400, ErrorCode::kNoGroup,
                         fmt::format("No group {} in this account", group), "groupId");
}

}  // namespace

void ApiService::CheckRegion(const std::optional<MigrationRequest>& request,
                             const std::string& path, FieldErrors* errors) const {
  if (!request || !request->region || options_.region.empty()) return;
  if (*request->region == options_.region) return;
  errors->Add(path + ".region", fmt::format("must be {}: this controller works there, not in {}",
                                            options_.region, *request->region));
}

ApiReply ApiService::CreateMigration(const Call& call) {
  FieldErrors errors;
  const Json* object = RootOf(call.body, "migration", &errors);
  const auto request =
      object == nullptr ? std::nullopt : ParseMigration(*object, "migration", &errors);
  CheckRegion(request, "migration", &errors);
  if (!request || !errors.empty()) return ApiReply::Invalid(kCantMigrate, errors);
  const auto record = state_->CreateMigration(call.account, *request, /*as_group=*/false);
  if (!record.ok()) return FailureReply(record.status(), kCantMigrate);
  return ApiReply::Items(kMigrationKind, {MigrationJson(*record, false)});
}

ApiReply ApiService::CreateMigrations(const Call& call) {
  constexpr size_t kBulkMax = 200;
  FieldErrors errors;
  const Json* list = RootOf(call.body, "migrations", &errors);
  if (list != nullptr && (!list->is_array() || list->empty() || list->size() > kBulkMax)) {
    errors.Add("migrations", fmt::format("must be a list of 1 to {} migrations", kBulkMax));
  }
  if (!errors.empty()) return ApiReply::Invalid(kCantMigrate, errors);
  ApiReply reply = ApiReply::Items(kMigrationKind, {});
  reply.failures.emplace();
  for (size_t i = 0; i < list->size(); ++i) {
    FieldErrors wrong;
    const std::string path = fmt::format("migrations[{}]", i);
    const auto request = ParseMigration((*list)[i], path, &wrong);
    CheckRegion(request, path, &wrong);
    Status status = wrong.ToStatus();
    const bool right = request && wrong.empty();
    if (right) {
      const auto record = state_->CreateMigration(call.account, *request, /*as_group=*/false);
      status = record.status();
      if (record.ok()) reply.items->push_back(MigrationJson(*record, true));
    }
    if (status.ok()) continue;
    const Json& entry = (*list)[i];
    const bool named = entry.is_object() && entry.contains("originalInstanceId") &&
                       entry["originalInstanceId"].is_string();
    const std::string message =
        right ? FailureReply(status, kCantMigrate).errors[0].message : status.message();
    reply.failures->push_back(
        {{"resourceId", named ? entry["originalInstanceId"] : Json()}, {"errorMessage", message}});
  }
  return reply;
}

ApiReply ApiService::GetMigration(const Call& call) {
  const auto record = state_->GetMigration(call.account, call.ids[0]);
  if (!record.ok()) {
    return MigrationFailed(record.status(), call.ids[0], ErrorCode::kGeneral, false);
  }
  return ApiReply::Items(kMigrationKind, {MigrationStatusJson(*record)});
}

ApiReply ApiService::SearchMigrations(const Call& call) {
  FieldErrors errors;
  const Json* list = RootOf(call.body, "migrationIds", &errors);
  const auto ids = list == nullptr ? std::nullopt : ParseMigrationIds(*list, &errors);
  if (!ids) return ApiReply::Invalid("CANT_SEARCH_MANAGED_INSTANCE_MIGRATION", errors);
  std::vector<Json> items;
  for (const std::string& id : *ids) {
    const auto record = state_->GetMigration(call.account, id);
    if (!record.ok()) return MigrationFailed(record.status(), id, ErrorCode::kGeneral, false);
    items.push_back(MigrationStatusJson(*record));
  }
  return ApiReply::Items(kMigrationKind, std::move(items));
}

ApiReply ApiService::CreateGroupMigration(const Call& call) {
  FieldErrors errors;
  const Json* object = RootOf(call.body, "statefulMigrationGroup", &errors);
  const auto request = object == nullptr ? std::nullopt : ParseGroupMigration(*object, &errors);
  CheckRegion(request, "statefulMigrationGroup", &errors);
  if (!request || !errors.empty()) return ApiReply::Invalid(kCantMigrateGroup, errors);
  const auto record = state_->CreateMigration(call.account, *request, /*as_group=*/true);
  if (!record.ok()) return FailureReply(record.status(), kCantMigrateGroup);
  Json data = DataJson(record->request);
  data["name"] = OrNull(record->request.name);
  return ApiReply::Items(kGroupKind, {{{"id", record->id},
                                       {"groupId", OrNull(record->group_id)},
                                       {"state", record->state},
                                       {"data", std::move(data)}}});
}

ApiReply ApiService::GetGroupMigration(const Call& call) {
  auto record = state_->GetMigration(call.account, call.ids[0]);
  if (record.ok() && !record->group_id) record = Status::NotFound(call.ids[0]);
  if (!record.ok()) {
    return MigrationFailed(record.status(), call.ids[0], ErrorCode::kGeneral, true);
  }
  return ApiReply::Items(kGroupKind, {GroupStatusJson(*record)});
}

ApiReply ApiService::CancelGroupMigration(const Call& call) {
  const auto record =
      state_->ChangeMigration(call.account, call.ids[0], [](MigrationRecord* change) -> Status {
        if (!change->group_id) return Status::NotFound(change->id);
        return CancelMigration(change);
      });
  if (record.ok()) return ApiReply::Done();
  return MigrationFailed(record.status(), call.ids[0], kCantChangeGroup, true);
}

ApiReply ApiService::GroupUserAction(const Call& call) {
  FieldErrors errors;
  const Json* object = RootOf(call.body, "userAction", &errors);
  if (object == nullptr || !ParseUserAction(*object, &errors)) {
    return ApiReply::Invalid(kCantChangeGroup, errors);
  }
  const auto record =
      state_->ChangeMigration(call.account, call.ids[0], [](MigrationRecord* change) -> Status {
        if (!change->group_id) return Status::NotFound(change->id);
        if (IsMigrationOver(change->state)) {
          return Status::InvalidArgument(
              fmt::format("the migration is over already ({})", change->state));
        }
        change->termination_confirmed = true;
        return Status::Ok();
      });
  if (record.ok()) return ApiReply::Done();
  return MigrationFailed(record.status(), call.ids[0], kCantChangeGroup, true);
}

Result<std::string> ApiService::NodeOfGroup(const Call& call, bool check_instance) {
  SNAP_ASSIGN_OR_RETURN(const MigrationRecord record,
                        state_->MigrationOfGroup(call.account, call.ids[0]));
  if (check_instance && record.stateful_instance_id != call.ids[1]) {
    return Status::InvalidArgument(
        fmt::format("No stateful instance {} in group {}", call.ids[1], call.ids[0]));
  }
  return record.node_id;
}

ApiReply ApiService::ListStatefulInstances(const Call& call) {
  const auto id = NodeOfGroup(call, /*check_instance=*/false);
  if (!id.ok()) return GroupFailed(id.status(), call.ids[0]);
  const auto node = state_->GetNode(call.account, *id);
  if (node.ok()) return ApiReply::Items(kInstanceKind, {InstanceJson(*node)});
  // The import has not got as far as to launch it.
  if (node.status().Is(StatusCode::kNotFound)) return ApiReply::Items(kInstanceKind, {});
  return FailureReply(node.status(), ErrorCode::kGeneral);
}

ApiReply ApiService::ActOnGroup(const Call& call, NodeAction action) {
  const auto id = NodeOfGroup(call, /*check_instance=*/true);
  if (!id.ok()) return GroupFailed(id.status(), call.ids[0]);
  const Json input = action == NodeAction::kDeallocate ? DeallocationJson(Deallocation{}) : Json();
  return Act(call.account, *id, action, input);
}

ApiReply ApiService::PauseStatefulInstance(const Call& call) {
  return ActOnGroup(call, NodeAction::kPause);
}
ApiReply ApiService::ResumeStatefulInstance(const Call& call) {
  return ActOnGroup(call, NodeAction::kResume);
}
ApiReply ApiService::RecycleStatefulInstance(const Call& call) {
  return ActOnGroup(call, NodeAction::kRecycle);
}
ApiReply ApiService::DeallocateStatefulInstance(const Call& call) {
  return ActOnGroup(call, NodeAction::kDeallocate);
}

ApiReply ApiService::DeleteStatefulVolume(const Call& call) {
  const auto id = NodeOfGroup(call, /*check_instance=*/true);
  if (!id.ok()) return GroupFailed(id.status(), call.ids[0]);
  Call inner{call.request, call.account, {*id, call.ids[2]}, {}};
  return DeleteVolume(inner);
}

}  // namespace snapstore::spot
