#include "snapstore/status.h"

#include <cerrno>
#include <cstring>
#include <system_error>

namespace snapstore {
namespace {

StatusCode CodeOfErrno(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return StatusCode::kNotFound;
    case EEXIST:
    case EBUSY:
      return StatusCode::kConflict;
    case EACCES:
    case EPERM:
    case EROFS:
      return StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EFBIG:
      return StatusCode::kNoSpace;
    case EINVAL:
    case ENAMETOOLONG:
    case ELOOP:
      return StatusCode::kInvalidArgument;
    case ENOSYS:
    case EOPNOTSUPP:
      return StatusCode::kUnsupported;
    case ETIMEDOUT:
      return StatusCode::kTimeout;
    case ECANCELED:
      return StatusCode::kCancelled;
    default:
      return StatusCode::kIo;
  }
}

}  // namespace

std::string_view StatusCodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "OK";
    case StatusCode::kNotFound:
      return "NotFound";
    case StatusCode::kCorruption:
      return "Corruption";
    case StatusCode::kInvalidArgument:
      return "InvalidArgument";
    case StatusCode::kUnsupported:
      return "Unsupported";
    case StatusCode::kPermissionDenied:
      return "PermissionDenied";
    case StatusCode::kWrongKey:
      return "WrongKey";
    case StatusCode::kThrottled:
      return "Throttled";
    case StatusCode::kTimeout:
      return "Timeout";
    case StatusCode::kCancelled:
      return "Cancelled";
    case StatusCode::kNoSpace:
      return "NoSpace";
    case StatusCode::kConflict:
      return "Conflict";
    case StatusCode::kIo:
      return "Io";
    case StatusCode::kInternal:
      return "Internal";
  }
  return "Unknown";
}

Status::Status(StatusCode code, std::string message) {
  if (code != StatusCode::kOk) {
    rep_ = std::make_shared<const Rep>(Rep{code, 0, std::move(message)});
  }
}

Status Status::FromErrno(int error_number, std::string_view what) {
  Status status;
  status.rep_ = std::make_shared<const Rep>(
      Rep{CodeOfErrno(error_number), error_number,
          std::string(what) + ": " + std::generic_category().message(error_number)});
  return status;
}

std::string Status::ToString() const {
  if (ok()) return "OK";
  return std::string(StatusCodeName(rep_->code)) + ": " + rep_->message;
}

Status Status::WithContext(std::string_view context) const {
  if (ok()) return *this;
  Status status;
  status.rep_ = std::make_shared<const Rep>(
      Rep{rep_->code, rep_->error_number, std::string(context) + ": " + rep_->message});
  return status;
}

}  // namespace snapstore
