#include "tools/snapstore/mount/mount_point.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <sstream>

#include "base/file.h"
#include "base/status_macros.h"

extern char** environ;  // NOLINT: POSIX's, for posix_spawn

namespace snapstore::cli {
namespace {

constexpr size_t kMountsBytesMax = 64 << 20;

// mountinfo writes space, tab, newline and backslash as three octal digits.
std::string UnescapeMountPath(const std::string& field) {
  std::string out;
  for (size_t i = 0; i < field.size(); ++i) {
    int code = 0;
    if (field[i] == '\\' && i + 3 < field.size() &&
        std::from_chars(&field[i + 1], &field[i + 4], code, 8).ptr == &field[i + 4]) {
      out += static_cast<char>(code);
      i += 3;
    } else {
      out += field[i];
    }
  }
  return out;
}

// Runs fusermount3, which may unmount what its user mounted.
Status RunFusermount(const std::string& directory) {
  std::string program = "fusermount3";
  std::string options = "-uzq";
  std::string separator = "--";
  std::string path = directory;
  char* const arguments[] = {program.data(), options.data(), separator.data(), path.data(),
                             nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, "fusermount3", nullptr, nullptr, arguments, environ);
  if (error != 0) return Status::FromErrno(error, "fusermount3");
  int state = 0;
  while (waitpid(child, &state, 0) < 0) {
    if (errno != EINTR) return Status::FromErrno(errno, "fusermount3");
  }
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return {};
  return Status::PermissionDenied("fusermount3 could not unmount " + directory);
}

Status ReplaceDeadMount(const std::string& directory, bool* replaced) {
  SNAP_ASSIGN_OR_RETURN(const MountEntry mounted, MountAt(directory));
  if (mounted.type != kMountType) {
    return Status::Conflict(directory +
                            " is a mount whose program is gone, and not one of snapstore" +
                            (mounted.type.empty() ? "" : ": " + mounted.type));
  }
  SNAP_RETURN_IF_ERROR(DetachMount(directory).WithContext("dead mount"));
  *replaced = true;
  return {};
}

}  // namespace

MountEntry FindMount(std::string_view mountinfo, const std::string& directory) {
  MountEntry found;
  std::istringstream lines{std::string(mountinfo)};
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string skip;
    std::string device;
    std::string path;
    fields >> skip >> skip >> device >> skip >> path;
    if (UnescapeMountPath(path) != directory) continue;
    for (std::string field; fields >> field && field != "-";) {
    }
    found.device = device;
    found.type.clear();
    fields >> found.type;
  }
  return found;
}

Result<MountEntry> MountAt(const std::string& directory) {
  SNAP_ASSIGN_OR_RETURN(const Bytes mounts, ReadWholeFile("/proc/self/mountinfo", kMountsBytesMax));
  return FindMount(AsText(mounts), directory);
}

Status CheckFuseDevice() {
  const int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd >= 0) {
    close(fd);
    return {};
  }
  switch (errno) {
    case ENOENT:
      return Status::Unsupported(
          "there is no /dev/fuse here: mounting needs the kernel's fuse module, and in a container "
          "this device");
    case ENODEV:
    case ENXIO:
      return Status::Unsupported("/dev/fuse: the kernel has no FUSE; load the module 'fuse'");
    default:
      return Status::FromErrno(errno, "/dev/fuse");
  }
}

Status DetachMount(const std::string& directory) {
  if (umount2(directory.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return {};
  if (errno == EINVAL) return {};  // no mount
  if (errno != EPERM) return Status::FromErrno(errno, "unmount " + directory);
  return RunFusermount(directory);
}

Result<std::string> PrepareMountPoint(const std::string& directory, bool* replaced) {
  *replaced = false;
  // The last component of a dead mount cannot be resolved, but what leads to it can.
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(directory, error);
  if (error || directory.empty()) {
    return Status::InvalidArgument("'" + directory + "' is no directory");
  }
  std::filesystem::path lexical = absolute.lexically_normal();
  if (!lexical.has_filename()) lexical = lexical.parent_path();
  std::string path =
      (std::filesystem::weakly_canonical(lexical.parent_path(), error) / lexical.filename())
          .native();
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 && errno == ENOTCONN) {
    SNAP_RETURN_IF_ERROR(ReplaceDeadMount(path, replaced));
  }
  if (stat(path.c_str(), &info) != 0) return Status::FromErrno(errno, path);
  if (!S_ISDIR(info.st_mode)) return Status::InvalidArgument(path + " is no directory");
  const std::filesystem::path canonical = std::filesystem::canonical(path, error);
  if (!error) path = canonical.native();
  SNAP_ASSIGN_OR_RETURN(const MountEntry mounted, MountAt(path));
  if (mounted.type == kMountType) {
    return Status::Conflict("a repository is mounted at " + path + " already");
  }
  const std::filesystem::directory_iterator first(path, error);
  if (error) return Status::FromErrno(error.value(), path);
  if (first != std::filesystem::directory_iterator()) {
    return Status::InvalidArgument(path + " is not empty");
  }
  return path;
}

void SetKernelReadAhead(const std::string& directory, uint64_t bytes) {
  const Result<MountEntry> mounted = MountAt(directory);
  if (!mounted.ok() || mounted->type != kMountType) return;
  const std::string knob = "/sys/class/bdi/" + mounted->device + "/read_ahead_kb";
  const Result<UniqueFd> file = OpenFile(knob, O_WRONLY);
  if (!file.ok()) return;
  (void)WriteFull(file->get(), AsBytes(std::to_string(bytes >> 10)), knob);
}

}  // namespace snapstore::cli
