#include "engine/file_metadata.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "base/clock.h"
#include "base/status_macros.h"
#include "snapstore/reader.h"

namespace snapstore {
namespace {

constexpr mode_t kPermissionBits = 07777;
// Linux keeps lists and values of extended attributes within 64 KiB.
constexpr size_t kXattrBytesMax = 64 << 10;

// Names of extended attributes, or of none where the file system has no such thing.
Result<std::string> ListXattrs(const std::string& path) {
  std::string names(kXattrBytesMax, '\0');
  const ssize_t size = ::llistxattr(path.c_str(), names.data(), names.size());
  if (size < 0) {
    if (errno == ENOTSUP || errno == ENODATA || errno == ENOSYS) return std::string();
    return Status::FromErrno(errno, "list extended attributes");
  }
  names.resize(static_cast<size_t>(size));
  return names;
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
  // Through /proc, since there is no llistxattrat: short whatever the depth, the last component is
  // not followed.
  const std::string path = fmt::format("/proc/self/fd/{}/{}", dir_fd, name);
  if (entry->type() == static_cast<uint32_t>(EntryType::kSymlink)) {
    std::string target(PATH_MAX, '\0');
    const ssize_t size = ::readlinkat(dir_fd, name.c_str(), target.data(), target.size());
    if (size < 0) return Status::FromErrno(errno, "readlink");
    target.resize(static_cast<size_t>(size));
    entry->set_symlink_target(target);
  }
  SNAP_ASSIGN_OR_RETURN(const std::string names, ListXattrs(path));
  std::map<std::string, std::string> xattrs;
  for (size_t begin = 0; begin < names.size();) {
    const std::string xattr = names.c_str() + begin;
    begin += xattr.size() + 1;
    std::string value(kXattrBytesMax, '\0');
    const ssize_t size = ::lgetxattr(path.c_str(), xattr.c_str(), value.data(), value.size());
    if (size < 0) {
      if (errno == ENODATA || errno == ENOTSUP) continue;  // removed meanwhile, or not readable so
      return Status::FromErrno(errno, "read extended attribute " + xattr);
    }
    value.resize(static_cast<size_t>(size));
    xattrs[xattr] = std::move(value);
  }
  for (const auto& [xattr, value] : xattrs) {
    format::ExtendedAttribute* const added = entry->add_xattrs();
    added->set_name(xattr);
    added->set_value(value);
  }
  return {};
}

}  // namespace snapstore
