// Status and Result: how every snapstore call reports failure.
//
// A Status is OK or carries a code, a message and the chain of contexts it passed on its way up
// ("restore /data/db: read pack 3f21…: Input/output error"). A Result<T> is a value or a Status.
// Both must be used; no exception leaves a snapstore library.
//
// Thread safety: a Status or Result is a value; share copies, not references.
#ifndef SNAPSTORE_STATUS_H_
#define SNAPSTORE_STATUS_H_

#include <cassert>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace snapstore {

// What a caller may want to branch on. Details belong in the message.
enum class StatusCode {
  kOk = 0,
  // The thing asked for certainly does not exist. Never used for "could not tell".
  kNotFound,
  // Stored bytes are not what was written: checksum, length or structure is wrong.
  kCorruption,
  // The caller's input is wrong and will stay wrong.
  kInvalidArgument,
  // The platform or the peer cannot do this.
  kUnsupported,
  kPermissionDenied,
  // A password or key is wrong, missing, or given where none is needed.
  kWrongKey,
  // The peer asks to be left alone for a while; retry later.
  kThrottled,
  kTimeout,
  // Stopped on request (signal, first error elsewhere in a pipeline).
  kCancelled,
  // A disk, quota or memory budget is full.
  kNoSpace,
  // Another party was there first (put-if-absent, a lock).
  kConflict,
  // Any other failure of a device, file or network.
  kIo,
  // A bug in snapstore.
  kInternal,
};

// "NotFound", "Corruption", …; static storage.
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // OK
  Status(StatusCode code, std::string message);

  static Status Ok() { return {}; }
  static Status NotFound(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
  static Status Corruption(std::string m) { return {StatusCode::kCorruption, std::move(m)}; }
  static Status InvalidArgument(std::string m) {
    return {StatusCode::kInvalidArgument, std::move(m)};
  }
  static Status Unsupported(std::string m) { return {StatusCode::kUnsupported, std::move(m)}; }
  static Status PermissionDenied(std::string m) {
    return {StatusCode::kPermissionDenied, std::move(m)};
  }
  static Status WrongKey(std::string m) { return {StatusCode::kWrongKey, std::move(m)}; }
  static Status Throttled(std::string m) { return {StatusCode::kThrottled, std::move(m)}; }
  static Status Timeout(std::string m) { return {StatusCode::kTimeout, std::move(m)}; }
  static Status Cancelled(std::string m) { return {StatusCode::kCancelled, std::move(m)}; }
  static Status NoSpace(std::string m) { return {StatusCode::kNoSpace, std::move(m)}; }
  static Status Conflict(std::string m) { return {StatusCode::kConflict, std::move(m)}; }
  static Status Io(std::string m) { return {StatusCode::kIo, std::move(m)}; }
  static Status Internal(std::string m) { return {StatusCode::kInternal, std::move(m)}; }

  // Translates an errno value; `what` names the operation and its object: "open /data/db".
  static Status FromErrno(int error_number, std::string_view what);

  bool ok() const { return rep_ == nullptr; }
  StatusCode code() const { return rep_ == nullptr ? StatusCode::kOk : rep_->code; }
  bool Is(StatusCode code) const { return this->code() == code; }

  // The errno this came from, 0 if none.
  int error_number() const { return rep_ == nullptr ? 0 : rep_->error_number; }

  // One line without the code's name: "context: context: message". Empty when OK.
  std::string message() const { return rep_ == nullptr ? std::string() : rep_->message; }

  // "OK" or "Corruption: context: message".
  std::string ToString() const;

  // The same status, its message prefixed with "context: ". No effect on OK.
  Status WithContext(std::string_view context) const;

 private:
  struct Rep {
    StatusCode code;
    int error_number;
    std::string message;
  };
  std::shared_ptr<const Rep> rep_;  // null when OK, so that success costs nothing
};

// A value of type T, or the Status that says why there is none.
// (std::expected would serve, but clang 14, which lints and fuzzes this code, cannot parse
// libstdc++'s.)
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit by intent
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit by intent
    assert(!status_.ok());
    if (status_.ok()) status_ = Status::Internal("Result made from an OK status");
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }

  // REQUIRES: ok().
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_STATUS_H_
