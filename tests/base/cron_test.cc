#include "base/cron.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <set>
#include <sstream>

#include "base/random.h"

namespace snapstore {
namespace {

using ::testing::HasSubstr;

int64_t At(int year, unsigned month, unsigned day, int hour, int minute) {
  using namespace std::chrono;  // NOLINT: calendar literals read better
  const sys_days date = std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day);
  return (date.time_since_epoch().count() * 24LL + hour) * 3600 + minute * 60LL;
}

int64_t NextOf(std::string_view expression, int64_t after) {
  const auto schedule = CronSchedule::Parse(expression);
  EXPECT_TRUE(schedule.ok()) << schedule.status().ToString();
  return schedule.ok() ? schedule->Next(after) : -1;
}

std::string ErrorOf(std::string_view expression) {
  const auto schedule = CronSchedule::Parse(expression);
  EXPECT_FALSE(schedule.ok()) << expression;
  return schedule.ok() ? "" : schedule.status().message();
}

TEST(CronTest, StepsFireFromTheFieldsBeginning) {
  EXPECT_EQ(NextOf("*/3 * * * *", At(2026, 3, 1, 9, 0)), At(2026, 3, 1, 9, 3));
  EXPECT_EQ(NextOf("*/25 * * * *", At(2026, 3, 1, 9, 50)), At(2026, 3, 1, 10, 0));
  EXPECT_EQ(NextOf("5/20 * * * *", At(2026, 3, 1, 9, 5)), At(2026, 3, 1, 9, 25));
}

TEST(CronTest, NextIsStrictlyLaterAlsoWithinAMinute) {
  EXPECT_EQ(NextOf("* * * * *", At(2026, 1, 1, 0, 0)), At(2026, 1, 1, 0, 1));
  EXPECT_EQ(NextOf("* * * * *", At(2026, 1, 1, 0, 0) + 59), At(2026, 1, 1, 0, 1));
  EXPECT_EQ(NextOf("* * * * *", At(2026, 1, 1, 0, 0) - 1), At(2026, 1, 1, 0, 0));
}

TEST(CronTest, NamesRangesAndSundayAsSeven) {
  // 2026-03-01 is a Sunday.
  EXPECT_EQ(NextOf("0 12 * * 7", At(2026, 2, 27, 0, 0)), At(2026, 3, 1, 12, 0));
  EXPECT_EQ(NextOf("0 12 * * Sun", At(2026, 2, 27, 0, 0)), At(2026, 3, 1, 12, 0));
  EXPECT_EQ(NextOf("0 0 * * sat-sun", At(2026, 3, 1, 0, 0)), At(2026, 3, 7, 0, 0));
  EXPECT_EQ(NextOf("0 0 * * 5-7", At(2026, 3, 1, 0, 0)), At(2026, 3, 6, 0, 0));
  EXPECT_EQ(NextOf("0 0 1 JAN,jul *", At(2026, 3, 1, 0, 0)), At(2026, 7, 1, 0, 0));
  EXPECT_EQ(NextOf("0 0 1 oct-dec *", At(2026, 3, 1, 0, 0)), At(2026, 10, 1, 0, 0));
}

TEST(CronTest, RestrictedDaysFireOnEither) {
  // The 13th or any Friday: 2026-03-06 is a Friday.
  EXPECT_EQ(NextOf("0 0 13 * 5", At(2026, 3, 1, 0, 0)), At(2026, 3, 6, 0, 0));
  EXPECT_EQ(NextOf("0 0 3 * 5", At(2026, 3, 1, 0, 0)), At(2026, 3, 3, 0, 0));
  // A field that begins with '*' does not restrict: odd days that are Fridays.
  EXPECT_EQ(NextOf("0 0 */2 * 5", At(2026, 3, 1, 0, 0)), At(2026, 3, 13, 0, 0));
}

TEST(CronTest, LeapDaysAreFoundAcrossACenturyWithoutOne) {
  EXPECT_EQ(NextOf("0 0 29 2 *", At(2026, 3, 1, 0, 0)), At(2028, 2, 29, 0, 0));
  EXPECT_EQ(NextOf("0 0 29 2 *", At(2096, 3, 1, 0, 0)), At(2104, 2, 29, 0, 0));
  // A leap day on a Sunday or Saturday only.
  EXPECT_EQ(NextOf("0 0 29 2 */6", At(2026, 3, 1, 0, 0)), At(2032, 2, 29, 0, 0));
}

TEST(CronTest, AliasesStandForTheirExpressions) {
  EXPECT_EQ(NextOf("@hourly", At(2026, 3, 1, 9, 15)), At(2026, 3, 1, 10, 0));
  EXPECT_EQ(NextOf("@daily", At(2026, 3, 1, 9, 15)), At(2026, 3, 2, 0, 0));
  EXPECT_EQ(NextOf("@weekly", At(2026, 3, 1, 9, 15)), At(2026, 3, 8, 0, 0));
  EXPECT_EQ(NextOf("@Monthly", At(2026, 3, 1, 9, 15)), At(2026, 4, 1, 0, 0));
  EXPECT_EQ(NextOf("@yearly", At(2026, 3, 1, 9, 15)), At(2027, 1, 1, 0, 0));
}

TEST(CronTest, ErrorsNameTheFieldAndTheReason) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("has 0 fields"));
  EXPECT_THAT(ErrorOf("* * * *"), HasSubstr("has 4 fields"));
  EXPECT_THAT(ErrorOf("* * * * * *"), HasSubstr("has 6 fields"));
  EXPECT_THAT(ErrorOf("60 * * * *"), HasSubstr("minute '60': must be 0 to 59"));
  EXPECT_THAT(ErrorOf("* 24 * * *"), HasSubstr("hour '24'"));
  EXPECT_THAT(ErrorOf("* * 0 * *"), HasSubstr("day of month '0': must be 1 to 31"));
  EXPECT_THAT(ErrorOf("* * * 13 *"), HasSubstr("month '13'"));
  EXPECT_THAT(ErrorOf("* * * * 8"), HasSubstr("day of week '8'"));
  EXPECT_THAT(ErrorOf("* * * foo *"), HasSubstr("month 'foo'"));
  EXPECT_THAT(ErrorOf("*/0 * * * *"), HasSubstr("step"));
  EXPECT_THAT(ErrorOf("*/ * * * *"), HasSubstr("step"));
  EXPECT_THAT(ErrorOf("9-3 * * * *"), HasSubstr("backwards"));
  EXPECT_THAT(ErrorOf("1,,2 * * * *"), HasSubstr("empty list element"));
  EXPECT_THAT(ErrorOf("-1 * * * *"), HasSubstr("minute"));
  EXPECT_THAT(ErrorOf("99999999999999999999 * * * *"), HasSubstr("minute"));
  EXPECT_THAT(ErrorOf("@reboot"), HasSubstr("unknown abbreviation"));
  EXPECT_THAT(ErrorOf("0 0 30 2 *"), HasSubstr("never fires"));
  EXPECT_THAT(ErrorOf("0 0 31 4,6,9,11 *"), HasSubstr("never fires"));
}

TEST(CronTest, AHugeStepFiresOnceAField) {
  EXPECT_EQ(NextOf("*/1000000000 * * * *", At(2026, 3, 1, 9, 15)), At(2026, 3, 1, 10, 0));
}

// A second reading of the rules, by sets and without any code of the first.
struct Reference {
  std::set<int> fields[5];
  bool star[5] = {};

  bool Fires(int64_t when) const {
    const auto seconds = std::chrono::sys_seconds(std::chrono::seconds(when));
    const auto day = std::chrono::floor<std::chrono::days>(seconds);
    const std::chrono::year_month_day date(day);
    const auto minute_of_day = (when - day.time_since_epoch().count() * 86400) / 60;
    const int weekday = static_cast<int>(std::chrono::weekday(day).c_encoding());
    if (!fields[0].contains(static_cast<int>(minute_of_day % 60))) return false;
    if (!fields[1].contains(static_cast<int>(minute_of_day / 60))) return false;
    if (!fields[3].contains(static_cast<int>(static_cast<unsigned>(date.month())))) return false;
    const bool by_day = fields[2].contains(static_cast<int>(static_cast<unsigned>(date.day())));
    const bool by_weekday = fields[4].contains(weekday) || (weekday == 0 && fields[4].contains(7));
    return star[2] || star[4] ? by_day && by_weekday : by_day || by_weekday;
  }
};

std::string RandomField(SplitMix64* random, int min, int max, std::set<int>* values, bool* star) {
  std::ostringstream text;
  const uint64_t elements = 1 + random->Below(3);
  for (uint64_t i = 0; i < elements; ++i) {
    if (i != 0) text << ',';
    int from = min;
    int to = max;
    int step = 1;
    const uint64_t kind = random->Below(4);
    if (kind == 0) {
      text << '*';
      if (i == 0) *star = true;
    } else {
      from = min + static_cast<int>(random->Below(uint64_t{1} + static_cast<uint64_t>(max) -
                                                  static_cast<uint64_t>(min)));
      to = from;
      text << from;
      if (kind >= 2) {
        to = from + static_cast<int>(random->Below(uint64_t{1} + static_cast<uint64_t>(max) -
                                                   static_cast<uint64_t>(from)));
        text << '-' << to;
      }
    }
    if (kind != 1 && random->Below(2) == 0) {
      step = 1 + static_cast<int>(random->Below(20));
      text << '/' << step;
    }
    for (int value = from; value <= to; value += step) values->insert(value);
  }
  return text.str();
}

TEST(CronTest, AgreesWithSteppingMinuteByMinute) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SplitMix64 random(seed);
  constexpr int kBounds[5][2] = {{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}};
  constexpr int64_t kMinutesMax = 400LL * 24 * 60;
  int compared = 0;
  for (int round = 0; round < 300; ++round) {
    Reference reference;
    std::string expression;
    for (int i = 0; i < 5; ++i) {
      if (i != 0) expression += ' ';
      expression += RandomField(&random, kBounds[i][0], kBounds[i][1], &reference.fields[i],
                                &reference.star[i]);
    }
    const auto schedule = CronSchedule::Parse(expression);
    int64_t now = At(1999, 1, 1, 0, 0) + static_cast<int64_t>(random.Below(3'000'000'000));
    int64_t brute = now - now % 60 + 60;
    const int64_t limit = brute + kMinutesMax * 60;
    while (brute < limit && !reference.Fires(brute)) brute += 60;
    if (brute == limit) continue;  // too rare for brute force
    ASSERT_TRUE(schedule.ok()) << expression << ": " << schedule.status().ToString();
    ASSERT_EQ(schedule->Next(now), brute) << expression << " after " << now;
    ++compared;
  }
  EXPECT_GT(compared, 200);
}

}  // namespace
}  // namespace snapstore
