#include "engine/file_metadata.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>

#include "base/clock.h"
#include "base/status_macros.h"
#include "snapstore/reader.h"

namespace snapstore {
namespace {

constexpr mode_t kPermissionBits = 07777;
// Linux keeps lists and values of extended attributes within 64 KiB; most files have none.
constexpr size_t kXattrBytesMax = 64 << 10;
constexpr size_t kXattrBytesFirst = 256;

// What `read` (flistxattr and its like) puts into a buffer; empty where there is no such thing.
template <typename Read>
Result<std::optional<std::string>> ReadXattr(const std::string& what, const Read& read) {
  std::string bytes(kXattrBytesFirst, '\0');
  ssize_t size = read(bytes.data(), bytes.size());
  if (size < 0 && errno == ERANGE) {
    bytes.resize(kXattrBytesMax);
    size = read(bytes.data(), bytes.size());
  }
  if (size < 0) {
    // Removed meanwhile, or not readable so.
    if (errno == ENOTSUP || errno == ENODATA || errno == ENOSYS) {
      return std::optional<std::string>();
    }
    return Status::FromErrno(errno, what);
  }
  bytes.resize(static_cast<size_t>(size));
  return std::optional<std::string>(std::move(bytes));
}

template <typename List, typename Get>
Status AddXattrs(const List& list, const Get& get, format::Entry* entry) {
  SNAP_ASSIGN_OR_RETURN(const std::optional<std::string> names,
                        ReadXattr("list extended attributes", list));
  if (!names.has_value()) return {};
  std::map<std::string, std::string> xattrs;
  for (size_t begin = 0; begin < names->size();) {
    const std::string xattr = names->c_str() + begin;
    begin += xattr.size() + 1;
    SNAP_ASSIGN_OR_RETURN(
        std::optional<std::string> value,
        ReadXattr("read extended attribute " + xattr,
                  [&](char* out, size_t size) { return get(xattr.c_str(), out, size); }));
    if (value.has_value()) xattrs[xattr] = std::move(*value);
  }
  for (const auto& [xattr, value] : xattrs) {
    format::ExtendedAttribute* const added = entry->add_xattrs();
    added->set_name(xattr);
    added->set_value(value);
  }
  return {};
}

}  // namespace

Result<struct stat> StatAt(int dir_fd, const std::string& name) {
  struct stat stat {};
  if (::fstatat(dir_fd, name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) {
    return Status::FromErrno(errno, "stat");
  }
  return stat;
}

Result<format::Entry> EntryFromStat(const std::string& path, const struct stat& stat) {
  format::Entry entry;
  entry.set_path(path);
  EntryType type = EntryType::kFile;
  switch (stat.st_mode & S_IFMT) {
    case S_IFREG:
      type = EntryType::kFile;
      break;
    case S_IFDIR:
      type = EntryType::kDirectory;
      break;
    case S_IFLNK:
      type = EntryType::kSymlink;
      break;
    case S_IFIFO:
      type = EntryType::kFifo;
      break;
    case S_IFSOCK:
      type = EntryType::kSocket;
      break;
    case S_IFCHR:
      type = EntryType::kCharDevice;
      break;
    case S_IFBLK:
      type = EntryType::kBlockDevice;
      break;
    default:
      return Status::InvalidArgument(
          fmt::format("file type {:o} cannot be stored", stat.st_mode & S_IFMT));
  }
  entry.set_type(static_cast<uint32_t>(type));
  entry.set_mode(stat.st_mode & kPermissionBits);
  entry.set_uid(stat.st_uid);
  entry.set_gid(stat.st_gid);
  entry.set_mtime_ns(ToNanos(stat.st_mtim));
  entry.set_ctime_ns(ToNanos(stat.st_ctim));
  if (type == EntryType::kFile) entry.set_size(static_cast<uint64_t>(stat.st_size));
  entry.set_inode(stat.st_ino);
  entry.set_device(stat.st_dev);
  entry.set_links(stat.st_nlink);
  if (type == EntryType::kCharDevice || type == EntryType::kBlockDevice) {
    entry.set_rdev(stat.st_rdev);
  }
  return entry;
}

Status ReadExtraMetadata(int dir_fd, const std::string& name, format::Entry* entry) {
  if (entry->type() == static_cast<uint32_t>(EntryType::kSymlink)) {
    std::string target(PATH_MAX, '\0');
    const ssize_t size = ::readlinkat(dir_fd, name.c_str(), target.data(), target.size());
    if (size < 0) return Status::FromErrno(errno, "readlink");
    target.resize(static_cast<size_t>(size));
    entry->set_symlink_target(target);
  }
  // Through /proc, since there is no llistxattrat: short whatever the depth, the last component is
  // not followed.
  const std::string path = fmt::format("/proc/self/fd/{}/{}", dir_fd, name);
  return AddXattrs([&](char* out, size_t size) { return ::llistxattr(path.c_str(), out, size); },
                   [&](const char* xattr, char* out, size_t size) {
                     return ::lgetxattr(path.c_str(), xattr, out, size);
                   },
                   entry);
}

Status ReadXattrs(int fd, format::Entry* entry) {
  return AddXattrs(
      [&](char* out, size_t size) { return ::flistxattr(fd, out, size); },
      [&](const char* xattr, char* out, size_t size) { return ::fgetxattr(fd, xattr, out, size); },
      entry);
}

Result<UniqueFd> OpenAt(int dir_fd, const std::string& name, int flags) {
  // O_NOATIME is allowed to the owner and to root only.
  int fd = ::openat(dir_fd, name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
  if (fd < 0 && errno == EPERM) {
    fd = ::openat(dir_fd, name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW);
  }
  if (fd < 0) return Status::FromErrno(errno, "open");
  return UniqueFd(fd);
}

bool SameModification(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
         a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace snapstore
