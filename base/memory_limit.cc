#include "base/memory_limit.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr size_t kProcBytesMax = size_t{4} << 20;  // mountinfo of a busy container host

struct Hierarchy {
  bool is_v2 = false;
  std::string mount_root;   // the group that is visible at mount_point
  std::string mount_point;  // "/sys/fs/cgroup"
};

std::string ReadText(const std::string& path) {
  const Result<Bytes> bytes = ReadWholeFile(path, kProcBytesMax);
  return bytes.ok() ? std::string(AsText(*bytes)) : std::string();
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool HasItem(std::string_view list, std::string_view item) {
  const std::vector<std::string_view> items = Split(list, ',');
  return std::find(items.begin(), items.end(), item) != items.end();
}

// proc(5): "36 35 98:0 /root /mount/point options [tags…] - type source superoptions".
std::vector<Hierarchy> ParseMountInfo(std::string_view text) {
  std::vector<Hierarchy> found;
  for (const std::string_view line : Split(text, '\n')) {
    const std::vector<std::string_view> fields = Split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (dash - fields.begin() < 6 || fields.end() - dash < 4) continue;
    const bool is_v2 = dash[1] == "cgroup2";
    if (is_v2 || (dash[1] == "cgroup" && HasItem(dash[3], "memory"))) {
      found.push_back({is_v2, std::string(fields[3]), std::string(fields[4])});
    }
  }
  return found;
}

// cgroups(7): "0::/group" for v2, "4:memory,other:/group" for v1. Empty when not there.
std::string ParseGroup(std::string_view text, bool is_v2) {
  for (const std::string_view line : Split(text, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (is_v2 ? controllers.empty() : HasItem(controllers, "memory")) {
      return std::string(line.substr(second + 1));
    }
  }
  return {};
}

std::optional<uint64_t> ReadLimit(const std::string& path) {
  const std::string text = ReadText(path);
  uint64_t bytes = 0;
  // "max" is no limit; it fails to parse like a file that is not there.
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (parsed.ec != std::errc()) return std::nullopt;
  return bytes;
}

std::optional<uint64_t> Tighter(std::optional<uint64_t> a, std::optional<uint64_t> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

// `group` as seen below the mount point: "" or "/a/b".
std::string BelowMount(std::string_view group, std::string_view mount_root) {
  if (mount_root != "/" && group.substr(0, mount_root.size()) == mount_root &&
      (group.size() == mount_root.size() || group[mount_root.size()] == '/')) {
    group.remove_prefix(mount_root.size());
  }
  // A group outside the cgroup namespace shows as "/../other" and has no folder here.
  if (group.size() < 2 || group.front() != '/' || group.find("/..") != std::string_view::npos) {
    return {};
  }
  return std::string(group);
}

std::optional<uint64_t> LimitOf(const Hierarchy& hierarchy, std::string_view group,
                                const std::string& root) {
  std::optional<uint64_t> limit;
  for (std::string below = BelowMount(group, hierarchy.mount_root);;) {
    const std::string folder = fmt::format("{}{}{}", root, hierarchy.mount_point, below);
    if (hierarchy.is_v2) {
      limit = Tighter(limit, ReadLimit(folder + "/memory.max"));
      limit = Tighter(limit, ReadLimit(folder + "/memory.high"));
    } else {
      limit = Tighter(limit, ReadLimit(folder + "/memory.limit_in_bytes"));
    }
    if (below.empty()) return limit;
    below.resize(below.find_last_of('/'));
  }
}

Result<uint64_t> KilobyteField(std::string_view text, std::string_view name) {
  for (const std::string_view line : Split(text, '\n')) {
    if (line.substr(0, name.size()) != name) continue;
    const size_t digit = line.find_first_of("0123456789");
    uint64_t kilobytes = 0;
    if (digit == std::string_view::npos) break;
    const auto parsed = std::from_chars(line.data() + digit, line.data() + line.size(), kilobytes);
    if (parsed.ec == std::errc()) return kilobytes * 1024;
  }
  return Status::Io(fmt::format("/proc/self/status has no {}", name));
}

}  // namespace

std::optional<uint64_t> CgroupMemoryLimit(const std::string& root) {
  const std::string groups = ReadText(root + "/proc/self/cgroup");
  std::optional<uint64_t> limit;
  for (const Hierarchy& hierarchy : ParseMountInfo(ReadText(root + "/proc/self/mountinfo"))) {
    const std::string group = ParseGroup(groups, hierarchy.is_v2);
    if (!group.empty()) limit = Tighter(limit, LimitOf(hierarchy, group, root));
  }
  return limit;
}

uint64_t EffectiveMemoryLimit(uint64_t requested, const std::string& root) {
  const std::optional<uint64_t> limit = CgroupMemoryLimit(root);
  return limit ? std::min(requested, *limit / 4 * 3) : requested;
}

Result<MemoryUsage> ReadMemoryUsage(const std::string& root) {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes,
                        ReadWholeFile(root + "/proc/self/status", kProcBytesMax));
  MemoryUsage usage;
  SNAP_ASSIGN_OR_RETURN(usage.rss_bytes, KilobyteField(AsText(bytes), "VmRSS:"));
  SNAP_ASSIGN_OR_RETURN(usage.rss_bytes_peak, KilobyteField(AsText(bytes), "VmHWM:"));
  return usage;
}

void ReturnFreeMemory() { (void)malloc_trim(0); }

}  // namespace snapstore
