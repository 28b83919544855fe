// An instance from inside: its first process, which makes its root and runs its user data.
//
// The server starts the program anew for each instance ("snapstore-localcloud instance-init PLAN"),
// so that this runs in a process with one thread. Steps: control groups, namespaces (mount, PID,
// UTS, IPC, network), a child that is PID 1 in them; that one waits for the server to connect its
// interfaces, brings them up, mounts the root volume, puts an overlay of the machine's root on it,
// moves there, says "ready", runs the user data and from then on only reaps. SIGTERM shuts down.
//
// Thread safety: for a process with one thread.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_INSTANCE_INIT_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_INSTANCE_INIT_H_

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::localcloud {

struct InstancePlan {
  struct Device {
    std::string name = {};  // "/dev/xvdf"
    uint64_t number = 0;    // dev_t
  };
  std::string id = {};
  std::string host_name = {};
  std::string root_device = {};               // "/dev/loop3"
  std::string scratch = {};                   // empty folder to mount on
  std::string hidden = {};                    // the cloud's folder: instances do not see it
  std::string user_data = {};                 // decoded; run when it begins with "#!"
  std::string network_batch = {};             // for "ip -batch -"
  std::vector<std::string> group_files = {};  // to write the pid to
  std::vector<Device> devices = {};
  // Shared file systems: id, and the folder of this machine that stands for it.
  std::map<std::string, std::string> file_systems = {};
  int shutdown_seconds = 5;  // between SIGTERM and SIGKILL

  nlohmann::json ToJson() const;
  static Result<InstancePlan> FromJson(const nlohmann::json& json);
};

// Descriptors the server hands over: `go_fd` is read, one byte, when interfaces are there; lines on
// `report_fd`: "pid N", then "ready" or "error TEXT". The server's death before "ready" ends it.
inline constexpr int kInstanceGoFd = 3;
inline constexpr int kInstanceReportFd = 4;

// Exit code of the process. Returns in the outer process as soon as the inner one has its pid.
int RunInstanceInit(const std::string& plan_path);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_INSTANCE_INIT_H_
