// Early-return macros for functions that yield Status or Result.
#ifndef SNAPSTORE_BASE_STATUS_MACROS_H_
#define SNAPSTORE_BASE_STATUS_MACROS_H_

#include "snapstore/status.h"

// Returns from the enclosing function when `expr` (a Status) is not OK.
#define SNAP_RETURN_IF_ERROR(expr)                                       \
  do {                                                                   \
    if (::snapstore::Status snap_status_ = (expr); !snap_status_.ok()) { \
      return snap_status_;                                               \
    }                                                                    \
  } while (false)

// SNAP_ASSIGN_OR_RETURN(auto x, Call()): x is the value, or the enclosing function returns the
// status.
#define SNAP_ASSIGN_OR_RETURN(lhs, expr) \
  SNAP_ASSIGN_OR_RETURN_IMPL_(SNAP_CONCAT_(snap_result_, __LINE__), lhs, expr)

#define SNAP_CONCAT_INNER_(a, b) a##b
#define SNAP_CONCAT_(a, b) SNAP_CONCAT_INNER_(a, b)
// NOLINTBEGIN(bugprone-macro-parentheses): `result` and `lhs` may be declarations.
#define SNAP_ASSIGN_OR_RETURN_IMPL_(result, lhs, expr) \
  auto result = (expr);                                \
  if (!result.ok()) {                                  \
    return std::move(result).status();                 \
  }                                                    \
  lhs = std::move(result).value()
// NOLINTEND(bugprone-macro-parentheses)

#endif  // SNAPSTORE_BASE_STATUS_MACROS_H_
