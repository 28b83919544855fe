// Preflight: what of a running application CRIU cannot dump or restore, and what does not survive
// although it can, before anybody relies on it.
//
// Looks at descriptors, mappings, sockets, namespaces and attributes of each process. A blocker is
// certain to fail a dump or its restore; a warning is certain to be different after a restore, or
// depends on something outside. What is not found may still fail: the kernel shows no Landlock
// domain and no key ring of a process. Only a trial dump proves that a dump works
// (`snapstore-agent check` of a command makes one). docs/agent.md has the whole list.
#ifndef SNAPSTORE_AGENT_PREFLIGHT_H_
#define SNAPSTORE_AGENT_PREFLIGHT_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "agent/unlisted_files.h"
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

// Looks at `pids`, which are to be dumped together, the first one's parent outside. NotFound: none
// of them exists.
Result<std::vector<Finding>> InspectProcesses(const std::vector<pid_t>& pids,
                                              const ListedFiles& listed = {});

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_PREFLIGHT_H_
