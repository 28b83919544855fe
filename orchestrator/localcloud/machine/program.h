// Runs a program of the system and waits for it: ip, mkfs.ext4, ….
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_PROGRAM_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_PROGRAM_H_

#include <string>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::localcloud {

// What it prints to standard output. `input` goes to its standard input. Io when it ends with
// another code than 0: the message has its first line of standard error.
Result<std::string> RunProgram(const std::vector<std::string>& argv, const std::string& input = {});

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_MACHINE_PROGRAM_H_
