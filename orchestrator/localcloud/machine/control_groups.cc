#include "orchestrator/localcloud/machine/control_groups.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

constexpr const char* kBase = "/sys/fs/cgroup";
constexpr int kRemoveAttempts = 100;
constexpr std::chrono::milliseconds kRemoveWait{20};

Status WriteText(const std::string& path, const std::string& text) {
  SNAP_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_WRONLY));
  return WriteFull(file.get(), AsBytes(text), path);
}

// Control files have no length: they are read until they end.
std::vector<pid_t> Members(const std::string& group) {
  const Result<Bytes> text = ReadWholeFile(group + "/cgroup.procs", 1 << 20);
  std::vector<pid_t> pids;
  if (!text.ok()) return pids;
  std::string_view rest = AsText(*text);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    pid_t pid = 0;
    std::from_chars(rest.data(), rest.data() + end, pid);
    if (pid > 0) pids.push_back(pid);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return pids;
}

Status RemoveGroup(const std::string& group) {
  for (int attempt = 0; attempt < kRemoveAttempts; ++attempt) {
    for (const pid_t pid : Members(group)) kill(pid, SIGKILL);
    if (rmdir(group.c_str()) == 0 || errno == ENOENT) return {};
    if (errno != EBUSY) return Status::FromErrno(errno, "remove " + group);
    std::this_thread::sleep_for(kRemoveWait);
  }
  return Status::FromErrno(EBUSY, "remove " + group);
}

}  // namespace

ControlGroups::ControlGroups(const std::string& cloud_id) {
  const std::string name = "/snapstore-localcloud-" + cloud_id;
  if (access(fmt::format("{}/cgroup.controllers", kBase).c_str(), F_OK) == 0) {
    roots_.push_back(kBase + name);
    return;
  }
  for (const char* controller : {"memory", "pids", "unified"}) {
    const std::string folder = fmt::format("{}/{}", kBase, controller);
    if (access((folder + "/cgroup.procs").c_str(), F_OK) == 0) roots_.push_back(folder + name);
  }
}

std::vector<std::string> ControlGroups::Make(const std::string& instance_id,
                                             uint64_t memory_bytes) const {
  std::vector<std::string> files;
  for (const std::string& root : roots_) {
    const std::string group = root + "/" + instance_id;
    if ((mkdir(root.c_str(), 0755) != 0 && errno != EEXIST)) {
      LogWarning("{}: {}; instances run without it", root, std::strerror(errno));
      continue;
    }
    // Version 2 hands controllers down one by one; where it does not, there is no limit.
    (void)WriteText(root + "/cgroup.subtree_control", "+memory +pids");
    if (mkdir(group.c_str(), 0755) != 0 && errno != EEXIST) {
      LogWarning("{}: {}; {} runs without it", group, std::strerror(errno), instance_id);
      continue;
    }
    for (const char* name : {"memory.max", "memory.limit_in_bytes"}) {
      const std::string file = group + "/" + name;
      if (access(file.c_str(), F_OK) != 0) continue;
      const Status limited = WriteText(file, std::to_string(memory_bytes));
      if (!limited.ok()) LogWarning("{}", limited.message());
    }
    files.push_back(group + "/cgroup.procs");
  }
  return files;
}

Status ControlGroups::Remove(const std::string& instance_id) const {
  for (const std::string& root : roots_) {
    SNAP_RETURN_IF_ERROR(RemoveGroup(root + "/" + instance_id));
  }
  return {};
}

Status ControlGroups::RemoveAll() const {
  for (const std::string& root : roots_) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
      if (entry.is_directory()) SNAP_RETURN_IF_ERROR(RemoveGroup(entry.path()));
    }
    SNAP_RETURN_IF_ERROR(RemoveGroup(root));
  }
  return {};
}

}  // namespace snapstore::localcloud
