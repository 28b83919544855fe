#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/internal/request_step.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

std::string FolderOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status WriteAndSync(const UniqueFd& file, ByteSpan bytes, std::string_view name) {
  SNAP_RETURN_IF_ERROR(WriteFull(file.get(), bytes, name));
  return SyncFd(file.get(), name);
}

}  // namespace

Result<UniqueFd> OpenFile(const std::string& path, int flags, mode_t mode) {
  for (;;) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EINTR) return Status::FromErrno(errno, fmt::format("open {}", path));
  }
}

Result<size_t> PreadFull(int fd, MutableByteSpan out, uint64_t offset, std::string_view name) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got > 0) {
      done += static_cast<size_t>(got);
    } else if (errno == EINVAL && done > 0 && internal::IsPastEnd(fd, offset + done)) {
      break;
    } else if (errno != EINTR) {
      return Status::FromErrno(errno, fmt::format("read {} at {}", name, offset + done));
    }
  }
  return done;
}

Result<size_t> ReadFull(int fd, MutableByteSpan out, std::string_view name) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::read(fd, out.data() + done, out.size() - done);
    if (got == 0) break;
    if (got > 0) {
      done += static_cast<size_t>(got);
    } else if (errno != EINTR) {
      return Status::FromErrno(errno, fmt::format("read {}", name));
    }
  }
  return done;
}

Status PwriteFull(int fd, ByteSpan bytes, uint64_t offset, std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      return Status::FromErrno(put == 0 ? EIO : errno, fmt::format("write {} at {}", name, offset));
    }
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return Status::Ok();
}

Status WriteFull(int fd, ByteSpan bytes, std::string_view name) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return Status::FromErrno(put == 0 ? EIO : errno, fmt::format("write {}", name));
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return Status::Ok();
}

int PwriteParts(int fd, std::span<const ByteSpan> parts, uint64_t offset) {
  std::vector<iovec> vectors;
  vectors.reserve(parts.size());
  for (const ByteSpan part : parts) {
    if (!part.empty()) vectors.push_back({const_cast<uint8_t*>(part.data()), part.size()});
  }
  for (size_t next = 0; next < vectors.size();) {
    const size_t count = std::min<size_t>(vectors.size() - next, IOV_MAX);
    const ssize_t put =
        ::pwritev(fd, &vectors[next], static_cast<int>(count), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return put == 0 ? EIO : errno;
    offset += static_cast<uint64_t>(put);
    for (auto left = static_cast<size_t>(put); left > 0;) {
      iovec& vector = vectors[next];
      const size_t taken = std::min(left, vector.iov_len);
      vector.iov_base = static_cast<uint8_t*>(vector.iov_base) + taken;
      vector.iov_len -= taken;
      left -= taken;
      if (vector.iov_len == 0) ++next;
    }
  }
  return 0;
}

Result<Bytes> ReadWholeFile(const std::string& path, size_t bytes_max) {
  constexpr size_t kStep = size_t{64} << 10;
  SNAP_ASSIGN_OR_RETURN(UniqueFd file, OpenFile(path, O_RDONLY));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0)
    return Status::FromErrno(errno, fmt::format("stat {}", path));
  const uint64_t size = info.st_size > 0 ? static_cast<uint64_t>(info.st_size) : 0;
  const auto too_long = [&] {
    return Status::InvalidArgument(fmt::format("{} is longer than {} bytes", path, bytes_max));
  };
  if (size > bytes_max) return too_long();

  // The size is a hint only: files in /proc say 0, others may grow meanwhile.
  Bytes bytes;
  for (size_t done = 0;;) {
    bytes.resize(done + std::max<size_t>(kStep, size > done ? size - done + 1 : 0));
    const MutableByteSpan rest = MutableByteSpan(bytes).subspan(done);
    SNAP_ASSIGN_OR_RETURN(const size_t got, ReadFull(file.get(), rest, path));
    done += got;
    if (done > bytes_max) return too_long();
    if (got < rest.size()) {
      bytes.resize(done);
      return bytes;
    }
  }
}

Status ReplaceFile(const std::string& path, ByteSpan bytes, mode_t mode) {
  uint8_t random[8];
  SecureRandom(random);
  const std::string temporary = fmt::format("{}.new-{}", path, HexEncode(random));
  SNAP_ASSIGN_OR_RETURN(UniqueFd file, OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
  Status status = WriteAndSync(file, bytes, temporary);
  file.Reset();
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    status = Status::FromErrno(errno, fmt::format("rename {} to {}", temporary, path));
  }
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  return SyncDirectory(FolderOf(path));
}

Status SyncFd(int fd, std::string_view name) {
  while (::fsync(fd) != 0) {
    if (errno == EINVAL) break;
    if (errno != EINTR) return Status::FromErrno(errno, fmt::format("fsync {}", name));
  }
  return Status::Ok();
}

Status SyncDirectory(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(UniqueFd folder, OpenFile(path, O_RDONLY | O_DIRECTORY));
  return SyncFd(folder.get(), path);
}

Status MakeDirectories(const std::string& path, mode_t mode) {
  if (path.empty()) return Status::InvalidArgument("make directory: the path is empty");
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), mode) == 0) {
      SNAP_RETURN_IF_ERROR(SyncDirectory(FolderOf(part)));
    } else if (errno != EEXIST) {
      // A parent that cannot be written may be there all the same (a read-only file system).
      const int error_number = errno;
      struct stat info {};
      if (::stat(part.c_str(), &info) != 0) {
        return Status::FromErrno(error_number, fmt::format("make directory {}", part));
      }
    }
    if (end == std::string::npos) break;
  }
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    return Status::FromErrno(errno, fmt::format("stat {}", path));
  if (!S_ISDIR(info.st_mode)) {
    return Status::InvalidArgument(fmt::format("make directory {}: a file is in the way", path));
  }
  return Status::Ok();
}

}  // namespace snapstore
