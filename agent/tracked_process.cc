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
#include "agent/remote_memory.h"
#include "agent/remote_userfaultfd.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// Read by one call.
constexpr uint64_t kRemoteReadBytes = 4 << 20;

}  // namespace

Result<std::unique_ptr<TrackedProcess>> TrackedProcess::Start(pid_t pid, bool watch) {
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd.valid()) return Status::FromErrno(errno, fmt::format("process {}", pid));
  std::unique_ptr<TrackedProcess> process;
  Status readied;
  SNAP_RETURN_IF_ERROR(MakeRemoteUserfaultfd(pid, [&](UniqueFd userfaultfd) {
    readied = EnableAsyncProtection(userfaultfd.get());
    const int inner_pid = InnerPid(pid);
    process.reset(new TrackedProcess(pid, inner_pid, std::move(pidfd), std::move(userfaultfd),
                                     fmt::format("pagemap-{}.img", inner_pid)));
    if (watch && readied.ok()) process->Scan();
  }));
  SNAP_RETURN_IF_ERROR(readied);
  return process;
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

Result<AddressSet> TrackedProcess::Watched() const {
  AddressSet pages;
  if (protected_.empty()) return pages;
  // What a device writes, a system call having asked for it earlier, the kernel does not note.
  SNAP_ASSIGN_OR_RETURN(const bool device_writes, HasAsynchronousIo(pid_));
  if (device_writes) return pages;
  SNAP_ASSIGN_OR_RETURN(const UniqueFd pagemap, OpenPagemap());
  for (const AddressRange& range : protected_.ranges()) {
    if (const int error = ScanPresent(pagemap.get(), range, &pages); error != 0) {
      return Status::FromErrno(error, fmt::format("scan memory of process {}", pid_));
    }
  }
  return pages;
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
  RemoteMemory memory(pid_);
  std::vector<iovec> remote;
  uint64_t bytes = 0;
  auto flush = [&]() -> Status {
    if (bytes == 0) return Status::Ok();
    const std::span<uint8_t> out = arena->Take(bytes);
    if (out.empty()) return arena->Full();
    SNAP_RETURN_IF_ERROR(memory.Read(remote, out));
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
      const uint64_t length = std::min(range.end - at, kRemoteReadBytes - bytes);
      void* const from = reinterpret_cast<void*>(at);  // NOLINT(performance-no-int-to-ptr)
      remote.push_back({from, length});
      bytes += length;
      at += length;
      if (bytes == kRemoteReadBytes || remote.size() == IOV_MAX) SNAP_RETURN_IF_ERROR(flush());
    }
  }
  return flush();
}

}  // namespace snapstore::agent
