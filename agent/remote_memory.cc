#include "agent/remote_memory.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <string>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {

Status RemoteMemory::Read(std::span<const iovec> parts, std::span<uint8_t> out) {
  while (!parts.empty()) {
    const iovec local{out.data(), out.size()};
    const ssize_t got = process_vm_readv(pid_, &local, 1, parts.data(), parts.size(), /*flags=*/0);
    if (got < 0 && errno != EFAULT) {
      return Status::FromErrno(errno, fmt::format("read memory of process {}", pid_));
    }
    uint64_t done = got < 0 ? 0 : static_cast<uint64_t>(got);
    out = out.subspan(done);
    while (!parts.empty() && done >= parts.front().iov_len) {
      done -= parts.front().iov_len;
      parts = parts.subspan(1);
    }
    if (parts.empty()) break;
    // Protected even against reading: that way the rest of this part is not to be had.
    const uint64_t address = reinterpret_cast<uint64_t>(parts.front().iov_base) + done;
    const uint64_t rest = parts.front().iov_len - done;
    SNAP_RETURN_IF_ERROR(ReadByForce(address, out.first(rest)));
    out = out.subspan(rest);
    parts = parts.subspan(1);
  }
  return Status::Ok();
}

Status RemoteMemory::ReadByForce(uint64_t address, std::span<uint8_t> out) {
  const std::string path = fmt::format("/proc/{}/mem", pid_);
  if (!memory_.valid()) {
    SNAP_ASSIGN_OR_RETURN(memory_, OpenFile(path, O_RDONLY));
  }
  SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(memory_.get(), out, address, path));
  if (got == out.size()) return Status::Ok();
  return Status::Io(fmt::format("{}: ends at {:x}", path, address + got));
}

}  // namespace snapstore::agent
