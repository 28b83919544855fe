// The fields of requests.h. Private to the folder.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_REQUEST_FIELDS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_REQUEST_FIELDS_H_

#include <array>

#include "orchestrator/model/internal/checks.h"
#include "orchestrator/model/internal/compute_fields.h"
#include "orchestrator/model/internal/fields.h"
#include "orchestrator/model/requests.h"

namespace snapstore::spot {

template <>
struct EnumNames<WantedState> {
  static constexpr std::array<std::string_view, 2> kNames{"PAUSE", "RESUME"};
};

template <typename V, Is<DeallocationConfig> T>
void Fields(V& v, T& o) {
  v.Field("shouldDeleteImages", o.should_delete_images);
  v.Field("shouldDeleteSnapshots", o.should_delete_snapshots);
  v.Field("shouldDeleteVolumes", o.should_delete_volumes);
  v.Field("shouldDeleteNetworkInterfaces", o.should_delete_network_interfaces);
  v.Field("shouldTerminateInstance", o.should_terminate_instance);
}
template <typename V, Is<AmiBackup> T>
void Fields(V& v, T& o) {
  v.Field("shouldDeleteImages", o.should_delete_images);
}
template <typename V, Is<Deallocation> T>
void Fields(V& v, T& o) {
  v.Field("deallocationConfig", o.config);
  v.Field("amiBackup", o.ami_backup);
  v.Ignore("managedInstanceId");
}

template <typename V, Is<StateChange> T>
void Fields(V& v, T& o) {
  v.Required("id", o.id, IdOf{IdPrefix::kNode});
  v.Required("state", o.state);
}

template <typename V, Is<ZoneSubnets> T>
void Fields(V& v, T& o) {
  v.Required("name", o.name, CheckZone);
  v.Field("subnetIds", o.subnet_ids, Each(IdOf{"subnet-"}), kUnique);
}

template <typename V, typename T>
void MigrationSettings(V& v, T& o) {
  v.Field("product", o.product, ProductWord());
  if constexpr (!std::is_const_v<T>) ProductWord().Spell(&o.product);
  v.Field("spotInstanceTypes", o.spot_instance_types, Each(CheckInstanceType), kUnique);
  v.Field("shouldTerminateInstance", o.should_terminate_instance);
  v.Field("shouldKeepMetadataOptions", o.should_keep_metadata_options);
  v.Field("availabilityZones", o.availability_zones);
  v.Expect(!o.should_keep_private_ip.value() || o.availability_zones.empty(), "availabilityZones",
           "must not be given when shouldKeepPrivateIp is true");
}
template <typename V, Is<MigrationRequest> T>
void Fields(V& v, T& o) {
  v.Required("originalInstanceId", o.original_instance_id, IdOf{"i-"});
  v.Field("region", o.region, CheckRegion);
  v.Expect(o.region.has_value(), "region", "is required");
  v.Field("managedInstanceName", o.name, TextOf{1, 255});
  v.Field("shouldKeepPrivateIp", o.should_keep_private_ip);
  MigrationSettings(v, o);
  v.Expect(!o.should_keep_private_ip.value() || o.should_terminate_instance.value(),
           "shouldTerminateInstance", "must be true when shouldKeepPrivateIp is true");
}

// A group's names: `name`, not managedInstanceName; the source may be terminated by its owner
// (userAction), so that keeping its address does not need shouldTerminateInstance.
struct GroupMigration {
  MigrationRequest request;
};
template <typename V, Is<GroupMigration> T>
void Fields(V& v, T& o) {
  v.Required("originalInstanceId", o.request.original_instance_id, IdOf{"i-"});
  v.Required("name", o.request.name, TextOf{1, 255});
  v.Required("shouldKeepPrivateIp", o.request.should_keep_private_ip);
  v.Field("region", o.request.region, CheckRegion);
  MigrationSettings(v, o.request);
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_REQUEST_FIELDS_H_
