#include "base/clock.h"

#include <fmt/format.h>

#include <cstdio>

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

Result<int64_t> ParseTime(std::string_view text) {
  const std::string copy(text);
  Status broken = Status::InvalidArgument("'" + copy + "' is not a time as in RFC 3339");
  struct tm utc {};
  const char* at = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (at == nullptr) return broken;
  int64_t nanos = int64_t{timegm(&utc)} * kNanosPerSecond;
  if (*at == '.') {
    int64_t unit = kNanosPerSecond / 10;
    for (++at; *at >= '0' && *at <= '9'; ++at, unit /= 10) nanos += (*at - '0') * unit;
  }
  if (std::string_view(at) == "Z") return nanos;
  // Given ahead of UTC.
  int hours = 0;
  int minutes = 0;
  int length = 0;
  if ((*at != '+' && *at != '-') ||
      std::sscanf(at + 1, "%2d:%2d%n", &hours, &minutes, &length) != 2 || at[1 + length] != '\0') {
    return broken;
  }
  const int64_t offset = (int64_t{hours} * 60 + minutes) * 60 * kNanosPerSecond;
  return *at == '+' ? nanos - offset : nanos + offset;
}

}  // namespace snapstore
