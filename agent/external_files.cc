#include "agent/external_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// Best effort: on a replacement node the link the application's path leads through may be missing.
Status RestoreLink(const ExternalFile& file) {
  struct stat info {};
  if (file.path == file.real_path || lstat(file.path.c_str(), &info) == 0) return Status::Ok();
  SNAP_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(file.path).parent_path()));
  if (symlink(file.real_path.c_str(), file.path.c_str()) != 0) {
    return Status::FromErrno(errno, fmt::format("make link {}", file.path));
  }
  return Status::Ok();
}

Status Fill(int fd, const ExternalFile& file, const std::function<Status(int fd)>& write) {
  SNAP_RETURN_IF_ERROR(write(fd));
  if (fchown(fd, file.uid, file.gid) != 0) {
    return Status::FromErrno(errno, fmt::format("change owner of {}", file.real_path));
  }
  // After the owner: changing that clears setuid.
  if (fchmod(fd, file.mode) != 0) {
    return Status::FromErrno(errno, fmt::format("change mode of {}", file.real_path));
  }
  const std::array<timespec, 2> times{ToTimespec(file.atime_ns), ToTimespec(file.mtime_ns)};
  if (futimens(fd, times.data()) != 0) {
    return Status::FromErrno(errno, fmt::format("set times of {}", file.real_path));
  }
  return SyncFd(fd, file.real_path);
}

}  // namespace

Status PutBackExternalFile(const ExternalFile& file, const std::function<Status(int fd)>& write) {
  const std::filesystem::path target(file.real_path);
  SNAP_RETURN_IF_ERROR(MakeDirectories(target.parent_path()));
  std::array<uint8_t, 8> random{};
  SecureRandom(random);
  const std::string temporary = fmt::format("{}.restore-{}", file.real_path, HexEncode(random));
  SNAP_ASSIGN_OR_RETURN(const UniqueFd fd,
                        OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  Status status = Fill(fd.get(), file, write);
  if (status.ok() && rename(temporary.c_str(), file.real_path.c_str()) != 0) {
    status = Status::FromErrno(errno, fmt::format("rename {}", temporary));
  }
  if (!status.ok()) {
    (void)unlink(temporary.c_str());
    return status;
  }
  SNAP_RETURN_IF_ERROR(SyncDirectory(target.parent_path()));
  return RestoreLink(file);
}

}  // namespace snapstore::agent
