// KeptResources: what a node has in the cloud beside its instance, and what the life-cycle has to
// remember of it. Stored with the node's record.
//
// Times are milliseconds since 1970 (UTC).
//
// Thread safety: values.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_KEPT_RESOURCES_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_KEPT_RESOURCES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/model/node_spec.h"
#include "orchestrator/model/setting.h"

namespace snapstore::spot {

struct KeptSnapshot {
  std::string id;
  std::string volume_id;
  int64_t time_ms = 0;
  bool completed = false;
};

// What a volume was when it was last looked at, so that the one that takes its place is the same.
struct VolumeFacts {
  std::string volume_id;  // that this was seen of
  std::string type;
  int64_t iops = 0;
  int64_t throughput = 0;  // MiB/s
  bool encrypted = false;
  std::string kms_key_id;
  std::vector<Tag> tags;  // its owner's
};

// A block device of the node: its volume while there is one, its snapshots, the oldest first.
struct KeptDevice {
  std::string device_name = {};
  std::string volume_id = {};  // empty: it lives in its newest snapshot
  std::string zone = {};       // of the volume
  int64_t size_gib = 0;        // of the volume, as it was last seen; 0: nobody looked
  bool root = false;
  // The newest completed snapshot was made of this volume after its last instance ended: it holds
  // all of it, so that it can take the volume's place.
  bool copied = false;
  // The volume whose place a copy in another zone takes; it goes once that is attached.
  std::string old_volume_id = {};
  bool foreign = false;  // of compute.volumeAttachments: attached, never deleted
  std::optional<VolumeFacts> facts = std::nullopt;
  std::vector<KeptSnapshot> snapshots = {};
};

// A DNS record that points to the node's instance.
struct KeptName {
  std::string zone_id;
  std::string name;
  std::string type;  // "A", "CNAME"
  std::string value;
};

struct KeptResources {
  std::string image_id;  // registered from the root's final snapshot, or by an import
  std::string image_snapshot_id;
  std::string interface_id;
  std::string subnet_id;   // of the interface
  std::string private_ip;  // that the node is to have
  std::vector<KeptDevice> devices;
  std::vector<KeptName> names;
  std::string checkpointed_on;  // the instance type that the newest checkpoints were taken on

  // Health of the instance that runs.
  bool healthy_once = false;
  std::optional<int64_t> unhealthy_since_ms;
  bool stop_reported = false;

  bool fallback = false;          // on demand, because spot had nothing
  bool preferred = true;          // of a preferred type
  int64_t revert_after_ms = 0;    // no try to go back before
  int64_t reverts_in_vain = 0;    // tries to go back that ended in no better market, in a row
  int64_t snapshot_after_ms = 0;  // the next tick
  int64_t snapshot_asked_ms = 0;  // periodic ones, of which no answer is known yet
  int64_t tasks_since_ms = 0;     // scheduled tasks have been looked at up to here
  int64_t tasks_generation = 0;   // of the specification they were of
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_KEPT_RESOURCES_H_
