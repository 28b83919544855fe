// ApiError: a refusal as EC2 words it.
// Source: "Error codes for the Amazon EC2 API", Amazon EC2 API Reference.
//
// Thread safety: values only.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_API_ERROR_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_API_ERROR_H_

#include <optional>
#include <string>
#include <utility>

#include "snapstore/status.h"

namespace snapstore::localcloud {

struct [[nodiscard]] ApiError {
  std::string code = {};  // empty: no error
  std::string message = {};
  int http_status = 400;

  bool ok() const { return code.empty(); }
};

inline ApiError InvalidValue(std::string message) {
  return {"InvalidParameterValue", std::move(message)};
}
// The administrator wants the answer of a call that took effect to be lost.
inline constexpr const char* kAnswerLost = "AnswerLost";

// What the machine could not do: EC2 calls that an internal error.
inline ApiError InternalError(const Status& status) {
  return {"InternalError", status.message(), 500};
}

// A value, or the refusal. Works with SNAP_ASSIGN_OR_RETURN.
template <typename T>
class [[nodiscard]] ApiResult {
 public:
  ApiResult(T value) : value_(std::move(value)) {}         // NOLINT: implicit by intent
  ApiResult(ApiError error) : error_(std::move(error)) {}  // NOLINT: implicit by intent

  bool ok() const { return value_.has_value(); }
  const ApiError& status() const& { return error_; }
  ApiError status() && { return std::move(error_); }
  T& operator*() & { return *value_; }
  T* operator->() { return &*value_; }
  T&& value() && { return std::move(*value_); }

 private:
  std::optional<T> value_;
  ApiError error_;
};

}  // namespace snapstore::localcloud

// Returns from the enclosing function when `expr` (an ApiError) is an error.
#define API_RETURN_IF_ERROR(expr)                     \
  do {                                                \
    if (auto api_error_ = (expr); !api_error_.ok()) { \
      return api_error_;                              \
    }                                                 \
  } while (false)

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_API_ERROR_H_
