#include "orchestrator/model/persistency_config.h"

#include "orchestrator/model/internal/config_fields.h"

namespace snapstore::spot {
namespace {
constexpr const char* kConfigRoot = "config";
}

std::optional<PersistencyConfig> ParsePersistencyConfig(const Json& object, FieldErrors* errors) {
  return ReadObject<PersistencyConfig>(object, kConfigRoot, ReadMode::kRequest, errors);
}

std::optional<PersistencyConfig> UpdatePersistencyConfig(const PersistencyConfig& current,
                                                         const Json& change, FieldErrors* errors) {
  if (!change.is_object()) {
    errors->Add(kConfigRoot, "must be an object");
    return std::nullopt;
  }
  Json merged = Writer::ValueJson(current);
  merged.merge_patch(change);
  return ParsePersistencyConfig(merged, errors);
}

Json PersistencyConfigJson(const std::string& id, const PersistencyConfig& config) {
  Json document = {{"id", id}, {"name", config.name}, {"runCmd", config.run_cmd}};
  document["externalFiles"] = config.external_files.empty() ? Json() : Json(config.external_files);
  document["snapshotScheduler"] = config.snapshot_scheduler;
  document["snapshotDestination"] = config.snapshot_destination;
  return document;
}

}  // namespace snapstore::spot
