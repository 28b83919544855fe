#include "base/clock.h"

#include <gtest/gtest.h>

namespace snapstore {
namespace {

TEST(Clock, TimesAreUtcAndHoldBeforeTheEpoch) {
  EXPECT_EQ(FormatTime(1'772'356'500'129'000'000), "2026-03-01T09:15:00.129Z");
  EXPECT_EQ(FormatTime(1'772'356'500'129'000'000, 0), "2026-03-01T09:15:00Z");
  EXPECT_EQ(FormatTime(1, 9), "1970-01-01T00:00:00.000000001Z");
  EXPECT_EQ(FormatTime(-1, 9), "1969-12-31T23:59:59.999999999Z");
}

TEST(Clock, ReadsWhatItWritesAndOffsets) {
  EXPECT_EQ(*ParseTime("2026-03-01T09:15:00.129Z"), 1'772'356'500'129'000'000);
  EXPECT_EQ(*ParseTime("1970-01-01T00:00:00.000000001Z"), 1);
  EXPECT_EQ(*ParseTime("1969-12-31T23:59:59Z"), -kNanosPerSecond);
  EXPECT_EQ(*ParseTime("1970-01-01T02:00:00+02:00"), 0);
  EXPECT_EQ(*ParseTime("1969-12-31T19:30:00.5-04:30"), kNanosPerSecond / 2);
  for (const char* text : {"", "2026-03-01", "2026-03-01T09:15:00", "2026-03-01T09:15:00Zx",
                           "2026-13-01T09:15:00Z", "2026-03-01T09:15:00+2"}) {
    EXPECT_TRUE(ParseTime(text).status().Is(StatusCode::kInvalidArgument)) << text;
  }
}

TEST(Clock, TimespecsAreTheSameInstants) {
  for (const int64_t nanos : {int64_t{0}, int64_t{-1}, kNanosPerSecond, -kNanosPerSecond,
                              int64_t{1'772'356'500'129'000'001}, INT64_MIN, INT64_MAX}) {
    const timespec time = ToTimespec(nanos);
    EXPECT_GE(time.tv_nsec, 0);
    EXPECT_LT(time.tv_nsec, kNanosPerSecond);
    if (nanos != INT64_MIN) {  // its whole seconds alone are out of range
      EXPECT_EQ(ToNanos(time), nanos);
    }
  }
}

}  // namespace
}  // namespace snapstore
