// CronSchedule: a five-field cron expression and the instants at which it fires, in UTC.
//
//   minute (0-59)  hour (0-23)  day of month (1-31)  month (1-12, jan-dec)  day of week (0-7,
//   sun-sat)
//
// Each field is `*`, a number or a name, a range `a-b`, any of them with a step `/n`, or a comma
// list of those; `a/n` means from a to the field's end. 7 is Sunday as well as 0. When both day
// fields are restricted (neither begins with `*`) a day fires that fits either, as in POSIX
// crontab(5); else it must fit both. @yearly, @annually, @monthly, @weekly, @daily, @midnight and
// @hourly are abbreviations.
//
// Thread safety: a value; const calls may run concurrently.
#ifndef SNAPSTORE_BASE_CRON_H_
#define SNAPSTORE_BASE_CRON_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "snapstore/status.h"

namespace snapstore {

class CronSchedule {
 public:
  // InvalidArgument names the field and what is wrong with it; an expression that never fires
  // (30 February) is refused too.
  static Result<CronSchedule> Parse(std::string_view expression);

  // The first instant strictly after `after` at which the schedule fires; both in seconds since the
  // epoch, the result a multiple of 60.
  int64_t Next(int64_t after) const;

  const std::string& expression() const { return expression_; }

 private:
  CronSchedule() = default;

  std::optional<int64_t> Search(int64_t after) const;
  bool DayMatches(std::chrono::sys_days day) const;
  // The minute of the day at or after `from` that fits; nothing if there is none left.
  std::optional<int> MinuteOfDay(int from) const;

  std::string expression_;
  // Bit n set: value n fires.
  uint64_t minutes_ = 0;
  uint64_t hours_ = 0;
  uint64_t days_ = 0;
  uint64_t months_ = 0;
  uint64_t weekdays_ = 0;
  bool either_day_ = false;  // both day fields are restricted
};

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_CRON_H_
