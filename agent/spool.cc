#include "agent/spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kSpoolAddressesMax = 16ull << 40;

Result<UniqueFd> UnnamedFile(const std::string& directory) {
  UniqueFd fd(open(directory.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (fd.valid()) return fd;
  // EISDIR: kernels before 3.11 take it for the directory itself.
  if (errno != EOPNOTSUPP && errno != EISDIR) {
    return Status::FromErrno(errno, fmt::format("make a file in {}", directory));
  }
  std::string path = directory + "/spool-XXXXXX";
  fd.Reset(mkostemp(path.data(), O_CLOEXEC));
  if (!fd.valid()) return Status::FromErrno(errno, fmt::format("make {}", path));
  if (unlink(path.c_str()) != 0) return Status::FromErrno(errno, fmt::format("remove {}", path));
  return fd;
}

}  // namespace

Result<std::unique_ptr<Spool>> Spool::Create(const SpoolOptions& options) {
  const std::string& directory = options.directory;
  const auto create = [&]() -> Result<std::unique_ptr<Spool>> {
    SNAP_RETURN_IF_ERROR(MakeDirectories(directory, 0700));
    SNAP_ASSIGN_OR_RETURN(UniqueFd fd, UnnamedFile(directory));
    struct statvfs system {};
    if (fstatvfs(fd.get(), &system) != 0) return Status::FromErrno(errno, directory);
    const uint64_t free = uint64_t{system.f_bavail} * system.f_frsize;
    const uint64_t limit = std::min(options.limit.value_or(free / 2), kSpoolAddressesMax);
    return std::unique_ptr<Spool>(
        new Spool(directory, std::move(fd), limit / kUnitBytes * kUnitBytes));
  };
  auto created = create();
  if (!created.ok()) return created.status().WithContext("spool");
  return created;
}

Status Spool::MapAt(void* address) {
  if (bytes_max_ == 0) return Status::Ok();
  if (mmap(address, bytes_max_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd_.get(), 0) ==
      MAP_FAILED) {
    return Status::FromErrno(errno, fmt::format("spool: map a file in {}", directory_));
  }
  lost_ = false;
  if (guard_ == nullptr) {
    SNAP_ASSIGN_OR_RETURN(guard_, BusGuard::Create(address, bytes_max_));
  }
  guard_->Reset();
  return Status::Ok();
}

Status Spool::ReadStatus() {
  // A page that could not be written is read back as if it had never been. This asks for errors of
  // what is on its way, and sends nothing.
  if (reserved_ != 0 && sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE) != 0) {
    lost_ = true;
  }
  if (lost_) return Status::Io(fmt::format("spool: the disk of {} cannot be written", directory_));
  if (guard_ == nullptr || !guard_->failed()) return Status::Ok();
  return Status::Io(fmt::format("spool: the disk of {} cannot be read", directory_));
}

Status Spool::Reserve(uint64_t bytes) {
  bytes = std::min((bytes + kUnitBytes - 1) / kUnitBytes * kUnitBytes, bytes_max_);
  if (bytes <= reserved_) return Status::Ok();
  const int error = posix_fallocate(fd_.get(), static_cast<off_t>(reserved_),
                                    static_cast<off_t>(bytes - reserved_));
  if (error != 0) {
    // What it got before it failed is for others.
    (void)!ftruncate(fd_.get(), static_cast<off_t>(reserved_));
    return Status::FromErrno(error, fmt::format("spool: reserve {} MiB in {} for a checkpoint",
                                                bytes >> 20, directory_));
  }
  reserved_ = bytes;
  return Status::Ok();
}

Status Spool::Write(uint64_t offset, ByteSpan bytes) const {
  SNAP_CHECK(offset <= reserved_ && bytes.size() <= reserved_ - offset);
  const Status written = PwriteFull(fd_.get(), bytes, offset, directory_);
  return written.ok() ? written : written.WithContext("spool: write");
}

}  // namespace snapstore::agent
