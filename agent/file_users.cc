#include "agent/file_users.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <sstream>
#include <string>

#include "base/bytes.h"
#include "base/file.h"

namespace snapstore::agent {
namespace {

constexpr size_t kMapsBytesMax = 256 << 20;
constexpr size_t kFdInfoBytesMax = 1 << 20;

bool MapsShared(pid_t pid, ino_t inode) {
  const auto maps = ReadWholeFile(fmt::format("/proc/{}/maps", pid), kMapsBytesMax);
  if (!maps.ok()) return true;
  std::istringstream lines{std::string(AsText(*maps))};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string range;
    std::string rights;
    std::string offset;
    std::string device;
    ino_t number = 0;
    words >> range >> rights >> offset >> device >> number;
    if (rights.size() == 4 && rights[3] == 's' && number == inode) return true;
  }
  return false;
}

// Flags as open(2) has them; O_RDWR when they cannot be told.
int FlagsOf(pid_t pid, const std::string& descriptor) {
  const auto info =
      ReadWholeFile(fmt::format("/proc/{}/fdinfo/{}", pid, descriptor), kFdInfoBytesMax);
  if (!info.ok()) return O_RDWR;
  const std::string_view text = AsText(*info);
  constexpr std::string_view kFlags = "flags:\t";
  const size_t at = text.find(kFlags);
  if (at == std::string_view::npos) return O_RDWR;
  const std::string_view digits = text.substr(at + kFlags.size());
  int flags = O_RDWR;
  constexpr int kOctal = 8;
  std::from_chars(digits.data(), digits.data() + digits.size(), flags, kOctal);
  return flags;
}

bool AllAppend(pid_t pid, const struct stat& file) {
  const std::string folder = fmt::format("/proc/{}/fd", pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> descriptors(opendir(folder.c_str()), closedir);
  if (descriptors == nullptr) return false;
  while (const dirent* entry = readdir(descriptors.get())) {
    const std::string name = entry->d_name;
    struct stat open {};
    if (name.starts_with('.')) continue;
    if (stat(fmt::format("{}/{}", folder, name).c_str(), &open) != 0) continue;
    if (open.st_dev != file.st_dev || open.st_ino != file.st_ino) continue;
    const int flags = FlagsOf(pid, name);
    if ((flags & O_ACCMODE) != O_RDONLY && (flags & O_APPEND) == 0) return false;
  }
  return true;
}

}  // namespace

FileUse UseOf(const std::vector<pid_t>& pids, const struct stat& file) {
  FileUse use;
  for (const pid_t pid : pids) {
    use.mapped_shared = use.mapped_shared || MapsShared(pid, file.st_ino);
    use.all_append = use.all_append && AllAppend(pid, file);
  }
  return use;
}

}  // namespace snapstore::agent
