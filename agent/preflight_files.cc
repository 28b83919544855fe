#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "agent/criu_driver.h"
#include "agent/preflight_parts.h"

namespace snapstore::agent {
namespace {

#ifndef SECRETMEM_MAGIC
constexpr int64_t SECRETMEM_MAGIC = 0x5345434d;
#endif
constexpr int64_t kMessageQueueMagic = 0x19800202;  // ipc/mqueue.c

constexpr std::string_view kGpu = "is a GPU: its memory is not in a checkpoint";
constexpr std::string_view kHugePages =
    "is memory of huge pages of a fixed size (hugetlb), which CRIU cannot dump and restore";
constexpr std::string_view kSecretMemory = "is secret memory (memfd_secret), which nobody can read";
constexpr std::string_view kTerminal =
    "is a terminal: a restored process has none; redirect it to a file";

struct Rule {
  std::string_view prefix;
  std::string_view reason;
};

// Anonymous inodes that CRIU knows; of the others the reasons.
constexpr std::array<std::string_view, 7> kKnownInodes{
    "[eventfd]", "[eventpoll]", "[signalfd]", "[timerfd]", "[pidfd]", "inotify", "[fanotify]"};
constexpr std::array<Rule, 7> kInodeReasons{{
    {"[io_uring]", "is an io_uring, which CRIU cannot dump"},
    {"[userfaultfd]", "is a userfaultfd, which CRIU cannot dump"},
    {"[perf_event]", "is a perf event, which CRIU cannot dump"},
    {"bpf", "is a BPF object, which CRIU cannot dump"},
    {"kvm", "is a virtual machine"},
    {"[landlock", "is a Landlock rule set, which CRIU cannot dump"},
    {"", "is of a kind that CRIU cannot dump"},
}};

constexpr std::array<Rule, 3> kDeviceReasons{{
    {"/dev/nvidia", kGpu},
    {"/dev/dri/", kGpu},
    {"/dev/kfd", kGpu},
}};

// Major numbers, from the kernel's Documentation/admin-guide/devices.txt.
constexpr unsigned kMemoryMajor = 1;
constexpr unsigned kConsoleMajor = 4;  // virtual consoles up to minor 63, serial lines above
constexpr unsigned kTerminalMajor = 5;
constexpr unsigned kMiscMajor = 10;
constexpr unsigned kAutofsMinor = 235;
constexpr unsigned kPseudoTerminalMajor = 136;
constexpr unsigned kPseudoTerminalMajorLast = 143;

bool IsMemoryDevice(const struct stat& status) {
  return S_ISCHR(status.st_mode) && major(status.st_rdev) == kMemoryMajor;
}

std::string_view ReasonOf(std::string_view kind) {
  return std::find_if(kInodeReasons.begin(), kInodeReasons.end(),
                      [&](const Rule& rule) { return kind.starts_with(rule.prefix); })
      ->reason;
}

std::string_view DeviceReason(std::string_view path) {
  for (const Rule& rule : kDeviceReasons) {
    if (path.starts_with(rule.prefix)) return rule.reason;
  }
  return "is a device whose state CRIU cannot read";
}

// A watch of a file in /proc has no handle by which to find the file again.
bool WatchesProc(const ProcessFacts& process, const Descriptor& descriptor) {
  struct stat proc {};
  if (stat(process.Path("root/proc").c_str(), &proc) != 0) return false;
  std::string_view rest = descriptor.info;
  constexpr std::string_view kKey = " sdev:";
  for (size_t at; (at = rest.find(kKey)) != rest.npos;) {
    rest.remove_prefix(at + kKey.size());
    uint32_t device = 0;  // as the kernel has it: a minor number of 20 bits
    std::from_chars(rest.data(), rest.data() + rest.size(), device, 16);
    if (makedev(device >> 20, device & 0xfffff) == proc.st_dev) return true;
  }
  return false;
}

void InspectAnonymous(const ProcessFacts& process, const Descriptor& descriptor,
                      const InspectedTree& tree, Findings* findings) {
  constexpr std::string_view kPrefix = "anon_inode:";
  const std::string_view kind = std::string_view(descriptor.target).substr(kPrefix.size());
  const bool known = std::any_of(kKnownInodes.begin(), kKnownInodes.end(),
                                 [&](std::string_view one) { return kind == one; });
  if (!known) {
    findings->Block(process, NameOf(descriptor), ReasonOf(kind));
    return;
  }
  const int64_t clock = NumberBehind(descriptor.info, "clockid:");
  if (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM) {
    findings->Block(process, NameOf(descriptor),
                    "is a timer that wakes the machine (CLOCK_*_ALARM), which CRIU cannot dump");
  }
  const int64_t watched = NumberBehind(descriptor.info, "Pid:");
  if (watched > 0 && !tree.pids.contains(static_cast<pid_t>(watched))) {
    findings->Block(process, NameOf(descriptor),
                    fmt::format("is a handle (pidfd) of process {}, which is outside", watched));
  }
}

void InspectPipe(const ProcessFacts& process, const Descriptor& descriptor,
                 const InspectedTree& tree, Findings* findings) {
  constexpr int kOctal = 8;
  const int64_t flags = NumberBehind(descriptor.info, "flags:", kOctal);
  if (flags >= 0 && (flags & O_DIRECT) != 0) {
    findings->Block(process, NameOf(descriptor),
                    "is a pipe in packet mode (O_DIRECT), which CRIU cannot dump");
  }
  const auto uses = tree.pipes.find(InodeOf(descriptor.target));
  if (uses == tree.pipes.end() || uses->second != 1) return;
  findings->Warn(process, NameOf(descriptor),
                 "is a pipe that nobody else here holds: what is at its other end is gone after a "
                 "restore");
}

void InspectTerminal(const ProcessFacts& process, const Descriptor& descriptor,
                     const InspectedTree& tree, Findings* findings) {
  const unsigned number = major(descriptor.status.st_rdev);
  const unsigned minor_number = minor(descriptor.status.st_rdev);
  if (number >= kPseudoTerminalMajor && number <= kPseudoTerminalMajorLast) {
    if (tree.terminals.contains(minor_number)) return;  // both ends are here
    findings->Block(process, NameOf(descriptor), kTerminal);
  } else if (number == kConsoleMajor) {
    constexpr unsigned kVirtualConsoleLast = 63;
    if (minor_number == 0 || minor_number > kVirtualConsoleLast) {
      findings->Block(process, NameOf(descriptor), kTerminal);
    } else {
      findings->Warn(process, NameOf(descriptor), "is a console of this machine");
    }
  } else if (number == kTerminalMajor && minor_number == 1) {
    findings->Warn(process, NameOf(descriptor), "is the console of this machine");
  }
}

void InspectDevice(const ProcessFacts& process, const Descriptor& descriptor,
                   const InspectedTree& tree, Findings* findings) {
  const struct stat& status = descriptor.status;
  const unsigned number = major(status.st_rdev);
  if (IsMemoryDevice(status)) return;
  if (S_ISCHR(status.st_mode) &&
      (number == kConsoleMajor || number == kTerminalMajor ||
       (number >= kPseudoTerminalMajor && number <= kPseudoTerminalMajorLast))) {
    InspectTerminal(process, descriptor, tree, findings);
    return;
  }
  if (S_ISCHR(status.st_mode) && number == kMiscMajor && minor(status.st_rdev) == kAutofsMinor) {
    return;
  }
  findings->Block(process, NameOf(descriptor), DeviceReason(descriptor.target));
}

bool IsSameFile(const std::string& path, const struct stat& status) {
  struct stat there {};
  return stat(path.c_str(), &there) == 0 && there.st_dev == status.st_dev &&
         there.st_ino == status.st_ino;
}

// A file whose name does not lead to it, or not where the next instance looks for it.
void InspectName(const ProcessFacts& process, const Descriptor& descriptor, Findings* findings) {
  const struct stat& status = descriptor.status;
  // The path begins at the mount namespace's root, also when the process has another root.
  const bool has_own_root = ReadProcLink(process.Path("root")) != "/";
  if (has_own_root && IsSameFile(descriptor.target, status)) return;
  if (!has_own_root && IsSameFile(process.Path("root") + descriptor.target, status)) {
    if (IsSameFile(descriptor.target, status)) return;
    findings->Block(process, NameOf(descriptor),
                    "is on a file system that only the application has mounted: it is not there at "
                    "a restore");
    return;
  }
  if (S_ISDIR(status.st_mode)) return;
  if (status.st_nlink == 0) {  // it goes into the images
    const uint64_t bytes = static_cast<uint64_t>(status.st_blocks) * 512;
    if (bytes <= kDeletedFileBytesMax) return;
    findings->Block(process, NameOf(descriptor),
                    fmt::format("is a deleted file of {} MiB; at most {} MiB are kept", bytes >> 20,
                                kDeletedFileBytesMax >> 20));
    return;
  }
  findings->Block(process, NameOf(descriptor),
                  "has lost the name it was opened by but has others (a hard link, or something is "
                  "mounted above it): it is not found at a restore");
}

// /proc/N/… of a process that is gone or elsewhere.
void InspectProcFile(const ProcessFacts& process, const Descriptor& descriptor,
                     const InspectedTree& tree, Findings* findings) {
  constexpr std::string_view kProc = "/proc/";
  if (!descriptor.target.starts_with(kProc)) return;
  const int64_t pid = NumberBehind(descriptor.target.substr(kProc.size()), "");
  if (pid <= 1 || tree.inner_pids.contains(pid) || tree.pids.contains(static_cast<pid_t>(pid))) {
    return;
  }
  findings->Block(process, NameOf(descriptor), "is of a process that is gone or outside");
}

// "pid:[4026531836]": a namespace that none of the application's processes is in.
bool IsForeignNamespace(const std::string& target, const ProcessFacts& first) {
  const size_t colon = target.find(":[");
  if (colon == std::string::npos || target.find('/') != std::string::npos) return false;
  const std::string own = ReadProcLink(first.Path("ns/" + target.substr(0, colon)));
  return !own.empty() && own != target;
}

}  // namespace

void InspectFile(const ProcessFacts& process, const Descriptor& descriptor,
                 const InspectedTree& tree, Findings* findings) {
  if (descriptor.target.starts_with("anon_inode:")) {
    InspectAnonymous(process, descriptor, tree, findings);
    if (WatchesProc(process, descriptor)) {
      findings->Block(process, NameOf(descriptor), "watches a file of /proc");
    }
    return;
  }
  if (S_ISFIFO(descriptor.status.st_mode)) {
    if (descriptor.target.starts_with("pipe:")) InspectPipe(process, descriptor, tree, findings);
    return;
  }
  if (S_ISCHR(descriptor.status.st_mode) || S_ISBLK(descriptor.status.st_mode)) {
    InspectDevice(process, descriptor, tree, findings);
    return;
  }
  if (IsForeignNamespace(descriptor.target, tree.processes.front())) {
    findings->Block(process, NameOf(descriptor), "is a namespace that is not the application's");
    return;
  }
  struct statfs system {};
  const std::string path = process.Path(fmt::format("fd/{}", descriptor.number));
  if (statfs(path.c_str(), &system) != 0) return;
  switch (static_cast<int64_t>(system.f_type)) {
    case kMessageQueueMagic:
      findings->Block(process, NameOf(descriptor),
                      "is a POSIX message queue, which CRIU cannot dump");
      return;
    case SECRETMEM_MAGIC:
      findings->Block(process, NameOf(descriptor), kSecretMemory);
      return;
    case HUGETLBFS_MAGIC:
      findings->Block(process, NameOf(descriptor), kHugePages);
      return;
    case PROC_SUPER_MAGIC:
      InspectProcFile(process, descriptor, tree, findings);
      return;
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case NSFS_MAGIC:
      return;
    default:
      break;
  }
  if (descriptor.target.starts_with("/memfd:")) return;
  InspectName(process, descriptor, findings);
}

void InspectMappings(const ProcessFacts& process, Findings* findings) {
  std::set<std::string> seen;
  for (const Mapping& mapping : process.mappings) {
    const std::string& path = mapping.path;
    std::string_view reason;
    const std::string file = process.Path("map_files/" + mapping.addresses);
    if (path.starts_with("anon_inode:")) {
      reason = ReasonOf(std::string_view(path).substr(path.find(':') + 1));
    } else if (path.starts_with("/secretmem")) {
      reason = kSecretMemory;
    } else if (path.starts_with("/anon_hugepage")) {
      reason = kHugePages;
    } else if (path.starts_with("/memfd:") || path.starts_with("/SYSV")) {
      struct statfs system {};
      if (statfs(file.c_str(), &system) == 0 && system.f_type == HUGETLBFS_MAGIC) {
        reason = kHugePages;
      }
    } else if (path.starts_with("/dev/")) {
      struct stat status {};
      if (stat(file.c_str(), &status) == 0 && S_ISCHR(status.st_mode) && !IsMemoryDevice(status)) {
        reason = DeviceReason(path);
      }
    }
    if (reason.empty() || !seen.insert(path).second) continue;
    findings->Block(process, fmt::format("mapping {}", path), reason);
  }
}

}  // namespace snapstore::agent
