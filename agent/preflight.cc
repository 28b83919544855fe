#include "agent/preflight.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <filesystem>
#include <map>
#include <set>
#include <string_view>

#include "agent/unix_peers.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

using Severity = Finding::Severity;

struct Rule {
  std::string_view prefix;
  Severity severity;
  std::string_view reason;
};

constexpr std::string_view kTerminal =
    "is a terminal: a restored process has none; redirect it to a file";
constexpr std::string_view kDevice = "is a device whose state CRIU cannot read";

// By what /proc/PID/fd/N points to.
constexpr std::array<Rule, 17> kDescriptorRules{{
    {"anon_inode:[io_uring]", Severity::kBlocker, "is an io_uring, which CRIU cannot dump"},
    {"anon_inode:[userfaultfd]", Severity::kBlocker, "is a userfaultfd, which CRIU cannot dump"},
    {"anon_inode:[perf_event]", Severity::kBlocker, "is a perf event, which CRIU cannot dump"},
    {"anon_inode:bpf", Severity::kBlocker, "is a BPF object"},
    {"anon_inode:kvm", Severity::kBlocker, "is a virtual machine"},
    {"anon_inode:[fanotify]", Severity::kBlocker, "is a fanotify group"},
    {"anon_inode:[landlock", Severity::kBlocker, "is a Landlock rule set"},
    {"/dev/nvidia", Severity::kBlocker, "is a GPU: its memory is not in a checkpoint"},
    {"/dev/dri/", Severity::kBlocker, "is a GPU: its memory is not in a checkpoint"},
    {"/dev/kfd", Severity::kBlocker, "is a GPU: its memory is not in a checkpoint"},
    {"/dev/infiniband/", Severity::kBlocker, kDevice},
    {"/dev/kvm", Severity::kBlocker, kDevice},
    {"/dev/fuse", Severity::kBlocker, kDevice},
    {"/dev/mqueue/", Severity::kBlocker, "is a POSIX message queue, which CRIU cannot dump"},
    {"/dev/pts/", Severity::kBlocker, kTerminal},
    {"/dev/tty", Severity::kBlocker, kTerminal},
    {"/dev/console", Severity::kBlocker, kTerminal},
}};

// By the path of a line in /proc/PID/maps.
constexpr std::array<Rule, 5> kMappingRules{{
    {"/dev/nvidia", Severity::kBlocker, "is memory of a GPU"},
    {"/dev/dri/", Severity::kBlocker, "is memory of a GPU"},
    {"/dev/kfd", Severity::kBlocker, "is memory of a GPU"},
    {"anon_inode:[io_uring]", Severity::kBlocker, "is an io_uring, which CRIU cannot dump"},
    {"anon_inode:[perf_event]", Severity::kBlocker, "is a perf event, which CRIU cannot dump"},
}};

struct Process {
  pid_t pid = 0;
  std::string name;
  std::map<int, std::string> descriptors;
};

std::string ReadText(const std::string& path) {
  const auto bytes = ReadWholeFile(path, 64 << 20);
  return bytes.ok() ? std::string(AsText(*bytes)) : std::string();
}

// The number in "socket:[123]" or "pipe:[123]".
uint32_t InodeOf(std::string_view target) {
  const size_t open = target.find('[');
  uint32_t inode = 0;
  if (open != std::string_view::npos) {
    std::from_chars(target.data() + open + 1, target.data() + target.size(), inode);
  }
  return inode;
}

Result<Process> ReadProcess(pid_t pid) {
  Process process;
  process.pid = pid;
  process.name = ReadText(fmt::format("/proc/{}/comm", pid));
  if (!process.name.empty()) process.name.pop_back();
  const std::string folder = fmt::format("/proc/{}/fd", pid);
  std::error_code error;
  for (auto it = std::filesystem::directory_iterator(folder, error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(it->path(), gone);
    if (!gone) process.descriptors[std::stoi(it->path().filename())] = target;
  }
  if (error) return Status::FromErrno(error.value(), folder);
  return process;
}

class Inspector {
 public:
  Inspector(std::vector<Process> processes, std::map<uint32_t, UnixSocket> sockets)
      : processes_(std::move(processes)), sockets_(std::move(sockets)) {
    for (const Process& process : processes_) {
      for (const auto& [fd, target] : process.descriptors) {
        if (target.starts_with("socket:")) own_sockets_.insert(InodeOf(target));
        if (target.starts_with("pipe:")) ++pipe_uses_[InodeOf(target)];
      }
    }
  }

  std::vector<Finding> Inspect() {
    for (const Process& process : processes_) {
      for (const auto& [fd, target] : process.descriptors) InspectDescriptor(process, fd, target);
      InspectMappings(process);
      InspectTracer(process);
    }
    return std::move(findings_);
  }

 private:
  void Add(Severity severity, const Process& process, std::string object, std::string_view reason) {
    findings_.push_back(
        {severity, process.pid, process.name, std::move(object), std::string(reason)});
  }

  void InspectDescriptor(const Process& process, int fd, const std::string& target) {
    const std::string object = fmt::format("descriptor {} ({})", fd, target);
    for (const Rule& rule : kDescriptorRules) {
      if (!target.starts_with(rule.prefix)) continue;
      Add(rule.severity, process, object, rule.reason);
      return;
    }
    if (target.starts_with("pipe:") && pipe_uses_[InodeOf(target)] == 1) {
      Add(Severity::kWarning, process, object,
          "is a pipe to or from a process outside: after a restore nobody is at its other end");
    }
    if (!target.starts_with("socket:")) return;
    const auto socket = sockets_.find(InodeOf(target));
    if (socket == sockets_.end() || socket->second.peer == 0) return;
    if (own_sockets_.contains(socket->second.peer)) return;
    if (socket->second.type == SOCK_DGRAM) {
      Add(Severity::kWarning, process, object,
          "is a Unix datagram socket to a process outside, which must be there at a restore");
    } else {
      Add(Severity::kBlocker, process, object,
          "is a Unix stream connection to a process outside, of which CRIU cannot dump one half");
    }
  }

  void InspectMappings(const Process& process) {
    std::set<std::string> seen;
    const std::string maps = ReadText(fmt::format("/proc/{}/maps", process.pid));
    std::string_view rest = maps;
    while (!rest.empty()) {
      const size_t newline = std::min(rest.find('\n'), rest.size());
      const std::string_view line = rest.substr(0, newline);
      rest.remove_prefix(std::min(newline + 1, rest.size()));
      for (const Rule& rule : kMappingRules) {
        const size_t at = line.find(rule.prefix);
        if (at == std::string_view::npos || at == 0 || line[at - 1] != ' ') continue;
        std::string object = fmt::format("mapping {}", line.substr(at));
        if (seen.insert(object).second) Add(rule.severity, process, object, rule.reason);
      }
    }
  }

  void InspectTracer(const Process& process) {
    const std::string status = ReadText(fmt::format("/proc/{}/status", process.pid));
    constexpr std::string_view kKey = "TracerPid:\t";
    const size_t at = status.find(kKey);
    if (at == std::string::npos || status[at + kKey.size()] == '0') return;
    Add(Severity::kBlocker, process, "the process", "is being traced by a debugger");
  }

  const std::vector<Process> processes_;
  const std::map<uint32_t, UnixSocket> sockets_;
  std::set<uint32_t> own_sockets_;
  std::map<uint32_t, int> pipe_uses_;
  std::vector<Finding> findings_;
};

}  // namespace

Result<std::vector<Finding>> InspectProcesses(const std::vector<pid_t>& pids) {
  std::vector<Process> processes;
  Status first_error = Status::NotFound("no such process");
  for (const pid_t pid : pids) {
    auto process = ReadProcess(pid);
    if (process.ok()) {
      processes.push_back(std::move(*process));
    } else if (processes.empty()) {
      first_error = process.status();
    }
  }
  if (processes.empty()) return first_error;
  SNAP_ASSIGN_OR_RETURN(auto sockets, ListUnixSockets());
  return Inspector(std::move(processes), std::move(sockets)).Inspect();
}

}  // namespace snapstore::agent
