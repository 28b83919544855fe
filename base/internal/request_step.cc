#include "base/internal/request_step.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

namespace snapstore::internal {

Status ValidateRequest(const IoRequest& request) {
  constexpr uint64_t kEndMax = std::numeric_limits<int64_t>::max();
  if (request.op == IoRequest::Op::kFsync) return Status::Ok();
  if (request.offset > kEndMax || request.length > kEndMax - request.offset) {
    return Status::InvalidArgument(fmt::format("I/O request of {} bytes at {} is outside any file",
                                               request.length, request.offset));
  }
  return Status::Ok();
}

void ResetResults(IoRequest* request) {
  request->transferred = 0;
  request->error_number = 0;
}

size_t StepLength(const IoRequest& request) {
  return std::min(request.length - request.transferred, kStepBytesMax);
}

int64_t RunStep(const IoRequest& request) {
  uint8_t* const data = request.data + request.transferred;
  const auto at = static_cast<off_t>(request.offset + request.transferred);
  int64_t outcome = 0;
  switch (request.op) {
    case IoRequest::Op::kRead:
      outcome = ::pread(request.fd, data, StepLength(request), at);
      break;
    case IoRequest::Op::kWrite:
      outcome = ::pwrite(request.fd, data, StepLength(request), at);
      break;
    case IoRequest::Op::kFsync:
      outcome = ::fsync(request.fd);
      break;
  }
  return outcome < 0 ? -errno : outcome;
}

bool FinishStep(IoRequest* request, int64_t outcome) {
  const bool is_read = request->op == IoRequest::Op::kRead;
  if (outcome == -EINTR) return false;
  if (outcome < 0) {
    const bool at_end = outcome == -EINVAL && is_read && request->transferred > 0 &&
                        IsPastEnd(request->fd, request->offset + request->transferred);
    if (!at_end) request->error_number = static_cast<int>(-outcome);
    return true;
  }
  if (request->op == IoRequest::Op::kFsync) return true;
  request->transferred += static_cast<size_t>(outcome);
  if (request->transferred == request->length) return true;
  if (outcome > 0) return false;
  // Nothing moved: the end of the file for a read, a device that takes no more for a write.
  if (!is_read) request->error_number = EIO;
  return true;
}

bool IsPastEnd(int fd, uint64_t position) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 && position >= static_cast<uint64_t>(info.st_size);
}

}  // namespace snapstore::internal
