#include "uploader/internal/directory_doctor.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <filesystem>

namespace snapstore::internal {
namespace {

using Grade = Diagnosis::Grade;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kFreeMin = 1024 * kMiB;
// Below them a mount of EFS gets a fraction of its throughput.
constexpr uint64_t kTransferMin = 256 << 10;

Diagnosis DiagnoseSpace(const std::string& path) {
  Diagnosis out{.subject = "space"};
  struct statvfs space {};
  if (::statvfs(path.c_str(), &space) != 0) {
    out.grade = Grade::kFailure;
    out.text = Status::FromErrno(errno, "statvfs " + path).message();
    return out;
  }
  const uint64_t free = static_cast<uint64_t>(space.f_bavail) * space.f_frsize;
  const uint64_t total = static_cast<uint64_t>(space.f_blocks) * space.f_frsize;
  out.text = fmt::format("{} MiB of {} MiB free", free / kMiB, total / kMiB);
  out.facts = {{"free", static_cast<int64_t>(free)}, {"total", static_cast<int64_t>(total)}};
  if (free < kFreeMin || space.f_favail == 0) {
    out.grade = free == 0 ? Grade::kFailure : Grade::kWarning;
    if (space.f_favail == 0 && space.f_files != 0) out.text += ", but no inodes";
  }
  return out;
}

// The mount that `path` lies on: the last of those that come nearest to it.
const MountEntry* MountOf(const std::vector<MountEntry>& mounts, const std::string& path) {
  const MountEntry* found = nullptr;
  for (const MountEntry& mount : mounts) {
    const std::string& point = mount.mount_point;
    const bool below = path.starts_with(point) &&
                       (path.size() == point.size() || point == "/" || path[point.size()] == '/');
    if (below && (found == nullptr || point.size() >= found->mount_point.size())) found = &mount;
  }
  return found;
}

}  // namespace

Diagnosis DiagnoseMount(const MountEntry& mount) {
  Diagnosis out{.subject = "mount",
                .text = fmt::format("{} ({} on {})", mount.mount_point, mount.type, mount.source),
                .facts = {{"type", mount.type}, {"options", mount.options}}};
  const auto note = [&out](const std::string& text) {
    out.grade = Grade::kWarning;
    out.text += "; " + text;
  };
  if (!mount.type.starts_with("nfs") && mount.type != "efs") return out;
  if (mount.HasOption("soft") || mount.HasOption("softerr")) {
    note("mounted soft: a server that is slow for a while gives I/O errors; mount it hard");
  }
  if (mount.HasOption("noac") || mount.HasOption("sync")) {
    note("mounted noac or sync: every call waits for the server, and nothing here needs that");
  }
  if (mount.OptionValue("vers").starts_with("3")) note("NFS 3: use 4.1, as EFS does");
  for (const char* name : {"rsize", "wsize"}) {
    const std::string value = mount.OptionValue(name);
    if (!value.empty() && value.size() < 8 && std::stoull("0" + value) < kTransferMin) {
      note(fmt::format("{}={} is small: 1048576 is what EFS asks for", name, value));
    }
  }
  return out;
}

void DiagnoseDirectory(const std::string& path, const DiagnosisSink& sink) {
  sink(DiagnoseSpace(path));
  std::error_code error;
  const std::string real = std::filesystem::canonical(path, error).string();
  const Result<std::vector<MountEntry>> mounts = ReadMountTable();
  const MountEntry* const mount = mounts.ok() && !error ? MountOf(*mounts, real) : nullptr;
  if (mount != nullptr) sink(DiagnoseMount(*mount));
}

}  // namespace snapstore::internal
