#include "orchestrator/lifecycle/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kMinute = 60'000;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;

int64_t At(const std::string& text) { return *ParseTime(text) / 1'000'000; }

Task CronTask(const std::string& expression) {
  Task task;
  task.cron_expression = expression;
  return task;
}

TEST(NewestFire, OfCronIsTheLastOneInTheStretch) {
  const Task task = CronTask("*/10 * * * *");
  const int64_t noon = At("2026-03-02T12:00:00Z");
  EXPECT_EQ(NewestFire(task, noon, noon + 25 * kMinute), noon + 20 * kMinute);
  // After is not in it, until is.
  EXPECT_EQ(NewestFire(task, noon, noon + 10 * kMinute), noon + 10 * kMinute);
  EXPECT_EQ(NewestFire(task, noon, noon + 10 * kMinute - 1), std::nullopt);
  EXPECT_EQ(NewestFire(task, noon, noon), std::nullopt);
}

TEST(NewestFire, OfCronThatFiresSeldomIsFoundAfterALongStop) {
  const Task yearly = CronTask("30 4 1 1 *");
  EXPECT_EQ(NewestFire(yearly, At("2024-06-01T00:00:00Z"), At("2026-03-02T00:00:00Z")),
            At("2026-01-01T04:30:00Z"));
  EXPECT_EQ(NewestFire(CronTask("* * * * *"), 0, At("2026-03-02T00:00:59Z")),
            At("2026-03-02T00:00:00Z"));
}

TEST(NewestFire, OfAFrequencyCountsFromItsStart) {
  Task task;
  task.frequency = Frequency::kWeekly;
  task.start_time = "2026-03-02T12:00:00Z";
  const int64_t start = At(*task.start_time);
  EXPECT_EQ(NewestFire(task, start - kDay, start - 1), std::nullopt);
  EXPECT_EQ(NewestFire(task, start - kDay, start), start);
  EXPECT_EQ(NewestFire(task, start, start + 6 * kDay), std::nullopt);
  EXPECT_EQ(NewestFire(task, start, start + 15 * kDay), start + 14 * kDay);
  task.frequency = Frequency::kHourly;
  EXPECT_EQ(NewestFire(task, start, start + 90 * kMinute), start + kHour);
}

TEST(NewestFire, AStartAloneFiresOnce) {
  Task task;
  task.start_time = "2026-03-02T12:00:00Z";
  const int64_t start = At(*task.start_time);
  EXPECT_EQ(NewestFire(task, start - kHour, start + kHour), start);
  EXPECT_EQ(NewestFire(task, start, start + 100 * kDay), std::nullopt);
}

TEST(NewestFire, WhatIsDisabledOrIncompleteNever) {
  Task task = CronTask("* * * * *");
  task.is_enabled = false;
  EXPECT_EQ(NewestFire(task, 0, kDay), std::nullopt);
  EXPECT_EQ(NewestFire(Task{}, 0, kDay), std::nullopt);
  EXPECT_EQ(NewestFire(CronTask("nonsense"), 0, kDay), std::nullopt);
}

TEST(Windows, AreUtcAndMayWrapTheWeek) {
  const int64_t monday = At("2026-03-02T00:00:00Z");
  EXPECT_TRUE(InWindow("Mon:03:00-Wed:02:30", monday + 3 * kHour));
  EXPECT_FALSE(InWindow("Mon:03:00-Wed:02:30", monday + 3 * kHour - 1));
  EXPECT_TRUE(InWindow("Mon:03:00-Wed:02:30", monday + 2 * kDay + 2 * kHour));
  EXPECT_FALSE(InWindow("Mon:03:00-Wed:02:30", monday + 2 * kDay + 2 * kHour + 30 * kMinute));
  EXPECT_TRUE(InWindow("Sat:12:00-Sun:12:00", At("2026-03-07T12:00:00Z")));
  EXPECT_TRUE(InWindow("Sat:12:00-Sun:12:00", At("2026-03-08T11:59:00Z")));
  EXPECT_FALSE(InWindow("Sat:12:00-Sun:12:00", At("2026-03-08T12:00:00Z")));
  EXPECT_FALSE(InWindow("", monday));
  EXPECT_FALSE(InWindow("Mon:03:00", monday + 4 * kHour));
  EXPECT_TRUE(InAnyWindow({"Tue:00:00-Tue:01:00", "Mon:00:00-Mon:01:00"}, monday));
  EXPECT_FALSE(InAnyWindow({}, monday));
}

}  // namespace
}  // namespace snapstore::spot
