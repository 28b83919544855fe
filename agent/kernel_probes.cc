#include "agent/kernel_probes.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace snapstore::agent {
namespace {

// Of Linux 6.7, whose headers may be missing where this is built.
constexpr uint64_t kWriteProtectAsync = 1 << 15;  // UFFD_FEATURE_WP_ASYNC
constexpr uint64_t kWriteProtectUnpopulated = 1 << 13;

struct PageScan {  // struct pm_scan_arg
  uint64_t size = sizeof(PageScan);
  uint64_t flags = 0;
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t walk_end = 0;
  uint64_t vec = 0;
  uint64_t vec_len = 0;
  uint64_t max_pages = 0;
  uint64_t category_inverted = 0;
  uint64_t category_mask = 0;
  uint64_t category_anyof_mask = 0;
  uint64_t return_mask = 0;
};
constexpr unsigned long kPageScanIoctl = _IOWR('f', 16, PageScan);  // PAGEMAP_SCAN

Status AskUserfaultfd(uint64_t features) {
  UniqueFd fd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!fd.valid())
    return Status::Unsupported("userfaultfd: " + Status::FromErrno(errno, "open").message());
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = features;
  if (ioctl(fd.get(), UFFDIO_API, &api) != 0) {
    return Status::Unsupported("the kernel's userfaultfd lacks a feature that is needed");
  }
  return Status::Ok();
}

}  // namespace

Status ProbeDirtyTracking() {
  SNAP_RETURN_IF_ERROR(AskUserfaultfd(kWriteProtectAsync | kWriteProtectUnpopulated));
  const UniqueFd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  PageScan scan;
  if (!pagemap.valid() || ioctl(pagemap.get(), kPageScanIoctl, &scan) < 0) {
    return Status::Unsupported("the kernel has no PAGEMAP_SCAN (Linux 6.7)");
  }
  return Status::Ok();
}

Status ProbeLazyRestore() {
  return AskUserfaultfd(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
                        UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE);
}

}  // namespace snapstore::agent
