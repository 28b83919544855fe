#include "orchestrator/lifecycle/schedule.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/clock.h"
#include "base/cron.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kSecond = 1000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;
constexpr int64_t kWeek = 7 * kDay;
constexpr int64_t kNanosOfMs = 1'000'000;

int64_t PeriodOf(Frequency frequency) {
  switch (frequency) {
    case Frequency::kHourly:
      return kHour;
    case Frequency::kDaily:
      return kDay;
    case Frequency::kWeekly:
      break;
  }
  return kWeek;
}

std::optional<int64_t> NewestOfCron(const std::string& expression, int64_t after_ms,
                                    int64_t until_ms) {
  const auto cron = CronSchedule::Parse(expression);
  if (!cron.ok()) return std::nullopt;
  const auto newest = [&](int64_t from_ms) {
    std::optional<int64_t> found;
    for (int64_t at = from_ms / kSecond;;) {
      at = cron->Next(at);
      if (at * kSecond > until_ms) return found;
      found = at * kSecond;
    }
  };
  // What fires often is found in the last day; what does not is soon counted through.
  const int64_t lately = std::max(after_ms, until_ms - kDay);
  if (const auto found = newest(lately)) return found;
  return lately == after_ms ? std::nullopt : newest(after_ms);
}

// Milliseconds into the week, which begins on Sunday, of "Mon:03:00".
std::optional<int64_t> InWeek(std::string_view text) {
  constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed",
                                                     "Thu", "Fri", "Sat"};
  constexpr size_t kSize = 9;
  if (text.size() != kSize) return std::nullopt;
  const auto day = std::find(kDays.begin(), kDays.end(), text.substr(0, 3));
  if (day == kDays.end()) return std::nullopt;
  const auto number = [&](size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
  return (day - kDays.begin()) * kDay + number(4) * kHour + number(7) * kMinute;
}

}  // namespace

std::optional<int64_t> NewestFire(const Task& task, int64_t after_ms, int64_t until_ms) {
  if (!task.is_enabled.value() || after_ms >= until_ms) return std::nullopt;
  if (task.cron_expression) return NewestOfCron(*task.cron_expression, after_ms, until_ms);
  if (!task.start_time) return std::nullopt;
  const auto start = ParseTime(*task.start_time);
  if (!start.ok()) return std::nullopt;
  int64_t at = *start / kNanosOfMs;
  if (at > until_ms) return std::nullopt;
  if (task.frequency) {
    const int64_t period = PeriodOf(*task.frequency);
    at += (until_ms - at) / period * period;
  }
  if (at <= after_ms) return std::nullopt;
  return at;
}

bool InWindow(const std::string& window, int64_t now_ms) {
  const size_t dash = window.find('-');
  if (dash == std::string::npos) return false;
  const auto from = InWeek(std::string_view(window).substr(0, dash));
  const auto to = InWeek(std::string_view(window).substr(dash + 1));
  if (!from || !to) return false;
  constexpr int64_t kEpochDay = 4 * kDay;  // 1970 began on a Thursday
  const int64_t now = (now_ms + kEpochDay) % kWeek;
  return *from <= *to ? *from <= now && now < *to : now >= *from || now < *to;
}

bool InAnyWindow(const std::vector<std::string>& windows, int64_t now_ms) {
  return std::any_of(windows.begin(), windows.end(),
                     [&](const std::string& window) { return InWindow(window, now_ms); });
}

}  // namespace snapstore::spot
