// The processes below one process, as /proc shows them.
#ifndef SNAPSTORE_AGENT_PROCESS_TREE_H_
#define SNAPSTORE_AGENT_PROCESS_TREE_H_

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::agent {

// All descendants of `ancestor`, without it. Of a cell's init that is the application; a CRIU at
// work in the cell is not among them, since its parent is outside.
Result<std::vector<pid_t>> DescendantsOf(pid_t ancestor);

// The same, without a look at all other processes, where the kernel can tell
// (CONFIG_PROC_CHILDREN). REQUIRES: none of the descendants runs.
Result<std::vector<pid_t>> FrozenDescendantsOf(pid_t ancestor);

// Memory a dump of these processes will contain, rather too much than too little: private and
// shared anonymous memory, resident or swapped. Processes that are gone count nothing.
uint64_t DumpBytesEstimate(const std::vector<pid_t>& pids);

// Private anonymous memory of one process that is resident or swapped. 0 when it is gone.
uint64_t PrivateBytes(pid_t pid);

// The process's id in the cell it lives in, which is its own one when it is in none; 0 when it is
// gone.
pid_t InnerPid(pid_t pid);

// Whether its first thread runs under seccomp. False when it is gone.
bool HasSeccompFilter(pid_t pid);

// Whether the thread is in a wait that no signal ends. False when it is gone.
bool IsUninterruptible(pid_t thread);

// Whether that signal was sent to the process and is blocked there. False when it is gone.
bool IsPending(pid_t pid, int signal_number);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_PROCESS_TREE_H_
