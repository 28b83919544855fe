#include "orchestrator/localcloud/machine/loop_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

constexpr int kAttempts = 20;
constexpr size_t kPathMax = 4096;
// Two calls for one file must find one device.
std::mutex attach_mutex;

Result<dev_t> NumberOf(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return Status::FromErrno(errno, "stat " + path);
  return info.st_rdev;
}

}  // namespace

Result<std::vector<LoopDevice>> LoopsOf(const std::string& path) {
  std::vector<LoopDevice> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/block", error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("loop")) continue;
    const Result<Bytes> text = ReadWholeFile(entry.path() / "loop/backing_file", kPathMax);
    if (!text.ok()) continue;  // not in use
    std::string file(AsText(*text));
    while (file.ends_with('\n')) file.pop_back();
    // The kernel says so of files that are removed.
    constexpr std::string_view kDeleted = " (deleted)";
    if (file.ends_with(kDeleted)) file.resize(file.size() - kDeleted.size());
    if (file != path && !file.starts_with(path + "/")) continue;
    LoopDevice device{.path = "/dev/" + name, .file = file};
    SNAP_ASSIGN_OR_RETURN(device.number, NumberOf(device.path));
    found.push_back(std::move(device));
  }
  if (error) return Status::FromErrno(error.value(), "list /sys/block");
  return found;
}

Result<LoopDevice> AttachLoop(const std::string& file) {
  const std::lock_guard lock(attach_mutex);
  SNAP_ASSIGN_OR_RETURN(const auto existing, LoopsOf(file));
  if (!existing.empty()) return existing.front();
  SNAP_ASSIGN_OR_RETURN(const UniqueFd backing, OpenFile(file, O_RDWR));
  SNAP_ASSIGN_OR_RETURN(const UniqueFd control, OpenFile("/dev/loop-control", O_RDWR));
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return Status::FromErrno(errno, "find a free loop device");
    LoopDevice device{.path = fmt::format("/dev/loop{}", number), .file = file};
    SNAP_ASSIGN_OR_RETURN(const UniqueFd opened, OpenFile(device.path, O_RDWR));
    loop_config config{};
    config.fd = static_cast<uint32_t>(backing.get());
    std::strncpy(reinterpret_cast<char*>(config.info.lo_file_name), file.c_str(), LO_NAME_SIZE - 1);
    if (ioctl(opened.get(), LOOP_CONFIGURE, &config) == 0) {
      SNAP_ASSIGN_OR_RETURN(device.number, NumberOf(device.path));
      return device;
    }
    // Somebody else took it meanwhile.
    if (errno != EBUSY) return Status::FromErrno(errno, "attach " + file + " to " + device.path);
  }
  return Status::Io(fmt::format("attach {}: no loop device stays free", file));
}

Status DetachLoop(const LoopDevice& device, bool force) {
  if (!force) {
    // A mount holds the device exclusively.
    const Result<UniqueFd> alone = OpenFile(device.path, O_RDONLY | O_EXCL);
    if (!alone.ok()) {
      if (alone.status().error_number() == EBUSY) {
        return Status::Conflict(device.path + " is in use");
      }
      return alone.status();
    }
  }
  SNAP_ASSIGN_OR_RETURN(const UniqueFd opened, OpenFile(device.path, O_RDONLY));
  if (ioctl(opened.get(), LOOP_CLR_FD) != 0 && errno != ENXIO) {
    return Status::FromErrno(errno, "detach " + device.path);
  }
  return {};
}

}  // namespace snapstore::localcloud
