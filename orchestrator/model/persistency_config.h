// PersistencyConfig: one application whose memory is kept: the `config` object of the Spot API and
// of the agent. What the fields mean is documented in docs/controller.md.
//
// Thread safety: a value.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_PERSISTENCY_CONFIG_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_PERSISTENCY_CONFIG_H_

#include <optional>
#include <string>
#include <vector>

#include "orchestrator/model/field_error.h"
#include "orchestrator/model/json.h"

namespace snapstore::spot {

struct PersistencyConfig {
  std::string name;
  std::string run_cmd;
  std::vector<std::string> external_files;  // absolute, distinct
  std::string snapshot_scheduler;           // five-field cron, UTC
  std::string snapshot_destination;         // bucket name or fs-… id
};

// Fields are named "config.…". Nothing, and at least one error, when it breaks a rule.
std::optional<PersistencyConfig> ParsePersistencyConfig(const Json& object, FieldErrors* errors);

// As UpdateNodeSpec.
std::optional<PersistencyConfig> UpdatePersistencyConfig(const PersistencyConfig& current,
                                                         const Json& change, FieldErrors* errors);

// With all fields; no external files are null, as the service shows them.
Json PersistencyConfigJson(const std::string& id, const PersistencyConfig& config);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_PERSISTENCY_CONFIG_H_
