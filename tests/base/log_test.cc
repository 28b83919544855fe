#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snapstore {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

TEST(Log, WritesTimeLevelAndTextToStandardError) {
  testing::internal::CaptureStderr();
  LogWarning("{} of {} chunks", 3, 7);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              MatchesRegex("[0-9-]+T[0-9:]+\\.[0-9][0-9][0-9]Z warning 3 of 7 chunks\n"));
}

TEST(Log, DropsWhatIsBelowItsLevel) {
  testing::internal::CaptureStderr();
  LogDebug("quiet");
  SetLogLevel(LogLevel::kError);
  LogWarning("quiet too");
  SetLogLevel(LogLevel::kDebug);
  LogDebug("loud");
  SetLogLevel(LogLevel::kOff);
  LogError("silent");
  SetLogLevel(LogLevel::kInfo);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("debug loud"));
  EXPECT_THAT(text, Not(HasSubstr("quiet")));
  EXPECT_THAT(text, Not(HasSubstr("silent")));
}

TEST(Log, KeepsAMessageOnOneLine) {
  EXPECT_EQ(SanitizedForLog("name\nwith\tmore\x7f, é"), "name\\x0awith\\x09more\\x7f, é");
}

TEST(Log, DoesNotFormatTextsOfOthers) {
  testing::internal::CaptureStderr();
  LogText(LogLevel::kInfo, "{} {0:d}");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("{} {0:d}"));
}

TEST(Log, HidesSecrets) {
  HideInLogs("hunter2!");
  HideInLogs("ab");
  EXPECT_EQ(SanitizedForLog("password hunter2!, again hunter2!; cab"),
            "password ***, again ***; cab");
}

TEST(Log, ParsesItsLevels) {
  EXPECT_EQ(*ParseLogLevel("warning"), LogLevel::kWarning);
  EXPECT_EQ(ParseLogLevel("loud").status().code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace snapstore
