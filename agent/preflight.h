// Preflight: what of a running application CRIU cannot dump, before anybody relies on it.
//
// Looks at descriptors, mappings and sockets of each process. What it finds is certain to fail or
// to go wrong after a restore; what it does not find may still: only a trial dump proves that
// (`snapstore-agent check CMD` makes one).
#ifndef SNAPSTORE_AGENT_PREFLIGHT_H_
#define SNAPSTORE_AGENT_PREFLIGHT_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::agent {

struct Finding {
  enum class Severity { kBlocker, kWarning };
  Severity severity = Severity::kBlocker;
  pid_t pid = 0;
  std::string program;  // the process's name
  std::string object;   // "descriptor 5 (anon_inode:[io_uring])"
  std::string reason;
};

// Looks at `pids`, which are to be dumped together. NotFound: none of them exists.
Result<std::vector<Finding>> InspectProcesses(const std::vector<pid_t>& pids);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_PREFLIGHT_H_
