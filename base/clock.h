// Wall and steady time.
#ifndef SNAPSTORE_BASE_CLOCK_H_
#define SNAPSTORE_BASE_CLOCK_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "snapstore/status.h"

namespace snapstore {

// Nanoseconds since 1970-01-01T00:00:00Z.
int64_t WallNanos();

// "2026-03-01T09:15:00.120Z" (RFC 3339, UTC, milliseconds).
std::string FormatTime(int64_t wall_nanos);

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
