#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "base/clock.h"
#include "snapstore/maintain.h"

namespace snapstore {
namespace {

class ForgetPolicyTest : public testing::Test {
 protected:
  ForgetPolicyTest() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }

  void Add(const std::string& time, const std::string& host = "h",
           const std::map<std::string, std::string>& tags = {}) {
    SnapshotInfo info;
    info.id = time;
    info.time_ns = *ParseTime(time + "Z");
    info.host = host;
    info.paths = {"/data"};
    info.tags = tags;
    snapshots_.push_back(info);
  }
  // Kept ids with their reasons, newest first.
  std::vector<std::string> Kept(const ForgetPolicy& policy, const ForgetGrouping& grouping = {}) {
    std::vector<std::string> kept;
    for (const ForgetGroup& group : ApplyForgetPolicy(snapshots_, policy, grouping)) {
      for (const ForgetDecision& decision : group.decisions) {
        if (!decision.keep) continue;
        std::string line = decision.info.id;
        for (const std::string& reason : decision.reasons) line += " " + reason;
        kept.push_back(line);
      }
    }
    return kept;
  }

  std::vector<SnapshotInfo> snapshots_;
};
using Lines = std::vector<std::string>;

TEST_F(ForgetPolicyTest, KeepsTheNewestOfEachPeriod) {
  for (const char* time : {"2026-01-01T10:00:00", "2026-01-01T10:30:00", "2026-01-01T23:00:00",
                           "2026-01-03T09:00:00", "2026-02-10T09:00:00"}) {
    Add(time);
  }
  EXPECT_EQ(Kept({.last = 2}), (Lines{"2026-02-10T09:00:00 last", "2026-01-03T09:00:00 last"}));
  // Days without a snapshot do not count.
  EXPECT_EQ(Kept({.daily = 3}), (Lines{"2026-02-10T09:00:00 daily", "2026-01-03T09:00:00 daily",
                                       "2026-01-01T23:00:00 daily"}));
  EXPECT_EQ(Kept({.hourly = 9}),
            (Lines{"2026-02-10T09:00:00 hourly", "2026-01-03T09:00:00 hourly",
                   "2026-01-01T23:00:00 hourly", "2026-01-01T10:30:00 hourly"}));
  EXPECT_EQ(Kept({.monthly = 5}),
            (Lines{"2026-02-10T09:00:00 monthly", "2026-01-03T09:00:00 monthly"}));
  EXPECT_EQ(Kept({.yearly = 5}), (Lines{"2026-02-10T09:00:00 yearly"}));
  EXPECT_EQ(Kept({.last = 1, .monthly = 2}),
            (Lines{"2026-02-10T09:00:00 last monthly", "2026-01-03T09:00:00 monthly"}));
}

TEST_F(ForgetPolicyTest, CountsWeeksAcrossTheTurnOfTheYear) {
  Add("2025-12-29T00:00:00");  // Monday of ISO week 2026-W01
  Add("2026-01-04T00:00:00");  // its Sunday
  Add("2026-01-05T00:00:00");
  EXPECT_EQ(Kept({.weekly = 5}),
            (Lines{"2026-01-05T00:00:00 weekly", "2026-01-04T00:00:00 weekly"}));
}

TEST_F(ForgetPolicyTest, MeasuresWithinFromTheNewest) {
  Add("2026-01-01T00:00:00");
  Add("2026-01-09T00:00:00");
  Add("2026-01-10T00:00:00");
  const int64_t day = int64_t{24} * 3600 * kNanosPerSecond;
  EXPECT_EQ(Kept({.within_ns = day}),
            (Lines{"2026-01-10T00:00:00 within", "2026-01-09T00:00:00 within"}));
}

TEST_F(ForgetPolicyTest, AppliesToEachGroupByItself) {
  Add("2026-01-01T00:00:00", "a", {{"keep", "yes"}});
  Add("2026-01-02T00:00:00", "a");
  Add("2026-01-03T00:00:00", "b");
  EXPECT_EQ(Kept({.last = 1}), (Lines{"2026-01-02T00:00:00 last", "2026-01-03T00:00:00 last"}));
  EXPECT_EQ(Kept({.last = 1}, {.host = false, .paths = true}), (Lines{"2026-01-03T00:00:00 last"}));
  EXPECT_EQ(Kept({.tags = {{"keep", "yes"}}}), (Lines{"2026-01-01T00:00:00 tag"}));
  EXPECT_EQ(Kept({}), Lines());
}

}  // namespace
}  // namespace snapstore
