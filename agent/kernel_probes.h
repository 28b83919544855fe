// What this machine's kernel can do for checkpoints beyond what CRIU cannot do without.
//
// Thread safety: free functions; none share state.
#ifndef SNAPSTORE_AGENT_KERNEL_PROBES_H_
#define SNAPSTORE_AGENT_KERNEL_PROBES_H_

#include "snapstore/status.h"

namespace snapstore::agent {

// Whether pages that were written can be told from outside a process: userfaultfd(2) with
// asynchronous write protection and the PAGEMAP_SCAN ioctl of /proc/PID/pagemap (Linux 6.7).
// Unsupported, saying what is missing.
Status ProbeDirtyTracking();

// Whether memory can be brought in when it is touched: userfaultfd(2) for missing pages, with
// notices of fork, mremap and munmap. Unsupported, saying what is missing; needs root.
Status ProbeLazyRestore();

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_KERNEL_PROBES_H_
