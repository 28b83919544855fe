#include "engine/restore_metadata.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr mode_t kModeBits = 07777;
constexpr size_t kAttributeListBytesMax = 64 << 10;  // XATTR_LIST_MAX

// One file, by descriptor where the kernel takes it; an O_PATH descriptor goes by its /proc name,
// which leads to the very same object, a symlink included.
class Object {
 public:
  Object(int fd, bool path_only)
      : fd_(fd), proc_path_(path_only ? "/proc/self/fd/" + std::to_string(fd) : std::string()) {}

  int Chown(uid_t uid, gid_t gid) const { return ::fchownat(fd_, "", uid, gid, AT_EMPTY_PATH); }
  int Chmod(mode_t mode) const {
    return proc_path_.empty() ? ::fchmod(fd_, mode) : ::chmod(proc_path_.c_str(), mode);
  }
  int SetTimes(const timespec (&times)[2]) const {
    return proc_path_.empty() ? ::futimens(fd_, times) : ::utimensat(fd_, "", times, AT_EMPTY_PATH);
  }
  ssize_t List(char* out, size_t size) const {
    return proc_path_.empty() ? ::flistxattr(fd_, out, size)
                              : ::listxattr(proc_path_.c_str(), out, size);
  }
  int Set(const std::string& name, const std::string& value) const {
    return proc_path_.empty()
               ? ::fsetxattr(fd_, name.c_str(), value.data(), value.size(), 0)
               : ::setxattr(proc_path_.c_str(), name.c_str(), value.data(), value.size(), 0);
  }
  int Remove(const std::string& name) const {
    return proc_path_.empty() ? ::fremovexattr(fd_, name.c_str())
                              : ::removexattr(proc_path_.c_str(), name.c_str());
  }

 private:
  const int fd_;
  const std::string proc_path_;
};

// ACLs that a directory handed down and attributes of the file that was there before.
// Sets `mode_known` to false when that may have changed the mode.
Status RemoveForeignAttributes(const Object& object, const Entry& entry, bool* mode_known) {
  const ssize_t size = object.List(nullptr, 0);
  if (size <= 0) return {};  // none, or a file system that has no attributes
  std::vector<char> names(kAttributeListBytesMax);
  const ssize_t got = object.List(names.data(), names.size());
  if (got < 0) return Status::FromErrno(errno, "list extended attributes");
  std::string_view rest(names.data(), static_cast<size_t>(got));
  while (!rest.empty()) {
    const std::string name(rest.substr(0, rest.find('\0')));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    // What security modules keep there is theirs.
    const bool ours = name.starts_with("user.") || name.starts_with("system.posix_acl_") ||
                      name == "security.capability";
    if (!ours || entry.xattrs.contains(name)) continue;
    *mode_known = false;
    if (object.Remove(name) != 0 && errno != ENODATA) {
      return Status::FromErrno(errno, "remove extended attribute " + name);
    }
  }
  return {};
}

Status SetAttributes(const Object& object, const Entry& entry, bool* mode_known) {
  if (!entry.xattrs.empty()) *mode_known = false;  // an ACL, or file capabilities
  SNAP_RETURN_IF_ERROR(RemoveForeignAttributes(object, entry, mode_known));
  // ACLs last: they may take away the right to write the others.
  for (const bool acls : {false, true}) {
    for (const auto& [name, value] : entry.xattrs) {
      if (name.starts_with("system.") != acls) continue;
      if (object.Set(name, value) != 0) {
        return Status::FromErrno(errno, "set extended attribute " + name);
      }
    }
  }
  return {};
}

}  // namespace

Status ApplyMetadata(int fd, bool path_only, const Entry& entry) {
  const Object object(fd, path_only);
  struct stat now;
  if (::fstatat(fd, "", &now, AT_EMPTY_PATH) != 0) return Status::FromErrno(errno, "stat");
  Status first_failure;
  const auto note = [&first_failure](const Status& status) {
    if (first_failure.ok()) first_failure = status;
  };
  mode_t mode = entry.mode & kModeBits;
  // Before the mode, since a change of owner drops setuid, setgid and capabilities.
  const bool foreign = now.st_uid != entry.uid || now.st_gid != entry.gid;
  bool mode_known = !foreign;
  if (foreign && object.Chown(entry.uid, entry.gid) != 0) {
    const int error_number = errno;
    mode &= ~static_cast<mode_t>(S_ISUID | S_ISGID);
    if (error_number != EPERM || ::geteuid() == 0) {
      note(Status::FromErrno(error_number, "change owner"));
    }
  }
  note(SetAttributes(object, entry, &mode_known));
  if (entry.type != EntryType::kSymlink) {
    if (!mode_known && ::fstatat(fd, "", &now, AT_EMPTY_PATH) != 0) {
      note(Status::FromErrno(errno, "stat"));
    }
    if ((now.st_mode & kModeBits) != mode && object.Chmod(mode) != 0) {
      note(Status::FromErrno(errno, "change mode"));
    }
  }
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, ToTimespec(entry.mtime_ns)};
  if (object.SetTimes(times) != 0) note(Status::FromErrno(errno, "set times"));
  return first_failure;
}

}  // namespace snapstore
