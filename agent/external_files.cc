#include "agent/external_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

Result<CapturedFile> CaptureOne(const std::string& path, Arena* arena) {
  // Not blocking, in case somebody put a FIFO there.
  SNAP_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return Status::FromErrno(errno, path);
  if (!S_ISREG(info.st_mode)) return Status::InvalidArgument("is not a regular file");
  std::array<char, PATH_MAX> real{};
  if (realpath(path.c_str(), real.data()) == nullptr) return Status::FromErrno(errno, path);
  CapturedFile captured;
  captured.info = {path,        real.data(),           info.st_mode & 07777,  info.st_uid,
                   info.st_gid, ToNanos(info.st_atim), ToNanos(info.st_mtim), 0};
  ArenaWriter writer(arena, path);
  while (true) {
    const std::span<uint8_t> space = writer.Space();
    if (space.empty()) {
      return arena->Full("it");
    }
    SNAP_ASSIGN_OR_RETURN(const size_t got, ReadFull(fd.get(), space, path));
    writer.Advance(got);
    if (got < space.size()) break;
  }
  captured.content = writer.Finish();
  captured.info.size = captured.content.size;
  return captured;
}

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

Result<std::vector<CapturedFile>> CaptureExternalFiles(const std::vector<std::string>& paths,
                                                       Arena* arena) {
  std::vector<CapturedFile> files;
  files.reserve(paths.size());
  for (const std::string& path : paths) {
    auto captured = CaptureOne(path, arena);
    if (!captured.ok()) {
      return captured.status().WithContext(fmt::format("external file {}", path));
    }
    files.push_back(std::move(*captured));
  }
  return files;
}

uint64_t ExternalFileBytes(const std::vector<std::string>& paths) {
  uint64_t bytes = 0;
  for (const std::string& path : paths) {
    struct stat info {};
    if (stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      bytes += static_cast<uint64_t>(info.st_size);
    }
  }
  return bytes;
}

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
