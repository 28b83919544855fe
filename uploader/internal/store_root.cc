#include "uploader/internal/store_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/bytes.h"
#include "base/file.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

constexpr std::string_view kTemporaryPrefix = "put-";

// "a/b" for "a/b/c", empty for "c".
std::string_view FolderOf(std::string_view name) {
  const size_t slash = name.find_last_of('/');
  return slash == std::string_view::npos ? std::string_view() : name.substr(0, slash);
}

Result<UniqueFd> OpenFolderAt(int root_fd, const std::string& name, std::string_view shown) {
  const int fd = ::openat(root_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Status::FromErrno(errno, fmt::format("open folder {}", shown));
  return UniqueFd(fd);
}

}  // namespace

TemporaryFile::~TemporaryFile() {
  if (folder_fd_ < 0) return;
  Close();
  ::unlinkat(folder_fd_, name_.c_str(), 0);
}

Result<std::unique_ptr<StoreRoot>> StoreRoot::Open(const std::string& path) {
  const std::string what = fmt::format("open directory store {}", path);
  const std::unique_ptr<char, void (*)(void*)> absolute(::realpath(path.c_str(), nullptr),
                                                        std::free);
  if (absolute == nullptr) return Status::FromErrno(errno, what);
  UniqueFd fd(::open(absolute.get(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() && errno == ENOTDIR) {
    return Status::InvalidArgument(fmt::format("{}: it is not a directory", what));
  }
  if (!fd.valid()) return Status::FromErrno(errno, what);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return Status::FromErrno(errno, what);
  return std::unique_ptr<StoreRoot>(
      new StoreRoot(absolute.get(), std::move(fd), (info.st_mode & S_IWGRP) != 0));
}

Status StoreRoot::CheckPresent() const {
  struct stat opened {};
  struct stat named {};
  if (::fstat(fd_.get(), &opened) != 0) {
    return Status::Io(Status::FromErrno(errno, fmt::format("stat {}", path_)).message());
  }
  if (::stat(path_.c_str(), &named) != 0 || named.st_dev != opened.st_dev ||
      named.st_ino != opened.st_ino) {
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
  Status status = Status::FromErrno(error_number, fmt::format("{} {}/{}", operation, path_, name));
  return status.Is(StatusCode::kNotFound) ? Status::Io(status.message()) : status;
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
  const std::string_view folder = FolderOf(name);
  for (size_t end = 0; end < folder.size(); ++end) {
    end = std::min(folder.find('/', end), folder.size());
    SNAP_RETURN_IF_ERROR(MakeFolder(std::string(folder.substr(0, end))));
  }
  return Status::Ok();
}

void StoreRoot::ForgetFolders() {
  const std::lock_guard lock(mutex_);
  durable_folders_.clear();
}

Status StoreRoot::SyncFolder(std::string_view name) const {
  const std::string_view folder = FolderOf(name);
  const std::string shown = folder.empty() ? path_ : fmt::format("{}/{}", path_, folder);
  if (folder.empty()) return SyncFd(fd_.get(), shown);
  Result<UniqueFd> opened = OpenFolderAt(fd_.get(), std::string(folder), shown);
  if (!opened.ok()) return WriteError(opened.status().error_number(), "open folder", folder);
  return SyncFd(opened->get(), shown);
}

Result<TemporaryFile> StoreRoot::MakeTemporary() {
  std::array<uint8_t, 16> random;
  SecureRandom(random);
  std::string name = fmt::format("{}/{}{}", kTemporaryFolder, kTemporaryPrefix, HexEncode(random));
  const std::string folder(kTemporaryFolder);
  int fd = -1;
  // Names in this folder need not survive a crash, so neither it nor they are synced.
  for (int attempt = 0; fd < 0 && attempt < 2; ++attempt) {
    fd = ::openat(fd_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                  shared_ ? 0440 : 0400);
    if (fd >= 0 || errno != ENOENT) break;
    if (::mkdirat(fd_.get(), folder.c_str(), FolderMode()) != 0 && errno != EEXIST) break;
  }
  if (fd < 0) return WriteError(errno, "make temporary file", name);
  TemporaryFile file(fd_.get(), std::move(name), UniqueFd(fd));
  struct stat info {};
  if (::fstat(fd, &info) == 0) {
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
