// RemoteUserfaultfd: makes a userfaultfd of another process's memory, which need know nothing of
// it.
//
// The process is stopped with ptrace, one of its threads executes userfaultfd(2) on a system call
// instruction of the process's own vdso, the descriptor is taken over with pidfd_getfd(2) and
// closed over there the same way. Registers, signal mask, a system call that was interrupted, and
// signals that came meanwhile are put back; all its threads stand still for some 0.1 ms, and for
// what the caller does with it then. A helper process does this, and does it to the end when the
// caller is killed.
//
// Thread safety: free functions; several processes may be worked on at once.
#ifndef SNAPSTORE_AGENT_REMOTE_USERFAULTFD_H_
#define SNAPSTORE_AGENT_REMOTE_USERFAULTFD_H_

#include <sys/types.h>

#include <functional>

#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// Calls `while_held` with it while nothing of the process runs. It is left alone, as it was, when
// that cannot be done in good order: Conflict: somebody traces it, or it is at a point where it
// must not be stopped (to be tried again
//   later);
// Unsupported: another architecture, a seccomp filter, or the kernel does without;
// NotFound: it has ended; PermissionDenied, Io, Timeout.
Status MakeRemoteUserfaultfd(pid_t pid, const std::function<void(UniqueFd)>& while_held);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_REMOTE_USERFAULTFD_H_
