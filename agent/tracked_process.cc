#include "agent/tracked_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "agent/page_scan.h"
#include "agent/process_tree.h"
#include "agent/remote_userfaultfd.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// Read by one call.
constexpr uint64_t kReadBytes = 4 << 20;

// One call's worth of remote memory, and what of it could not be read that way.
class RemoteReader {
 public:
  explicit RemoteReader(pid_t pid) : pid_(pid) {}

  Status Fill(std::span<const iovec> remote, std::span<uint8_t> out) {
    while (!remote.empty()) {
      const iovec local{out.data(), out.size()};
      const ssize_t got =
          process_vm_readv(pid_, &local, 1, remote.data(), remote.size(), /*flags=*/0);
      if (got < 0 && errno != EFAULT) {
        return Status::FromErrno(errno, fmt::format("read memory of process {}", pid_));
      }
      uint64_t done = got < 0 ? 0 : static_cast<uint64_t>(got);
      out = out.subspan(done);
      while (!remote.empty() && done >= remote.front().iov_len) {
        done -= remote.front().iov_len;
        remote = remote.subspan(1);
      }
      if (remote.empty()) break;
      // Protected even against reading: that way the rest of this part is not to be had.
      const uint64_t address = reinterpret_cast<uint64_t>(remote.front().iov_base) + done;
      const uint64_t rest = remote.front().iov_len - done;
      SNAP_RETURN_IF_ERROR(ReadByForce(address, out.first(rest)));
      out = out.subspan(rest);
      remote = remote.subspan(1);
    }
    return Status::Ok();
  }

 private:
  Status ReadByForce(uint64_t address, std::span<uint8_t> out) {
    const std::string path = fmt::format("/proc/{}/mem", pid_);
    if (!memory_.valid()) {
      SNAP_ASSIGN_OR_RETURN(memory_, OpenFile(path, O_RDONLY));
    }
    SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(memory_.get(), out, address, path));
    if (got == out.size()) return Status::Ok();
    return Status::Io(fmt::format("{}: ends at {:x}", path, address + got));
  }

  const pid_t pid_;
  UniqueFd memory_;
};

}  // namespace

Result<std::unique_ptr<TrackedProcess>> TrackedProcess::Start(pid_t pid) {
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return Status::FromErrno(errno, fmt::format("process {}", pid));
  SNAP_ASSIGN_OR_RETURN(UniqueFd userfaultfd, TakeRemoteUserfaultfd(pid));
  SNAP_RETURN_IF_ERROR(EnableAsyncProtection(userfaultfd.get()));
  std::string name = fmt::format("pagemap-{}.img", InnerPid(pid));
  return std::unique_ptr<TrackedProcess>(
      new TrackedProcess(pid, std::move(pidfd), std::move(userfaultfd), std::move(name)));
}

bool TrackedProcess::IsAlive() const {
  pollfd fd{pidfd_.get(), POLLIN, 0};
  return poll(&fd, 1, 0) == 0;
}

Result<UniqueFd> TrackedProcess::OpenPagemap() const {
  return OpenFile(fmt::format("/proc/{}/pagemap", pid_), O_RDONLY);
}

void TrackedProcess::Scan() {
  if (ScanAll().ok() && IsAlive()) return;
  DropBase();
}

Status TrackedProcess::ScanAll() {
  SNAP_ASSIGN_OR_RETURN(const std::vector<AddressRange> mappings, PrivateAnonymousMappings(pid_));
  SNAP_ASSIGN_OR_RETURN(const UniqueFd pagemap, OpenPagemap());
  AddressSet written;
  AddressSet watched;  // since the last scan
  AddressSet protected_now;
  for (const AddressRange& mapping : mappings) {
    int error = ScanMapping(pagemap.get(), mapping, ScanMode::kProtect, &written);
    if (error == 0) watched.Append(mapping.begin, mapping.end);
    if (error == EPERM) {
      // New to us. The second scan fails if this was not the memory the descriptor is of.
      AddressSet all;
      error = RegisterMapping(userfaultfd_.get(), mapping);
      if (error == ESRCH) stale_ = true;
      if (error == 0) error = ScanMapping(pagemap.get(), mapping, ScanMode::kProtect, &all);
    }
    if (error == 0) protected_now.Append(mapping.begin, mapping.end);
  }
  carried_ += written.bytes();
  base_ = base_.Intersect(watched).Subtract(written);
  protected_ = std::move(protected_now);
  return Status::Ok();
}

Result<uint64_t> TrackedProcess::DirtyBytes() const {
  SNAP_ASSIGN_OR_RETURN(const UniqueFd pagemap, OpenPagemap());
  uint64_t bytes = 0;
  if (const int error = CountWritten(pagemap.get(), &bytes); error != 0) {
    return Status::FromErrno(error, fmt::format("scan memory of process {}", pid_));
  }
  return bytes + carried_;
}

Status TrackedProcess::Read(const AddressSet& pages, Arena* arena, ArenaFile* file) const {
  RemoteReader reader(pid_);
  std::vector<iovec> remote;
  uint64_t bytes = 0;
  auto flush = [&]() -> Status {
    if (bytes == 0) return Status::Ok();
    const std::span<uint8_t> out = arena->Take(bytes);
    if (out.empty()) return arena->Full();
    SNAP_RETURN_IF_ERROR(reader.Fill(remote, out));
    if (!file->parts.empty() &&
        file->parts.back().data() + file->parts.back().size() == out.data()) {
      std::span<uint8_t>& last = file->parts.back();
      last = {last.data(), last.size() + out.size()};
    } else {
      file->parts.push_back(out);
    }
    remote.clear();
    bytes = 0;
    return Status::Ok();
  };
  for (const AddressRange& range : pages.ranges()) {
    for (uint64_t at = range.begin; at < range.end;) {
      const uint64_t length = std::min(range.end - at, kReadBytes - bytes);
      remote.push_back({reinterpret_cast<void*>(at), length});
      bytes += length;
      at += length;
      if (bytes == kReadBytes || remote.size() == IOV_MAX) SNAP_RETURN_IF_ERROR(flush());
    }
  }
  return flush();
}

}  // namespace snapstore::agent
