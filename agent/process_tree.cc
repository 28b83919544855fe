#include "agent/process_tree.h"

#include <dirent.h>
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/file.h"

namespace snapstore::agent {
namespace {

constexpr size_t kStatusBytesMax = 1 << 20;
constexpr size_t kChildrenBytesMax = 64 << 20;

// The number in a line "Key:   123 kB" of /proc/PID/status; 0 without such a line.
uint64_t Number(std::string_view status, std::string_view key, int base = 10) {
  const size_t at = status.find(key);
  if (at == std::string_view::npos) return 0;
  std::string_view rest = status.substr(at + key.size());
  rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  uint64_t value = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), value, base);
  return value;
}

std::string StatusOf(pid_t pid) {
  const auto bytes = ReadWholeFile(fmt::format("/proc/{}/status", pid), kStatusBytesMax);
  return bytes.ok() ? std::string(AsText(*bytes)) : std::string();
}

}  // namespace

Result<std::vector<pid_t>> DescendantsOf(pid_t ancestor) {
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(opendir("/proc"), closedir);
  if (proc == nullptr) return Status::FromErrno(errno, "read /proc");
  std::multimap<pid_t, pid_t> children;
  while (const dirent* entry = readdir(proc.get())) {
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error != std::errc() || end != name.data() + name.size()) continue;
    children.emplace(static_cast<pid_t>(Number(StatusOf(pid), "\nPPid:")), pid);
  }
  std::vector<pid_t> found;
  std::vector<pid_t> open{ancestor};
  while (!open.empty()) {
    const pid_t parent = open.back();
    open.pop_back();
    const auto [begin, end] = children.equal_range(parent);
    for (auto it = begin; it != end; ++it) {
      found.push_back(it->second);
      open.push_back(it->second);
    }
  }
  return found;
}

Result<std::vector<pid_t>> FrozenDescendantsOf(pid_t ancestor) {
  std::vector<pid_t> found;
  std::vector<pid_t> open{ancestor};
  while (!open.empty()) {
    const std::string tasks = fmt::format("/proc/{}/task", open.back());
    open.pop_back();
    std::error_code error;
    std::filesystem::directory_iterator task(tasks, error);
    for (; !error && task != std::filesystem::directory_iterator(); task.increment(error)) {
      const auto children = ReadWholeFile(task->path() / "children", kChildrenBytesMax);
      if (!children.ok()) return DescendantsOf(ancestor);
      const char* next = reinterpret_cast<const char*>(children->data());
      const char* const end = next + children->size();
      pid_t pid = 0;
      while (next < end) {
        const auto [behind, wrong] = std::from_chars(next, end, pid);
        if (wrong != std::errc()) break;
        found.push_back(pid);
        open.push_back(pid);
        next = behind + 1;
      }
    }
    if (error) return DescendantsOf(ancestor);
  }
  return found;
}

uint64_t DumpBytesEstimate(const std::vector<pid_t>& pids) {
  uint64_t kib = 0;
  for (const pid_t pid : pids) {
    const std::string status = StatusOf(pid);
    for (const std::string_view key : {"\nRssAnon:", "\nRssShmem:", "\nVmSwap:"}) {
      kib += Number(status, key);
    }
  }
  return kib << 10;
}

uint64_t PrivateBytes(pid_t pid) {
  const std::string status = StatusOf(pid);
  return (Number(status, "\nRssAnon:") + Number(status, "\nVmSwap:")) << 10;
}

pid_t InnerPid(pid_t pid) {
  // "NSpid:	4711	2": as seen from here, in the cell, in what the application made within.
  const std::string status = StatusOf(pid);
  constexpr std::string_view kKey = "\nNSpid:";
  const size_t at = status.find(kKey);
  if (at == std::string::npos) return 0;
  const char* const end = status.data() + status.size();
  const char* next = status.data() + at + kKey.size();
  pid_t inner = 0;
  for (int level = 0; level < 2 && next < end && *next == '\t'; ++level) {
    next = std::from_chars(next + 1, end, inner).ptr;
  }
  return inner;
}

bool HasSeccompFilter(pid_t pid) { return Number(StatusOf(pid), "\nSeccomp:") != 0; }

bool IsUninterruptible(pid_t thread) {
  return StatusOf(thread).find("\nState:\tD") != std::string::npos;
}

bool IsPending(pid_t pid, int signal_number) {
  const std::string status = StatusOf(pid);
  constexpr int kHex = 16;
  // Of the process as a whole, and of its first thread.
  const uint64_t pending = Number(status, "\nShdPnd:", kHex) | Number(status, "\nSigPnd:", kHex);
  return ((pending >> (signal_number - 1)) & 1) != 0;
}

}  // namespace snapstore::agent
