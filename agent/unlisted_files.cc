#include "agent/unlisted_files.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <set>

namespace snapstore::agent {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

// Of the kernel, not of a disk.
bool IsKernelFile(const std::string& path) {
  return path.starts_with("/proc/") || path.starts_with("/sys/");
}

bool IsOpenForWriting(const Descriptor& descriptor) {
  constexpr int kOctal = 8;
  const int64_t flags = NumberBehind(descriptor.info, "flags:", kOctal);
  return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && (flags & O_PATH) == 0;
}

bool CanBeUnlisted(const std::string& path) {
  return path.starts_with('/') && !path.ends_with(kDeleted) && !path.starts_with("/memfd:") &&
         !path.starts_with("/SYSV") && !IsKernelFile(path);
}

std::string Canonical(const std::string& path) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::weakly_canonical(path, error);
  return error ? path : real.string();
}

}  // namespace

bool IsListed(const std::string& path, const ListedFiles& listed) {
  const auto is_this = [&](const std::string& file) {
    return file == path || Canonical(file) == path;
  };
  const auto holds_it = [&](const std::string& folder) {
    std::string real = Canonical(folder);
    if (!real.ends_with('/')) real += '/';
    return path.starts_with(real);
  };
  return std::any_of(listed.files.begin(), listed.files.end(), is_this) ||
         std::any_of(listed.folders.begin(), listed.folders.end(), holds_it);
}

std::vector<std::string> UnlistedFilesOf(const std::vector<ProcessFacts>& processes,
                                         const ListedFiles& listed) {
  std::set<std::string> written;
  for (const ProcessFacts& process : processes) {
    for (const Descriptor& descriptor : process.descriptors) {
      if (S_ISREG(descriptor.status.st_mode) && CanBeUnlisted(descriptor.target) &&
          IsOpenForWriting(descriptor)) {
        written.insert(descriptor.target);
      }
    }
    for (const Mapping& mapping : process.mappings) {
      if (!mapping.shared || !mapping.writable || !CanBeUnlisted(mapping.path)) continue;
      struct stat status {};
      const std::string path = process.Path("map_files/" + mapping.addresses);
      if (stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode)) written.insert(mapping.path);
    }
  }
  std::vector<std::string> unlisted;
  std::copy_if(written.begin(), written.end(), std::back_inserter(unlisted),
               [&](const std::string& path) { return !IsListed(path, listed); });
  return unlisted;
}

std::vector<std::string> UnlistedFiles(const std::vector<pid_t>& pids, const ListedFiles& listed) {
  std::vector<ProcessFacts> processes;
  for (const pid_t pid : pids) {
    auto facts = ReadProcessFacts(pid);
    if (facts.ok()) processes.push_back(std::move(*facts));
  }
  return UnlistedFilesOf(processes, listed);
}

}  // namespace snapstore::agent
