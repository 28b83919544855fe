// The kernel's interface to pages written since they were last protected (Linux 6.7 and later):
// userfaultfd with asynchronous write protection and PAGEMAP_SCAN, see
// Documentation/admin-guide/mm/pagemap.rst and userfaultfd.rst of Linux. Defined here because the C
// library's headers may be older.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_AGENT_PAGE_SCAN_H_
#define SNAPSTORE_AGENT_PAGE_SCAN_H_

#include <sys/types.h>

#include <vector>

#include "agent/address_set.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// Unsupported when this machine's kernel cannot tell which pages were written.
Status CheckPageTracking();

// Readies a userfaultfd for it. Unsupported.
Status EnableAsyncProtection(int userfaultfd);

// Makes a mapping one that can be scanned, with no page of it protected. The mapping must be of the
// memory that the descriptor was made for. Errors: errno.
int RegisterMapping(int userfaultfd, AddressRange mapping);

enum class ScanMode {
  kLook,     // only look
  kProtect,  // and from now on all pages count as not written
};

// Appends the written pages of one mapping to `written`, of those that are there. EPERM: the
// mapping is not registered; 0 or another errno. `pagemap_fd`: of /proc/PID/pagemap.
int ScanMapping(int pagemap_fd, AddressRange mapping, ScanMode mode, AddressSet* written);

// Appends the pages of one mapping that are there and are neither of a file nor zeros. Errors:
// errno.
int ScanPresent(int pagemap_fd, AddressRange mapping, AddressSet* present);

// Whether it may have asked for I/O (io_setup(2)) that goes on while it stands still.
Result<bool> HasAsynchronousIo(pid_t pid);

// Bytes of memory of a process, of all mappings, that were written and are neither of a file nor
// shared memory nor zeros. Mappings that are not registered count as written. Errors: errno.
int CountWritten(int pagemap_fd, uint64_t* bytes);

// Private anonymous mappings of a process, ascending.
Result<std::vector<AddressRange>> PrivateAnonymousMappings(pid_t pid);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_PAGE_SCAN_H_
