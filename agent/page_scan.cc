#include "agent/page_scan.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>

#include "agent/page_scan_abi.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// linux/userfaultfd.h of 6.7
constexpr uint64_t kFeatureWpUnpopulated = 1 << 13;
constexpr uint64_t kFeatureWpAsync = 1 << 15;

constexpr size_t kMapsTextBytesMax = 64 << 20;
// Of 64-bit processes on x86 with four levels of page tables and on the others.
constexpr uint64_t kAddressEnd = (uint64_t{1} << 47) - 4096;

constexpr size_t kRegions = 1024;

// Calls `found` for each run of pages. The kernel may come to the same pages twice, and back to
// lower ones that are found then (Linux 6.18, where memory has many holes).
template <typename Found>
int ScanPages(int pagemap_fd, PagemapScanArgument argument, const Found& found) {
  std::array<PageRegion, kRegions> regions;
  argument.size = sizeof(argument);
  argument.vec = reinterpret_cast<uint64_t>(regions.data());
  argument.vec_len = regions.size();
  while (argument.start < argument.end) {
    const int count = ioctl(pagemap_fd, kPagemapScan, &argument);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    for (int i = 0; i < count; ++i) found(regions[static_cast<size_t>(i)]);
    if (argument.walk_end <= argument.start) return EIO;
    argument.start = argument.walk_end;
  }
  return 0;
}

int AppendPages(int pagemap_fd, const PagemapScanArgument& argument, AddressSet* pages) {
  std::vector<AddressRange> found;
  const int error = ScanPages(pagemap_fd, argument, [&](const PageRegion& region) {
    found.push_back({region.start, region.end});
  });
  std::sort(found.begin(), found.end(),
            [](const AddressRange& a, const AddressRange& b) { return a.begin < b.begin; });
  for (const AddressRange& range : found) pages->Append(range.begin, range.end);
  return error;
}

Result<Bytes> ReadMaps(pid_t pid) {
  return ReadWholeFile(fmt::format("/proc/{}/maps", pid), kMapsTextBytesMax);
}

// Whether a line of /proc/PID/maps is of private anonymous memory. What the kernel has mapped
// without a file ("[vdso]") is not.
bool IsPrivateAnonymous(std::string_view line) {
  std::array<std::string_view, 5> fields;  // addresses, permissions, offset, device, inode
  for (std::string_view& field : fields) {
    const size_t space = line.find(' ');
    field = line.substr(0, space);
    line = space == std::string_view::npos ? std::string_view() : line.substr(space + 1);
  }
  if (fields[1].size() != 4 || fields[1][3] != 'p' || fields[4] != "0") return false;
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  return line.empty() || line == "[heap]" || line == "[stack]" || line.starts_with("[anon:");
}

}  // namespace

Status CheckPageTracking() {
  const UniqueFd fd(
      static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
  if (!fd.valid()) return Status::FromErrno(errno, "page tracking: userfaultfd");
  SNAP_RETURN_IF_ERROR(EnableAsyncProtection(fd.get()));
  const UniqueFd pagemap(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  AddressSet written;
  const int error = ScanMapping(pagemap.get(), {4096, 8192}, ScanMode::kLook, &written);
  return error == 0 ? Status::Ok()
                    : Status::Unsupported("page tracking: this kernel has no PAGEMAP_SCAN");
}

Status EnableAsyncProtection(int userfaultfd) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatureWpUnpopulated | kFeatureWpAsync;
  if (ioctl(userfaultfd, UFFDIO_API, &api) != 0) {
    return Status::Unsupported("page tracking: this kernel has no asynchronous write protection");
  }
  return Status::Ok();
}

int RegisterMapping(int userfaultfd, AddressRange mapping) {
  uffdio_register registered{};
  registered.range = {mapping.begin, mapping.end - mapping.begin};
  registered.mode = UFFDIO_REGISTER_MODE_WP;
  if (ioctl(userfaultfd, UFFDIO_REGISTER, &registered) != 0) return errno;
  // Pages may carry marks of an earlier registration that the mapping lost (mremap). They would
  // pass for protected ones though nothing watches over them.
  uffdio_writeprotect protect{};
  protect.range = registered.range;
  while (ioctl(userfaultfd, UFFDIO_WRITEPROTECT, &protect) != 0) {
    if (errno != EAGAIN && errno != EINTR) return errno;
  }
  return 0;
}

int ScanMapping(int pagemap_fd, AddressRange mapping, ScanMode mode, AddressSet* written) {
  PagemapScanArgument argument{};
  argument.start = mapping.begin;
  argument.end = mapping.end;
  argument.flags = mode == ScanMode::kProtect ? kProtectMatching | kCheckProtectable : 0;
  argument.category_mask = kPageIsWritten;
  // Pages that are not there need no protection, since they come without; a mark of it would make
  // CRIU take them for swapped pages, and read them.
  argument.category_anyof_mask = kPageIsPresent | kPageIsSwapped;
  argument.return_mask = kPageIsWritten;
  return AppendPages(pagemap_fd, argument, written);
}

int ScanPresent(int pagemap_fd, AddressRange mapping, AddressSet* present) {
  PagemapScanArgument argument{};
  argument.start = mapping.begin;
  argument.end = mapping.end;
  argument.category_mask = kPageIsFile | kPageIsZero;
  argument.category_inverted = kPageIsFile | kPageIsZero;
  argument.category_anyof_mask = kPageIsPresent | kPageIsSwapped;
  argument.return_mask = kPageIsPresent;
  return AppendPages(pagemap_fd, argument, present);
}

int CountWritten(int pagemap_fd, uint64_t* bytes) {
  PagemapScanArgument argument{};
  argument.end = kAddressEnd;
  argument.category_mask = kPageIsWritten | kPageIsFile | kPageIsZero;
  argument.category_inverted = kPageIsFile | kPageIsZero;
  // What was never there counts as written, too.
  argument.category_anyof_mask = kPageIsPresent | kPageIsSwapped;
  argument.return_mask = kPageIsWritten;
  *bytes = 0;
  return ScanPages(pagemap_fd, argument,
                   [&](const PageRegion& region) { *bytes += region.end - region.start; });
}

Result<bool> HasAsynchronousIo(pid_t pid) {
  SNAP_ASSIGN_OR_RETURN(const Bytes maps, ReadMaps(pid));
  return AsText(maps).find("/[aio]") != std::string_view::npos;
}

Result<std::vector<AddressRange>> PrivateAnonymousMappings(pid_t pid) {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes, ReadMaps(pid));
  std::vector<AddressRange> mappings;
  std::string_view rest = AsText(bytes);
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (!IsPrivateAnonymous(line)) continue;
    AddressRange mapping;
    const char* const end = line.data() + line.size();
    const auto first = std::from_chars(line.data(), end, mapping.begin, 16);
    const auto last = std::from_chars(std::min(first.ptr + 1, end), end, mapping.end, 16);
    if (first.ec == std::errc() && last.ec == std::errc()) mappings.push_back(mapping);
  }
  return mappings;
}

}  // namespace snapstore::agent
