#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>

#include "agent/preflight_parts.h"

namespace snapstore::agent {
namespace {

constexpr const char* kTheProcess = "the process";
// Beyond it only a sample: the comparisons are one by one.
constexpr size_t kComparedMax = 4096;

std::string LineOf(const std::string& status, std::string_view key) {
  const size_t at = status.find("\n" + std::string(key));
  if (at == std::string::npos) return {};
  const size_t begin = at + 1 + key.size();
  return status.substr(begin, status.find('\n', begin) - begin);
}

// Real, effective and saved id are all `id`.
bool IsOwnedBy(const std::string& ids, uint64_t id) {
  std::string_view rest = ids;
  for (int i = 0; i < 3; ++i) {
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    uint64_t one = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), one);
    if (error != std::errc() || one != id) return false;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  }
  return true;
}

bool HaveCapability(int number) {
  const int64_t effective = NumberBehind(ReadProcText("/proc/self/status"), "CapEff:", /*base=*/16);
  return effective >= 0 && ((effective >> number) & 1) != 0;
}

// Without this capability prlimit(2) of a process of somebody else is refused.
void InspectOwner(const ProcessFacts& process, Findings* findings) {
  if (IsOwnedBy(LineOf(process.status, "Uid:"), getuid()) &&
      IsOwnedBy(LineOf(process.status, "Gid:"), getgid())) {
    return;
  }
  if (HaveCapability(CAP_SYS_RESOURCE)) return;
  findings->Block(process, kTheProcess,
                  "belongs to another user, and this machine's root has no CAP_SYS_RESOURCE, which "
                  "CRIU needs for that");
}

// One that its first process is in together with the agent is no matter; those of the others must
// be the first one's.
void InspectNamespaces(const ProcessFacts& process, const ProcessFacts& first, Findings* findings) {
  constexpr std::array<const char*, 8> kKinds{"user",   "pid", "ipc", "uts",
                                              "cgroup", "mnt", "net", "time_for_children"};
  for (const char* kind : kKinds) {
    const std::string own = ReadProcLink(process.Path(fmt::format("ns/{}", kind)));
    const std::string wanted = ReadProcLink(first.Path(fmt::format("ns/{}", kind)));
    if (own.empty() || own == wanted) continue;
    findings->Block(process, kTheProcess,
                    fmt::format("is in a namespace ({}) of its own within the application", kind));
  }
  const std::string mounts = ReadProcLink(process.Path("ns/mnt"));
  if (!mounts.empty() && mounts != ReadProcLink(first.Path("ns/mnt"))) {
    findings->Warn(
        process, kTheProcess,
        "is in a mount namespace of its own: whether CRIU can dump it depends on what is "
        "mounted there");
  }
  const std::string user = ReadProcLink(process.Path("ns/user"));
  if (!user.empty() && process.pid == first.pid && user != ReadProcLink("/proc/self/ns/user")) {
    findings->Block(process, kTheProcess, "is in a user namespace of its own (a container)");
  }
  // The link leads nowhere until the first child is there.
  const std::string pid = ReadProcLink(process.Path("ns/pid"));
  if (!pid.empty() && pid != ReadProcLink(process.Path("ns/pid_for_children"))) {
    findings->Warn(process, kTheProcess,
                   "starts its children in a new PID namespace, which is not restored");
  }
}

// The field behind the name, counted as proc(5) does.
int64_t StatField(const ProcessFacts& process, int number) {
  const std::string text = ReadProcText(process.Path("stat"));
  size_t at = text.rfind(')');
  for (int field = 2; field < number && at != std::string::npos; ++field) {
    at = text.find(' ', at + 1);
  }
  return at == std::string::npos ? -1 : NumberBehind(text.substr(at), "", 10);
}

void InspectScheduling(const ProcessFacts& process, Findings* findings) {
  constexpr int kPolicyField = 41;
  constexpr int kDeadline = 6;  // SCHED_DEADLINE
  if (StatField(process, kPolicyField) == kDeadline) {
    findings->Block(process, kTheProcess, "has deadline scheduling, which CRIU cannot restore");
  }
  cpu_set_t own;
  cpu_set_t all;
  if (sched_getaffinity(process.pid, sizeof(own), &own) == 0 &&
      sched_getaffinity(getpid(), sizeof(all), &all) == 0 && CPU_COUNT(&own) < CPU_COUNT(&all)) {
    findings->Warn(process, kTheProcess,
                   "is bound to some of the processors, and will not be after a restore");
  }
  constexpr int kWhoProcess = 1;
  constexpr int kClassShift = 13;
  if (syscall(SYS_ioprio_get, kWhoProcess, process.pid) >> kClassShift > 0) {
    findings->Warn(process, kTheProcess, "has an I/O priority, which is lost at a restore");
  }
}

bool Shares(pid_t one, pid_t other, int what) {
  return syscall(SYS_kcmp, one, other, what, 0, 0) == 0;
}

void InspectThreads(const ProcessFacts& process, Findings* findings) {
  std::error_code error;
  size_t seen = 0;
  for (auto it = std::filesystem::directory_iterator(process.Path("task"), error);
       !error && it != std::filesystem::directory_iterator() && ++seen < kComparedMax;
       it.increment(error)) {
    const pid_t thread = std::stoi(it->path().filename());
    if (thread == process.pid) continue;
    // 1 and 2: different; negative: gone.
    if (syscall(SYS_kcmp, process.pid, thread, KCMP_FS, 0, 0) > 0) {
      findings->Warn(process, fmt::format("thread {}", thread),
                     "has a working directory of its own, which is lost at a restore");
    }
    if (syscall(SYS_kcmp, process.pid, thread, KCMP_FILES, 0, 0) > 0) {
      findings->Warn(process, fmt::format("thread {}", thread),
                     "has descriptors of its own, which are lost at a restore");
    }
  }
}

}  // namespace

void InspectAttributes(const ProcessFacts& process, const ProcessFacts& first, Findings* findings) {
  const int64_t tracer = NumberBehind(process.status, "TracerPid:");
  if (tracer > 0) findings->Block(process, kTheProcess, "is being traced by a debugger");
  if (LineOf(process.status, "State:").starts_with("\tZ")) {
    if (NumberBehind(process.status, "Threads:") > 1) {
      findings->Block(process, kTheProcess, "has ended its first thread but not the others");
    }
    return;
  }
  if (ReadProcLink(process.Path("exe")).starts_with("/memfd:")) {
    findings->Block(process, kTheProcess,
                    "runs a program that is in memory only (memfd), which CRIU cannot restore");
  }
  if (NumberBehind(ReadProcText(process.Path("personality")), "", /*base=*/16) > 0) {
    findings->Warn(process, kTheProcess,
                   "has a personality(2), as of setarch, which is lost at a restore");
  }
  InspectOwner(process, findings);
  InspectNamespaces(process, first, findings);
  InspectScheduling(process, findings);
  InspectThreads(process, findings);
}

void InspectSharing(const InspectedTree& tree, Findings* findings) {
  size_t compared = 0;
  for (size_t i = 0; i < tree.processes.size(); ++i) {
    for (size_t j = 0; j < i && ++compared < kComparedMax; ++j) {
      const ProcessFacts& one = tree.processes[i];
      const ProcessFacts& other = tree.processes[j];
      if (Shares(one.pid, other.pid, KCMP_VM)) {
        findings->Block(one, kTheProcess,
                        fmt::format("shares its memory with process {} (clone with CLONE_VM, or a "
                                    "vfork that lasts), which CRIU cannot dump",
                                    other.pid));
      } else if (Shares(one.pid, other.pid, KCMP_FS)) {
        findings->Block(one, kTheProcess,
                        fmt::format("shares its working directory with process {} (clone with "
                                    "CLONE_FS), which CRIU cannot dump",
                                    other.pid));
      }
    }
  }
}

}  // namespace snapstore::agent
