// Control groups of a cloud: one for each instance, in version 2 or in the controllers of version 1
// that the machine has mounted. Source: cgroups(7).
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_CONTROL_GROUPS_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_CONTROL_GROUPS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::localcloud {

class ControlGroups {
 public:
  explicit ControlGroups(const std::string& cloud_id);

  // Makes an instance's groups, with this limit of memory. The files to write a pid to. Empty,
  // after a warning, on machines that let nobody make groups.
  std::vector<std::string> Make(const std::string& instance_id, uint64_t memory_bytes) const;
  // Kills all that is in them, and removes them. OK when there are none.
  Status Remove(const std::string& instance_id) const;
  // All of the cloud.
  Status RemoveAll() const;

 private:
  std::vector<std::string> roots_;  // "/sys/fs/cgroup/memory/snapstore-localcloud-<id>"
};

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_CONTROL_GROUPS_H_
