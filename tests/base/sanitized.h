// kSanitized: whether a sanitizer watches this build. Its shadow memory, and that it keeps what was
// freed to find who still uses it, drown what a test would measure of memory.
#ifndef SNAPSTORE_TESTS_BASE_SANITIZED_H_
#define SNAPSTORE_TESTS_BASE_SANITIZED_H_

namespace snapstore {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_BASE_SANITIZED_H_
