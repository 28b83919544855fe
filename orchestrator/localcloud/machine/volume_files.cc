#include "orchestrator/localcloud/machine/volume_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <set>
#include <sstream>

#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/machine/program.h"
#include "snapstore/inspect.h"
#include "snapstore/maintain.h"
#include "snapstore/reader.h"
#include "snapstore/restore.h"
#include "snapstore/snapshot.h"

namespace snapstore::localcloud {
namespace {

constexpr size_t kMountsMax = 4 << 20;

// Mount points of a device, as the process sees them (proc_pid_mountinfo(5)).
std::vector<std::string> MountPoints(pid_t pid, uint64_t number) {
  std::vector<std::string> points;
  const Result<Bytes> text = ReadWholeFile(fmt::format("/proc/{}/mountinfo", pid), kMountsMax);
  if (!text.ok()) return points;
  const std::string device = fmt::format("{}:{}", major(number), minor(number));
  std::istringstream lines{std::string(AsText(*text))};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, seen, root, point;
    words >> id >> parent >> seen >> root >> point;
    // A mount of a part of it is the same file system once more.
    if (seen == device && point.find('\\') == std::string::npos) points.push_back(point);
  }
  return points;
}

// Holes stay holes; the kernel copies.
Status CopySparse(int from, int to, uint64_t size, const std::string& name) {
  for (off_t at = 0; static_cast<uint64_t>(at) < size;) {
    const off_t data = lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0) return Status::FromErrno(errno, "seek " + name);
    const off_t end = lseek(from, data, SEEK_HOLE);
    if (end < 0) return Status::FromErrno(errno, "seek " + name);
    off_t in = data;
    off_t out = data;
    while (in < end) {
      const ssize_t copied = copy_file_range(from, &in, to, &out, static_cast<size_t>(end - in), 0);
      if (copied < 0 && errno == EINTR) continue;
      if (copied < 0) return Status::FromErrno(errno, "copy " + name);
      if (copied == 0) return Status::Io("copy " + name + ": it became shorter");
    }
    at = end;
  }
  return {};
}

void AddRange(uint64_t offset, uint64_t length, std::set<uint64_t>* blocks) {
  if (length == 0) return;
  const uint64_t last = (offset + length - 1) / VolumeFiles::kBlockBytes;
  for (uint64_t block = offset / VolumeFiles::kBlockBytes; block <= last; ++block) {
    blocks->insert(block);
  }
}

}  // namespace

Status FrozenMounts::Freeze(pid_t pid, uint64_t number) {
  for (const std::string& point : MountPoints(pid, number)) {
    SNAP_ASSIGN_OR_RETURN(UniqueFd folder, OpenFile(fmt::format("/proc/{}/root{}", pid, point),
                                                    O_RDONLY | O_DIRECTORY));
    if (ioctl(folder.get(), FIFREEZE, 0) == 0) {
      frozen_.push_back(folder.Release());
    } else if (errno != EBUSY) {  // frozen by way of another mount point
      return Status::FromErrno(errno, "freeze " + point);
    }
  }
  return {};
}

void FrozenMounts::Thaw() {
  for (const int fd : frozen_) {
    ioctl(fd, FITHAW, 0);
    close(fd);
  }
  frozen_.clear();
}

void FrozenMounts::ThawAll(pid_t pid, uint64_t number) {
  for (const std::string& point : MountPoints(pid, number)) {
    const Result<UniqueFd> folder =
        OpenFile(fmt::format("/proc/{}/root{}", pid, point), O_RDONLY | O_DIRECTORY);
    if (folder.ok()) ioctl((*folder).get(), FITHAW, 0);
  }
}

Result<std::unique_ptr<VolumeFiles>> VolumeFiles::Open(const std::string& folder) {
  std::unique_ptr<VolumeFiles> files(new VolumeFiles(folder));
  for (const char* name : {"/volumes", "/staging", "/cache"}) {
    SNAP_RETURN_IF_ERROR(MakeDirectories(folder + name, 0700));
  }
  RepositoryOptions options{.location = folder + "/repository", .cache_dir = folder + "/cache"};
  constexpr uint64_t kMemory = 256 << 20;
  options.memory_limit = kMemory;
  auto opened = Repository::Open(options);
  if (!opened.ok() && opened.status().Is(StatusCode::kNotFound)) {
    SNAP_RETURN_IF_ERROR(Repository::Init(options));
    opened = Repository::Open(options);
  }
  if (!opened.ok()) return opened.status().WithContext("the cloud's repository");
  files->repository_ = std::move(*opened);
  return files;
}

std::string VolumeFiles::Path(const std::string& volume_id) const {
  return fmt::format("{}/volumes/{}.img", folder_, volume_id);
}

std::string VolumeFiles::StagingFolder(const std::string& volume_id) const {
  return fmt::format("{}/staging/{}", folder_, volume_id);
}

Status VolumeFiles::Create(const std::string& volume_id, uint64_t bytes) const {
  const std::string path = Path(volume_id);
  {
    SNAP_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
    if (ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) {
      return Status::FromErrno(errno, "make " + path);
    }
  }
  // Tables and journal are left as holes: the file is zeros, nothing has to be written.
  return RunProgram({"mkfs.ext4", "-q", "-F", "-m", "0", "-E",
                     "nodiscard,lazy_itable_init=1,lazy_journal_init=1", path})
      .status();
}

Status VolumeFiles::Restore(const std::string& volume_id, const std::string& stored,
                            const std::string& source_id, uint64_t bytes) {
  const std::string path = Path(volume_id);
  (void)unlink(path.c_str());
  RestoreRequest request;
  request.snapshot_id = stored;
  request.paths = {StagingFolder(source_id) + "/volume"};
  request.to = path;
  SNAP_ASSIGN_OR_RETURN(const RestoreSummary summary,
                        RestoreSnapshot(*repository_, request, nullptr));
  if (summary.failed > 0) return Status::Corruption("snapshot " + stored + " cannot be read");
  if (truncate(path.c_str(), static_cast<off_t>(bytes)) != 0) {
    return Status::FromErrno(errno, "enlarge " + path);
  }
  return {};
}

Status VolumeFiles::GrowFileSystem(const std::string& volume_id) const {
  // e2fsck ends with 1 when it replayed the journal.
  return RunProgram({"sh", "-c",
                     "e2fsck -fy \"$1\" >/dev/null 2>&1; [ $? -le 1 ] && resize2fs \"$1\"", "sh",
                     Path(volume_id)})
      .status();
}

Status VolumeFiles::Remove(const std::string& volume_id) const {
  if (unlink(Path(volume_id).c_str()) != 0 && errno != ENOENT) {
    return Status::FromErrno(errno, "remove " + Path(volume_id));
  }
  std::error_code ignored;
  std::filesystem::remove_all(StagingFolder(volume_id), ignored);
  return {};
}

Status VolumeFiles::Capture(const std::string& volume_id, const std::string& snapshot_id) const {
  const std::string path = Path(volume_id);
  SNAP_ASSIGN_OR_RETURN(const UniqueFd from, OpenFile(path, O_RDONLY));
  struct stat info {};
  if (fstat(from.get(), &info) != 0) return Status::FromErrno(errno, "stat " + path);
  const std::string temporary = fmt::format("{}/staging/{}.new", folder_, snapshot_id);
  SNAP_ASSIGN_OR_RETURN(const UniqueFd to, OpenFile(temporary, O_RDWR | O_CREAT | O_TRUNC, 0600));
  if (ftruncate(to.get(), info.st_size) != 0) return Status::FromErrno(errno, "make " + temporary);
  if (ioctl(to.get(), FICLONE, from.get()) != 0) {
    SNAP_RETURN_IF_ERROR(
        CopySparse(from.get(), to.get(), static_cast<uint64_t>(info.st_size), path));
  }
  const std::string final_path = fmt::format("{}/staging/{}.img", folder_, snapshot_id);
  if (rename(temporary.c_str(), final_path.c_str()) != 0) {
    return Status::FromErrno(errno, "rename " + temporary);
  }
  return {};
}

bool VolumeFiles::IsCaptured(const std::string& snapshot_id) const {
  return access(fmt::format("{}/staging/{}.img", folder_, snapshot_id).c_str(), F_OK) == 0;
}

void VolumeFiles::Discard(const std::string& snapshot_id) const {
  for (const char* suffix : {".img", ".new"}) {
    (void)unlink(fmt::format("{}/staging/{}{}", folder_, snapshot_id, suffix).c_str());
  }
}

Result<std::string> VolumeFiles::Store(const std::string& volume_id, const std::string& snapshot_id,
                                       const std::string& parent) {
  const std::lock_guard lock(store_mutex_);
  SNAP_RETURN_IF_ERROR(MakeDirectories(StagingFolder(volume_id), 0700));
  const std::string captured = fmt::format("{}/staging/{}.img", folder_, snapshot_id);
  const std::string path = StagingFolder(volume_id) + "/volume";
  if (rename(captured.c_str(), path.c_str()) != 0) {
    return Status::FromErrno(errno, "rename " + captured);
  }
  SnapshotRequest request;
  request.paths = {path};
  request.tags = {{"ebs-snapshot", snapshot_id}, {"volume", volume_id}};
  request.parent = parent.empty() ? "none" : parent;
  request.profile = Profile::kAligned;
  const Result<SnapshotSummary> taken = TakeSnapshot(*repository_, request, nullptr);
  if (taken.ok() && (*taken).info.unreadable == 0) {
    (void)unlink(path.c_str());
    return (*taken).info.id;
  }
  // To be tried again.
  (void)rename(path.c_str(), captured.c_str());
  return taken.ok() ? Status::Io(path + " could not be read") : taken.status();
}

Status VolumeFiles::Forget(const std::string& stored) {
  const std::lock_guard lock(store_mutex_);
  SNAP_RETURN_IF_ERROR(ForgetSnapshots(*repository_, {stored}, nullptr).status());
  return PruneRepository(*repository_, {}, nullptr).status();
}

Result<std::vector<uint64_t>> VolumeFiles::Blocks(const std::string& stored,
                                                  const std::string& volume_id) {
  SNAP_ASSIGN_OR_RETURN(const auto reader, SnapshotReader::Open(*repository_, stored));
  SNAP_ASSIGN_OR_RETURN(const auto content,
                        reader->OpenContent((StagingFolder(volume_id) + "/volume").substr(1)));
  std::set<uint64_t> blocks;
  for (uint64_t at = 0; at < content->size();) {
    uint64_t begin = 0;
    uint64_t end = 0;
    SNAP_RETURN_IF_ERROR(content->NextData(at, &begin, &end));
    AddRange(begin, end - begin, &blocks);
    if (begin >= content->size()) break;
    at = end;
  }
  return std::vector<uint64_t>(blocks.begin(), blocks.end());
}

Result<std::vector<uint64_t>> VolumeFiles::ChangedBlocks(const std::string& before,
                                                         const std::string& after,
                                                         const std::string& volume_id) {
  std::set<uint64_t> blocks;
  const std::string path = (StagingFolder(volume_id) + "/volume").substr(1);
  const auto visit = [&](const DiffEntry& entry) -> Status {
    if (entry.path != path) return {};
    for (const ByteRange& range : entry.ranges) AddRange(range.offset, range.length, &blocks);
    return {};
  };
  SNAP_RETURN_IF_ERROR(DiffSnapshots(*repository_, before, after, visit, nullptr).status());
  return std::vector<uint64_t>(blocks.begin(), blocks.end());
}

Result<Bytes> VolumeFiles::ReadBlock(const std::string& stored, const std::string& volume_id,
                                     uint64_t index) {
  SNAP_ASSIGN_OR_RETURN(const auto reader, SnapshotReader::Open(*repository_, stored));
  SNAP_ASSIGN_OR_RETURN(const auto content,
                        reader->OpenContent((StagingFolder(volume_id) + "/volume").substr(1)));
  Bytes bytes(kBlockBytes);
  const uint64_t offset = index * kBlockBytes;
  if (offset >= content->size()) return bytes;
  const uint64_t length = std::min<uint64_t>(kBlockBytes, content->size() - offset);
  SNAP_RETURN_IF_ERROR(content->ReadAt(offset, MutableByteSpan(bytes).first(length)));
  return bytes;
}

}  // namespace snapstore::localcloud
