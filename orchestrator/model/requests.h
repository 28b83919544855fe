// What the calls beside create and update carry in their bodies.
//
// Every Parse function takes what stands at the root it names, and answers with nothing and at
// least one error when that breaks a rule. What the fields mean: docs/controller.md.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_REQUESTS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_REQUESTS_H_

#include <optional>
#include <string>
#include <vector>

#include "orchestrator/model/field_error.h"
#include "orchestrator/model/json.h"
#include "orchestrator/model/setting.h"

namespace snapstore::spot {

struct DeallocationConfig {
  Flag<false> should_delete_images;
  Flag<false> should_delete_snapshots;
  Flag<false> should_delete_volumes;
  Flag<false> should_delete_network_interfaces;
  Flag<true> should_terminate_instance;
};
struct AmiBackup {
  Flag<false> should_delete_images;
};
// The whole body of a node's DELETE; both roots are optional.
struct Deallocation {
  DeallocationConfig config;
  AmiBackup ami_backup;
};

enum class WantedState { kPause, kResume };
struct StateChange {
  std::string id;  // smi-…
  WantedState state = WantedState::kPause;
};

struct ZoneSubnets {
  std::string name;
  std::vector<std::string> subnet_ids;
};
// An import of a running instance: as a managed instance, or as the only member of a group.
struct MigrationRequest {
  std::string original_instance_id;
  std::optional<std::string> region;
  std::optional<std::string> name;
  std::optional<std::string> product;
  std::vector<std::string> spot_instance_types;
  Flag<false> should_keep_private_ip;
  Flag<false> should_terminate_instance;
  Flag<false> should_keep_metadata_options;
  std::vector<ZoneSubnets> availability_zones;
};

// `body` may be null (none was sent) or hold deallocationConfig and amiBackup.
std::optional<Deallocation> ParseDeallocation(const Json& body, FieldErrors* errors);
// At "managedInstanceStates".
std::optional<std::vector<StateChange>> ParseStateChanges(const Json& list, FieldErrors* errors);
// At `path`: "migration" or "migrations[i]".
std::optional<MigrationRequest> ParseMigration(const Json& object, const std::string& path,
                                               FieldErrors* errors);
// At "statefulMigrationGroup", whose names and needs are different.
std::optional<MigrationRequest> ParseGroupMigration(const Json& object, FieldErrors* errors);
// At "migrationIds": smg-… each.
std::optional<std::vector<std::string>> ParseMigrationIds(const Json& list, FieldErrors* errors);
// At "userAction": {"type": "terminate"}.
bool ParseUserAction(const Json& object, FieldErrors* errors);

// As the deallocation is kept with its operation.
Json DeallocationJson(const Deallocation& deallocation);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_REQUESTS_H_
