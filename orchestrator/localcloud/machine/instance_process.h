// InstanceProcess: an instance from outside: its first process, started, found again, ended.
//
// Instances outlive the server; a new server finds them by pid and start time.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_INSTANCE_PROCESS_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_INSTANCE_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <string>

#include "base/unique_fd.h"
#include "orchestrator/localcloud/machine/instance_init.h"
#include "snapstore/status.h"

namespace snapstore::localcloud {

struct InstanceProcess {
  pid_t pid = -1;
  uint64_t start_ticks = 0;  // since boot; tells a pid that was given out again
};

// `program` is this program's file; `plan_path` gets the plan, `console_path` what the instance's
// first process says. `connect` is called with the pid before the instance brings up its network.
// On failure nothing of it runs any more.
Result<InstanceProcess> StartInstance(const std::string& program, const InstancePlan& plan,
                                      const std::string& plan_path, const std::string& console_path,
                                      const std::function<Status(pid_t)>& connect);

bool IsAlive(const InstanceProcess& process);
// SIGTERM, and SIGKILL after `seconds`; with 0 SIGKILL at once. Returns when it is gone.
Status EndInstance(const InstanceProcess& process, double seconds);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_INSTANCE_PROCESS_H_
