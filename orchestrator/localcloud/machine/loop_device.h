// Loop devices: a file as a block device. Source: loop(4).
//
// A device belongs to a cloud when its file is in the cloud's folder; nothing else is ever touched.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_LOOP_DEVICE_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_LOOP_DEVICE_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::localcloud {

struct LoopDevice {
  std::string path = {};  // "/dev/loop3"
  std::string file = {};
  dev_t number = 0;
};

// The device of this file, a new one if there is none.
Result<LoopDevice> AttachLoop(const std::string& file);
// All devices whose files are `path` or lie below it.
Result<std::vector<LoopDevice>> LoopsOf(const std::string& path);
// Conflict: it is mounted or held open. With `force` it is let go as soon as it is not any more.
Status DetachLoop(const LoopDevice& device, bool force);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_LOOP_DEVICE_H_
