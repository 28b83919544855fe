// SNAP_CHECK: an invariant that must hold whatever the input; stays on in release builds.
// Operating errors (disk, network, bad input) are a Status, never a check.
#ifndef SNAPSTORE_BASE_CHECK_H_
#define SNAPSTORE_BASE_CHECK_H_

namespace snapstore::internal {
[[noreturn]] void CheckFailed(const char* expression, const char* file, int line);
}  // namespace snapstore::internal

#define SNAP_CHECK(condition)                                             \
  do {                                                                    \
    if (!(condition)) [[unlikely]] {                                      \
      ::snapstore::internal::CheckFailed(#condition, __FILE__, __LINE__); \
    }                                                                     \
  } while (false)

#endif  // SNAPSTORE_BASE_CHECK_H_
