// Calls about application persistency configurations.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "orchestrator/api/api_service.h"
#include "orchestrator/api/internal/replies.h"

namespace snapstore::spot {
namespace {

constexpr const char* kConfigKind = "spotinst:aws:ec2:apiApplicationPersistencyConfig";
constexpr const char* kMembers[] = {"name", "runCmd", "snapshotDestination", "snapshotScheduler",
                                    "externalFiles"};
constexpr const char* kCantCreateConfig = "CANT_CREATE_APPLICATION_PERSISTENCY_CONFIG";
constexpr const char* kCantUpdateConfig = "CANT_UPDATE_APPLICATION_PERSISTENCY_CONFIG";
constexpr const char* kCantDeleteConfig = "CANT_DELETE_APPLICATION_PERSISTENCY_CONFIG";

ApiReply ConfigReply(const ConfigRecord& record) {
  return ApiReply::Items(kConfigKind, {PersistencyConfigJson(record.id, record.config)});
}

ApiReply ConfigFailed(const Status& status, const std::string& id, const char* code) {
  if (!status.Is(StatusCode::kNotFound)) return FailureReply(status, code);
  return ApiReply::Error(
      400, ErrorCode::kNoConfig,
      fmt::format("No application persistency configuration {} in this account", id),
      "applicationPersistencyConfigId");
}

}  // namespace

ApiReply ApiService::CreateConfig(const Call& call) {
  FieldErrors errors;
  // One sample of the documentation has no root; such a body is told by what it has instead.
  const auto has = [&](const char* member) { return call.body.contains(member); };
  const bool bare = call.body.is_object() && !has("config") &&
                    std::any_of(std::begin(kMembers), std::end(kMembers), has);
  const Json* object = bare ? &call.body : RootOf(call.body, "config", &errors);
  const auto config = object == nullptr ? std::nullopt : ParsePersistencyConfig(*object, &errors);
  if (!config) return ApiReply::Invalid(kCantCreateConfig, errors);
  const auto record = state_->CreateConfig(call.account, *config);
  return record.ok() ? ConfigReply(*record) : FailureReply(record.status(), kCantCreateConfig);
}

ApiReply ApiService::ListConfigs(const Call& call) {
  const auto records = state_->ListConfigs(call.account);
  if (!records.ok()) return FailureReply(records.status(), ErrorCode::kGeneral);
  std::vector<Json> items;
  for (const ConfigRecord& record : *records) {
    items.push_back(PersistencyConfigJson(record.id, record.config));
  }
  return ApiReply::Items(kConfigKind, std::move(items));
}

ApiReply ApiService::GetConfig(const Call& call) {
  const auto record = state_->GetConfig(call.account, call.ids[0]);
  return record.ok() ? ConfigReply(*record)
                     : ConfigFailed(record.status(), call.ids[0], ErrorCode::kGeneral);
}

ApiReply ApiService::UpdateConfig(const Call& call) {
  FieldErrors errors;
  const Json* change = RootOf(call.body, "config", &errors);
  if (change == nullptr) return ApiReply::Invalid(kCantUpdateConfig, errors);
  const auto record =
      state_->ChangeConfig(call.account, call.ids[0], [&](ConfigRecord* changed) -> Status {
        errors = {};
        auto config = UpdatePersistencyConfig(changed->config, *change, &errors);
        if (!config) return errors.ToStatus();
        changed->config = *std::move(config);
        return Status::Ok();
      });
  if (record.ok()) return ConfigReply(*record);
  if (!errors.empty()) return ApiReply::Invalid(kCantUpdateConfig, errors);
  return ConfigFailed(record.status(), call.ids[0], kCantUpdateConfig);
}

ApiReply ApiService::DeleteConfig(const Call& call) {
  const Status deleted = state_->DeleteConfig(call.account, call.ids[0]);
  return deleted.ok() ? ApiReply::Done() : ConfigFailed(deleted, call.ids[0], kCantDeleteConfig);
}

}  // namespace snapstore::spot
