#include "agent/log_keeper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr int kLookMillis = 1000;
constexpr int kLogNice = 10;
constexpr uint64_t kLogCopyBytes = 1 << 20;
constexpr uint64_t kBlockBytesMin = 4096;

std::string OldName(const std::string& path, size_t number) {
  return fmt::format("{}.{}", path, number);
}

Status CopyRange(int from, int to, uint64_t begin, uint64_t end, const std::string& name) {
  Bytes buffer(kLogCopyBytes);
  for (uint64_t at = begin; at < end;) {
    const MutableByteSpan piece(buffer.data(), std::min(end - at, kLogCopyBytes));
    SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(from, piece, at, name));
    if (got == 0) return Status::Io(fmt::format("{}: has become shorter meanwhile", name));
    SNAP_RETURN_IF_ERROR(WriteFull(to, ByteSpan(buffer.data(), got), name));
    at += got;
  }
  return Status::Ok();
}

// Takes [0, end) away, as a whole or as content.
Status DropBeginning(int fd, uint64_t end, const std::string& path) {
  const auto length = static_cast<off_t>(end);
  if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, length) == 0) return Status::Ok();
  if (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS) {
    return Status::FromErrno(errno, fmt::format("cut {}", path));
  }
  if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, length) == 0) {
    return Status::Ok();
  }
  if (errno == EOPNOTSUPP || errno == ENOSYS) {
    return Status::Unsupported(
        fmt::format("cut {}: its file system can take nothing away from a file's beginning", path));
  }
  return Status::FromErrno(errno, fmt::format("cut {}", path));
}

Status SaveBeginning(int fd, const struct stat& info, uint64_t begin, uint64_t end,
                     const std::string& path, const std::string& copy) {
  SNAP_ASSIGN_OR_RETURN(const UniqueFd out,
                        OpenFile(copy, O_WRONLY | O_CREAT | O_TRUNC, info.st_mode & 0777));
  (void)!fchown(out.get(), info.st_uid, info.st_gid);
  SNAP_RETURN_IF_ERROR(CopyRange(fd, out.get(), begin, end, path));
  return SyncFd(out.get(), copy);
}

Status Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return Status::Ok();
  return Status::FromErrno(errno, fmt::format("rename {}", from));
}

}  // namespace

Status ShiftOldLogs(const std::string& path, size_t keep) {
  for (size_t number = keep; number > 1; --number) {
    Status moved = Rename(OldName(path, number - 1), OldName(path, number));
    if (!moved.ok() && !moved.Is(StatusCode::kNotFound)) return moved;
  }
  return Status::Ok();
}

Result<bool> CutHeldLog(const std::string& path, uint64_t bytes_max, size_t keep) {
  const auto opened = OpenFile(path, O_RDWR);
  if (opened.status().Is(StatusCode::kNotFound)) return false;
  SNAP_RETURN_IF_ERROR(opened.status());
  const int fd = opened->get();
  struct stat info {};
  struct statfs system {};
  if (fstat(fd, &info) != 0 || fstatfs(fd, &system) != 0) return Status::FromErrno(errno, path);
  if (!S_ISREG(info.st_mode)) return false;
  const auto size = static_cast<uint64_t>(info.st_size);
  // Of an earlier cut there may be a hole.
  const uint64_t begin = static_cast<uint64_t>(std::max<off_t>(lseek(fd, 0, SEEK_DATA), 0));
  if (size == 0 || size - begin < bytes_max) return false;
  const uint64_t block = std::max<uint64_t>(static_cast<uint64_t>(system.f_bsize), kBlockBytesMin);
  // Something has to stay.
  const uint64_t end = (size - 1) / block * block;
  if (end <= begin) return false;
  const std::string copy = path + ".cutting";
  if (keep != 0) {
    // Of a cut that was not finished: it may be all there is of those lines.
    if (access(copy.c_str(), F_OK) == 0) {
      SNAP_RETURN_IF_ERROR(ShiftOldLogs(path, keep));
      SNAP_RETURN_IF_ERROR(Rename(copy, OldName(path, 1)));
    }
    SNAP_RETURN_IF_ERROR(SaveBeginning(fd, info, begin, end, path, copy));
  }
  if (Status dropped = DropBeginning(fd, end, path); !dropped.ok()) {
    if (keep != 0) (void)unlink(copy.c_str());
    return dropped;
  }
  if (keep == 0) return true;
  SNAP_RETURN_IF_ERROR(ShiftOldLogs(path, keep));
  SNAP_RETURN_IF_ERROR(Rename(copy, OldName(path, 1)));
  return true;
}

Result<std::unique_ptr<LogKeeper>> LogKeeper::Start(LogOptions options) {
  std::unique_ptr<LogKeeper> keeper(new LogKeeper(std::move(options)));
  sigset_t hangup;
  sigemptyset(&hangup);
  sigaddset(&hangup, SIGHUP);
  keeper->hangup_.Reset(signalfd(-1, &hangup, SFD_CLOEXEC | SFD_NONBLOCK));
  keeper->end_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!keeper->hangup_.valid() || !keeper->end_.valid()) {
    return Status::FromErrno(errno, "make event descriptors");
  }
  if (!keeper->options_.own_log.empty()) SNAP_RETURN_IF_ERROR(keeper->OpenOwn());
  keeper->thread_ = std::thread([raw = keeper.get()] { raw->Run(); });
  return keeper;
}

LogKeeper::~LogKeeper() {
  const uint64_t one = 1;
  if (end_.valid()) (void)!write(end_.get(), &one, sizeof(one));
  if (thread_.joinable()) thread_.join();
}

Status LogKeeper::OpenOwn() {
  SNAP_ASSIGN_OR_RETURN(const UniqueFd file,
                        OpenFile(options_.own_log, O_WRONLY | O_CREAT | O_APPEND, 0600));
  // In one step: whoever is just writing writes to the one or to the other.
  if (dup2(file.get(), STDERR_FILENO) < 0) {
    return Status::FromErrno(errno, fmt::format("write messages to {}", options_.own_log));
  }
  return Status::Ok();
}

void LogKeeper::Run() {
  (void)setpriority(PRIO_PROCESS, 0, kLogNice);
  while (true) {
    pollfd fds[2] = {{end_.get(), POLLIN, 0}, {hangup_.get(), POLLIN, 0}};
    (void)poll(fds, 2, kLookMillis);
    if (fds[0].revents != 0) return;
    if (fds[1].revents != 0) {
      signalfd_siginfo drained{};
      while (read(hangup_.get(), &drained, sizeof(drained)) > 0) {
      }
      if (!options_.own_log.empty()) {
        const Status opened = OpenOwn();
        if (!opened.ok()) LogWarning("{}", opened.message());
      }
    }
    if (options_.bytes_max == 0) continue;
    LookAtOwn();
    LookAtApplications();
  }
}

void LogKeeper::LookAtOwn() {
  struct stat info {};
  if (options_.own_log.empty() || fstat(STDERR_FILENO, &info) != 0 ||
      static_cast<uint64_t>(info.st_size) < options_.bytes_max) {
    return;
  }
  Status done = ShiftOldLogs(options_.own_log, options_.keep);
  if (done.ok() && options_.keep != 0) {
    done = Rename(options_.own_log, OldName(options_.own_log, 1));
  } else if (done.ok() && unlink(options_.own_log.c_str()) != 0) {
    done = Status::FromErrno(errno, options_.own_log);
  }
  if (done.ok() || done.Is(StatusCode::kNotFound)) done = OpenOwn();
  if (!done.ok()) LogWarning("{}", done.message());
}

void LogKeeper::LookAtApplications() {
  if (options_.application_log.empty() || application_failed_) return;
  const auto cut = CutHeldLog(options_.application_log, options_.bytes_max, options_.keep);
  if (cut.ok()) return;
  // Whatever it is, it would come again every second; and the log may well be on a full volume.
  application_failed_ = cut.status().Is(StatusCode::kUnsupported);
  LogWarning("{}", cut.status().message());
}

}  // namespace snapstore::agent
