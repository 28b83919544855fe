#include "base/clock.h"

#include <fmt/format.h>

namespace snapstore {

timespec ToTimespec(int64_t nanos) {
  int64_t seconds = nanos / kNanosPerSecond;
  int64_t rest = nanos % kNanosPerSecond;
  if (rest < 0) {
    rest += kNanosPerSecond;
    --seconds;
  }
  return {.tv_sec = seconds, .tv_nsec = rest};
}

int64_t WallNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string FormatTime(int64_t wall_nanos, int decimals) {
  const timespec time = ToTimespec(wall_nanos);
  struct tm utc {};
  gmtime_r(&time.tv_sec, &utc);
  std::string fraction = fmt::format(".{:09}", time.tv_nsec);
  fraction.resize(decimals == 0 ? 0 : static_cast<size_t>(decimals) + 1);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, fraction);
}

}  // namespace snapstore
