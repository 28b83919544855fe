#include "uploader/internal/store_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "base/bytes.h"
#include "base/file.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "uploader/internal/mount_table.h"

namespace snapstore::internal {
namespace {

constexpr std::string_view kTemporaryPrefix = "put-";
constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

Result<UniqueFd> OpenFolderAt(int root_fd, const std::string& name, std::string_view shown) {
  const int fd = ::openat(root_fd, name.c_str(), kFolderFlags);
  if (fd < 0) return Status::FromErrno(errno, fmt::format("open folder {}", shown));
  return UniqueFd(fd);
}

// Opens the folder `name` step by step; the first step asks about `root_fd` itself.
int OpenStepwise(int root_fd, std::string_view name, UniqueFd* out) {
  UniqueFd folder(::openat(root_fd, ".", kFolderFlags));
  while (folder.valid() && !name.empty()) {
    const size_t slash = std::min(name.find('/'), name.size());
    const std::string step(name.substr(0, slash));
    name.remove_prefix(std::min(slash + 1, name.size()));
    const int flags = kFolderFlags | (name.empty() ? O_NOFOLLOW : 0);
    folder = UniqueFd(::openat(folder.get(), step.c_str(), flags));
  }
  if (!folder.valid()) return errno;
  *out = std::move(folder);
  return 0;
}

}  // namespace

int StatxFresh(int fd, const char* path, int flags, struct statx* info) {
  // For an inode number alone NFS would ask nobody.
  return ::statx(fd, path, flags | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, info) == 0 ? 0 : errno;
}

std::string_view FolderOfKey(std::string_view key) {
  const size_t slash = key.find_last_of('/');
  return slash == std::string_view::npos ? std::string_view() : key.substr(0, slash);
}

std::string_view NameOfKey(std::string_view key) { return key.substr(key.find_last_of('/') + 1); }

int TemporaryFile::Close() {
  const int fd = file_.Release();
  // After EINTR the descriptor is closed all the same, and what was synced stays so.
  return fd < 0 || ::close(fd) == 0 || errno == EINTR ? 0 : errno;
}

TemporaryFile::~TemporaryFile() {
  if (folder_fd_ < 0) return;
  Close();
  ::unlinkat(folder_fd_, name_.c_str(), 0);
}

Result<std::unique_ptr<StoreRoot>> StoreRoot::Open(const std::string& path) {
  const std::string what = fmt::format("open directory store {}", path);
  std::unique_ptr<char, void (*)(void*)> absolute(::realpath(path.c_str(), nullptr), std::free);
  if (absolute == nullptr && errno == ENOENT) {
    // A network mount may remember it as missing that another client has made.
    const bool from_top = path.starts_with('/');
    const UniqueFd top(::open(from_top ? "/" : ".", kFolderFlags));
    UniqueFd fresh;
    OpenStepwise(top.get(), std::string_view(path).substr(from_top ? 1 : 0), &fresh);
    absolute.reset(::realpath(path.c_str(), nullptr));
  }
  if (absolute == nullptr) return Status::FromErrno(errno, what);
  UniqueFd fd(::open(absolute.get(), kFolderFlags));
  if (!fd.valid() && errno == ENOTDIR) {
    return Status::InvalidArgument(fmt::format("{}: it is not a directory", what));
  }
  if (!fd.valid()) return Status::FromErrno(errno, what);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return Status::FromErrno(errno, what);
  const FileSystemKind kind = FileSystemKindOf(fd.get());
  return std::unique_ptr<StoreRoot>(
      new StoreRoot(absolute.get(), std::move(fd), (info.st_mode & S_IWGRP) != 0, kind));
}

int StoreRoot::OpenFresh(std::string_view name, UniqueFd* out) const {
  int error_number = OpenStepwise(fd_.get(), name, out);
  for (int attempt = 1; attempt < kStaleAttempts && error_number == ESTALE; ++attempt) {
    // The kernel says so of a server that did not answer in time, too.
    struct statx root {};
    const int root_error = StatxFresh(fd_.get(), "", AT_EMPTY_PATH, &root);
    if (root_error != 0) return root_error;
    error_number = OpenStepwise(fd_.get(), name, out);
  }
  return error_number;
}

int StoreRoot::StatFresh(std::string_view name, struct stat* info) const {
  const std::string last(NameOfKey(name));
  int error_number = ESTALE;
  for (int attempt = 0; attempt < kStaleAttempts && error_number == ESTALE; ++attempt) {
    UniqueFd folder;
    error_number = OpenFresh(FolderOfKey(name), &folder);
    if (error_number != 0) return error_number;
    const int flags = AT_SYMLINK_NOFOLLOW;
    error_number = ::fstatat(folder.get(), last.c_str(), info, flags) == 0 ? 0 : errno;
  }
  return error_number;
}

Status StoreRoot::CheckPresent() const {
  struct statx opened {};
  struct statx named {};
  const int error_number = StatxFresh(fd_.get(), "", AT_EMPTY_PATH, &opened);
  if (error_number != 0) return WriteError(error_number, "stat", ".");
  if (StatxFresh(AT_FDCWD, path_.c_str(), 0, &named) != 0 || named.stx_ino != opened.stx_ino ||
      named.stx_dev_major != opened.stx_dev_major || named.stx_dev_minor != opened.stx_dev_minor) {
    return Status::Io(fmt::format(
        "{} is no longer the directory that was opened (removed, renamed or unmounted)", path_));
  }
  return Status::Ok();
}

Status StoreRoot::ReadError(int error_number, std::string_view operation,
                            std::string_view name) const {
  if (error_number != ENOENT) return WriteError(error_number, operation, name);
  const std::string what = fmt::format("{} {}/{}", operation, path_, name);
  SNAP_RETURN_IF_ERROR(CheckPresent().WithContext(what));
  return Status::FromErrno(ENOENT, what);
}

Status StoreRoot::WriteError(int error_number, std::string_view operation,
                             std::string_view name) const {
  const Status status =
      Status::FromErrno(error_number, fmt::format("{} {}/{}", operation, path_, name));
  const StatusCode code = status.Is(StatusCode::kNotFound) ? StatusCode::kIo : status.code();
  return {code, status.message() + Cause(error_number)};
}

std::string StoreRoot::Cause(int error_number) const {
  struct statvfs space {};
  switch (error_number) {
    case ENOSPC:
      if (::fstatvfs(fd_.get(), &space) != 0) return "";
      return fmt::format(" ({} MiB of {} MiB are free on its file system)",
                         space.f_bavail * space.f_frsize >> 20,
                         space.f_blocks * space.f_frsize >> 20);
    case EDQUOT:
      return " (this user's or group's share of the file system is used up)";
    case ESTALE:
      return remote() ? " (the file server no longer knows it: it was removed there, or the server"
                        " has another file system now; if it stays so, mount it again)"
                      : "";
    case EIO:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ECONNREFUSED:
    case ECONNRESET:
      return remote() ? CauseOfFailedCall() : "";
    default:
      return "";
  }
}

std::string StoreRoot::CauseOfFailedCall() const {
  struct stat info {};
  const Result<std::vector<MountEntry>> mounts = ReadMountTable();
  if (mounts.ok() && ::fstat(fd_.get(), &info) == 0) {
    const std::string device = fmt::format("{}:{}", major(info.st_dev), minor(info.st_dev));
    for (const MountEntry& mount : *mounts) {
      if (mount.device != device) continue;
      const bool soft = mount.HasOption("soft") || mount.HasOption("softerr");
      return fmt::format(" (the file server {} did not answer or failed{})", mount.source,
                         soft ? "; the mount is soft, which turns a slow server into errors: mount"
                                " it with the option hard"
                              : "");
    }
  }
  return " (the file server did not answer or failed)";
}

Status StoreRoot::MakeFolder(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    if (durable_folders_.count(name) != 0) return Status::Ok();
  }
  if (::mkdirat(fd_.get(), name.c_str(), FolderMode()) != 0 && errno != EEXIST) {
    return WriteError(errno, "make folder", name);
  }
  // A folder that was there may be another process's, made but not yet durable.
  SNAP_RETURN_IF_ERROR(SyncFolder(name));
  const std::lock_guard lock(mutex_);
  durable_folders_.insert(name);
  return Status::Ok();
}

Status StoreRoot::EnsureFolder(std::string_view name) {
  const std::string_view folder = FolderOfKey(name);
  const auto make_all = [&]() -> Status {
    for (size_t end = 0; end < folder.size(); ++end) {
      end = std::min(folder.find('/', end), folder.size());
      SNAP_RETURN_IF_ERROR(MakeFolder(std::string(folder.substr(0, end))));
    }
    return Status::Ok();
  };
  Status made = make_all();
  for (int attempt = 0; attempt < kStaleAttempts && made.error_number() == ENOENT; ++attempt) {
    // One that was made before is gone, or an NFS client remembers that it was not there before
    // another one made it: then it has to be asked for anew.
    ForgetFolders();
    UniqueFd fresh;
    (void)OpenFresh(folder.substr(0, folder.find('/')), &fresh);
    made = make_all();
  }
  return made;
}

void StoreRoot::ForgetFolders() {
  const std::lock_guard lock(mutex_);
  durable_folders_.clear();
}

Status StoreRoot::SyncFolder(std::string_view name) const {
  // An NFS server answers only when the name is durable; fsync of a folder sends nothing.
  if (kind_ == FileSystemKind::kNfs) return Status::Ok();
  const std::string_view folder = FolderOfKey(name);
  const std::string shown = folder.empty() ? path_ : fmt::format("{}/{}", path_, folder);
  if (folder.empty()) return SyncFd(fd_.get(), shown);
  Result<UniqueFd> opened = OpenFolderAt(fd_.get(), std::string(folder), shown);
  if (!opened.ok()) return WriteError(opened.status().error_number(), "open folder", folder);
  return SyncFd(opened->get(), shown);
}

Result<TemporaryFile> StoreRoot::OpenTemporary(std::string name) {
  const std::string folder(kTemporaryFolder);
  // Names in this folder need not survive a crash, so neither it nor they are synced.
  for (int attempt = 0;; ++attempt) {
    UniqueFd fd(::openat(fd_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                         shared_ ? 0440 : 0400));
    if (fd.valid()) return TemporaryFile(fd_.get(), std::move(name), std::move(fd));
    if ((errno != ENOENT && errno != ESTALE) || attempt == kStaleAttempts) {
      return WriteError(errno, "make temporary file", name);
    }
    // Asked for anew, or mkdir is told of the folder that somebody else removed.
    UniqueFd fresh;
    if (OpenFresh(folder, &fresh) == ENOENT &&
        ::mkdirat(fd_.get(), folder.c_str(), FolderMode()) != 0 && errno != EEXIST) {
      return WriteError(errno, "make folder", folder);
    }
  }
}

Result<TemporaryFile> StoreRoot::MakeTemporary() {
  std::array<uint8_t, 16> random;
  SecureRandom(random);
  SNAP_ASSIGN_OR_RETURN(
      TemporaryFile file,
      OpenTemporary(fmt::format("{}/{}{}", kTemporaryFolder, kTemporaryPrefix, HexEncode(random))));
  struct stat info {};
  if (::fstat(file.fd(), &info) == 0) {
    // A file server's clock may differ from ours: its own time stamp says what is old.
    std::call_once(stale_removed_, [&] { RemoveStale(info.st_mtim.tv_sec); });
  }
  return file;
}

void StoreRoot::RemoveStale(int64_t now_seconds) const {
  // Nobody waits for this and a later process tries again: failures are passed over.
  Result<UniqueFd> folder = OpenFolderAt(fd_.get(), std::string(kTemporaryFolder), path_);
  if (!folder.ok()) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(folder->get()), ::closedir);
  if (entries == nullptr) return;
  const int folder_fd = folder->Release();
  while (const dirent* const entry = ::readdir(entries.get())) {
    struct stat info {};
    const std::string_view name(entry->d_name);
    if (name.substr(0, kTemporaryPrefix.size()) == kTemporaryPrefix &&
        ::fstatat(folder_fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(info.st_mode) && info.st_mtim.tv_sec + kStaleSeconds < now_seconds) {
      ::unlinkat(folder_fd, entry->d_name, 0);
    }
  }
}

}  // namespace snapstore::internal
