// PAGEMAP_SCAN as in linux/fs.h of Linux 6.7 and later
// (Documentation/admin-guide/mm/pagemap.rst of Linux). Defined here because the C library's headers
// may be older.
#ifndef SNAPSTORE_AGENT_PAGE_SCAN_ABI_H_
#define SNAPSTORE_AGENT_PAGE_SCAN_ABI_H_

#include <linux/ioctl.h>
#include <stdint.h>

namespace snapstore::agent {

struct PageRegion {
  uint64_t start;
  uint64_t end;
  uint64_t categories;
};

struct PagemapScanArgument {
  uint64_t size;
  uint64_t flags;
  uint64_t start;
  uint64_t end;
  uint64_t walk_end;
  uint64_t vec;
  uint64_t vec_len;
  uint64_t max_pages;
  uint64_t category_inverted;
  uint64_t category_mask;
  uint64_t category_anyof_mask;
  uint64_t return_mask;
};

inline constexpr uint64_t kPageIsWatched = 1 << 0;  // the kernel calls it WPALLOWED
inline constexpr uint64_t kPageIsWritten = 1 << 1;
inline constexpr uint64_t kPageIsFile = 1 << 2;
inline constexpr uint64_t kPageIsPresent = 1 << 3;
inline constexpr uint64_t kPageIsSwapped = 1 << 4;
inline constexpr uint64_t kPageIsZero = 1 << 5;
inline constexpr uint64_t kPageIsSoftDirty = 1 << 7;
inline constexpr uint64_t kPageIsGuard = 1 << 8;

inline constexpr uint64_t kProtectMatching = 1 << 0;
inline constexpr uint64_t kCheckProtectable = 1 << 1;

inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScanArgument);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_PAGE_SCAN_ABI_H_
