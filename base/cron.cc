#include "base/cron.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

struct Field {
  std::string_view name;
  int min;
  int max;
  std::array<std::string_view, 12> names;  // of min, min + 1, …
};

constexpr Field kMinute{"minute", 0, 59, {}};
constexpr Field kHour{"hour", 0, 23, {}};
constexpr Field kDay{"day of month", 1, 31, {}};
constexpr Field kMonth{
    "month",
    1,
    12,
    {"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}};
constexpr Field kWeekday{"day of week", 0, 7, {"sun", "mon", "tue", "wed", "thu", "fri", "sat"}};

constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kAliases{{
    {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
    {"@monthly", "0 0 1 * *"},
    {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},
    {"@midnight", "0 0 * * *"},
    {"@hourly", "0 * * * *"},
}};

// The Gregorian calendar repeats after this many days, weekdays included.
constexpr int kCalendarCycleDays = 146097;
constexpr int kMinutesPerDay = 24 * 60;

Status FieldError(const Field& field, std::string_view text, std::string_view why) {
  return Status::InvalidArgument(fmt::format("cron {} '{}': {}", field.name, text, why));
}

std::vector<std::string_view> PartsOf(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::optional<int> ParseNumber(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

Result<int> ParseValue(const Field& field, std::string_view text, bool is_range_end) {
  for (size_t i = 0; i < field.names.size(); ++i) {
    if (!field.names[i].empty() && field.names[i] == text) {
      // "sat-sun" ends on the Sunday that is called 7.
      if (&field == &kWeekday && i == 0 && is_range_end) return 7;
      return field.min + static_cast<int>(i);
    }
  }
  const std::optional<int> value = ParseNumber(text);
  if (!value) return FieldError(field, text, "not a number or a known name");
  if (*value < field.min || *value > field.max) {
    return FieldError(field, text, fmt::format("must be {} to {}", field.min, field.max));
  }
  return *value;
}

// One element of a comma list: "*", "a", "a-b", each with "/step" or without.
Result<uint64_t> ParseElement(const Field& field, std::string_view text) {
  if (text.empty()) return FieldError(field, text, "empty list element");
  const size_t slash = text.find('/');
  const std::string_view range = text.substr(0, slash);
  int step = 1;
  if (slash != std::string_view::npos) {
    const std::optional<int> parsed = ParseNumber(text.substr(slash + 1));
    if (!parsed || *parsed == 0) return FieldError(field, text, "step must be a number from 1 up");
    step = *parsed;
  }
  int first = field.min;
  int last = field.max;
  if (range == "*") {
    if (&field == &kWeekday) last = 6;
  } else if (const size_t dash = range.find('-'); dash != std::string_view::npos) {
    SNAP_ASSIGN_OR_RETURN(first, ParseValue(field, range.substr(0, dash), false));
    SNAP_ASSIGN_OR_RETURN(last, ParseValue(field, range.substr(dash + 1), true));
    if (first > last) return FieldError(field, text, "range runs backwards");
  } else {
    SNAP_ASSIGN_OR_RETURN(first, ParseValue(field, range, false));
    if (slash == std::string_view::npos) {
      last = first;
    } else if (&field == &kWeekday) {
      last = std::max(first, 6);
    }
  }
  uint64_t bits = 0;
  for (int value = first; value <= last; value += std::min(step, 64)) bits |= uint64_t{1} << value;
  return bits;
}

Result<uint64_t> ParseField(const Field& field, std::string_view text) {
  uint64_t bits = 0;
  for (const std::string_view element : PartsOf(text, ',')) {
    SNAP_ASSIGN_OR_RETURN(const uint64_t more, ParseElement(field, element));
    bits |= more;
  }
  if (&field == &kWeekday && (bits >> 7 & 1) != 0) bits = (bits | 1) & 0x7f;
  return bits;
}

std::vector<std::string_view> SplitBlanks(std::string_view text) {
  std::vector<std::string_view> words;
  size_t at = 0;
  while ((at = text.find_first_not_of(" \t", at)) != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(" \t", at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

int64_t FloorDivide(int64_t value, int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

}  // namespace

Result<CronSchedule> CronSchedule::Parse(std::string_view expression) {
  std::string text(expression);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::vector<std::string_view> words = SplitBlanks(text);
  if (words.size() == 1 && words[0].front() == '@') {
    const auto* alias = std::find_if(kAliases.begin(), kAliases.end(),
                                     [&](const auto& a) { return a.first == words[0]; });
    if (alias == kAliases.end()) {
      return Status::InvalidArgument(
          fmt::format("cron '{}': unknown abbreviation (known: @hourly, @daily, @midnight, "
                      "@weekly, @monthly, @yearly, @annually)",
                      expression));
    }
    words = SplitBlanks(alias->second);
  }
  if (words.size() != 5) {
    return Status::InvalidArgument(fmt::format(
        "cron '{}': has {} fields, needs 5: minute, hour, day of month, month, day of week",
        expression, words.size()));
  }
  CronSchedule schedule;
  schedule.expression_ = std::string(expression);
  SNAP_ASSIGN_OR_RETURN(schedule.minutes_, ParseField(kMinute, words[0]));
  SNAP_ASSIGN_OR_RETURN(schedule.hours_, ParseField(kHour, words[1]));
  SNAP_ASSIGN_OR_RETURN(schedule.days_, ParseField(kDay, words[2]));
  SNAP_ASSIGN_OR_RETURN(schedule.months_, ParseField(kMonth, words[3]));
  SNAP_ASSIGN_OR_RETURN(schedule.weekdays_, ParseField(kWeekday, words[4]));
  schedule.either_day_ = words[2].front() != '*' && words[4].front() != '*';
  if (!schedule.Search(0)) {
    return Status::InvalidArgument(
        fmt::format("cron '{}': never fires: no such day exists in the months given", expression));
  }
  return schedule;
}

bool CronSchedule::DayMatches(std::chrono::sys_days day) const {
  const std::chrono::year_month_day date(day);
  if ((months_ >> static_cast<unsigned>(date.month()) & 1) == 0) return false;
  const bool day_fits = (days_ >> static_cast<unsigned>(date.day()) & 1) != 0;
  const bool weekday_fits = (weekdays_ >> std::chrono::weekday(day).c_encoding() & 1) != 0;
  return either_day_ ? day_fits || weekday_fits : day_fits && weekday_fits;
}

std::optional<int> CronSchedule::MinuteOfDay(int from) const {
  for (int hour = from / 60; hour < 24; ++hour) {
    if ((hours_ >> hour & 1) == 0) continue;
    for (int minute = hour == from / 60 ? from % 60 : 0; minute < 60; ++minute) {
      if ((minutes_ >> minute & 1) != 0) return hour * 60 + minute;
    }
  }
  return std::nullopt;
}

std::optional<int64_t> CronSchedule::Search(int64_t after) const {
  using std::chrono::days;
  const int64_t first_minute = FloorDivide(after, 60) + 1;
  std::chrono::sys_days day{days(FloorDivide(first_minute, kMinutesPerDay))};
  int from = static_cast<int>(first_minute - day.time_since_epoch().count() * kMinutesPerDay);
  const std::chrono::sys_days last = day + days(kCalendarCycleDays);
  while (day <= last) {
    const std::chrono::year_month_day date(day);
    if ((months_ >> static_cast<unsigned>(date.month()) & 1) == 0) {
      day = std::chrono::sys_days((date.year() / date.month() / 1) + std::chrono::months(1));
      from = 0;
      continue;
    }
    if (DayMatches(day)) {
      if (const std::optional<int> minute = MinuteOfDay(from)) {
        return (day.time_since_epoch().count() * int64_t{kMinutesPerDay} + *minute) * 60;
      }
    }
    day += days(1);
    from = 0;
  }
  return std::nullopt;
}

int64_t CronSchedule::Next(int64_t after) const {
  const std::optional<int64_t> next = Search(after);
  SNAP_CHECK(next.has_value());  // Parse refuses what never fires
  return *next;
}

}  // namespace snapstore
