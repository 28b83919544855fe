// Wall and steady time.
#ifndef SNAPSTORE_BASE_CLOCK_H_
#define SNAPSTORE_BASE_CLOCK_H_

#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

#include "snapstore/status.h"

namespace snapstore {

inline constexpr int64_t kNanosPerSecond = 1'000'000'000;

// Between nanoseconds and the kernel's form, whose tv_nsec is never negative, also before 1970.
inline int64_t ToNanos(const timespec& time) {
  return time.tv_sec * kNanosPerSecond + time.tv_nsec;
}
timespec ToTimespec(int64_t nanos);

// Nanoseconds since 1970-01-01T00:00:00Z.
int64_t WallNanos();

// "2026-03-01T09:15:00.120Z" (RFC 3339, UTC), cut to `decimals` (0 to 9) of a second.
std::string FormatTime(int64_t wall_nanos, int decimals = 3);

// The reverse, also with an offset ("+02:00") in place of 'Z' and with any number of decimals.
// InvalidArgument for anything else.
Result<int64_t> ParseTime(std::string_view text);

// Measures elapsed time from its construction, on the monotonic clock.
class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_CLOCK_H_
