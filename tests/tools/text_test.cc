#include "tools/snapstore/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snapstore::cli {
namespace {

using namespace std::string_literals;

TEST(EscapeForTerminal, LeavesPrintableUtf8Alone) {
  EXPECT_EQ(EscapeForTerminal("plain Grüße 日本 🙂"), "plain Grüße 日本 🙂");
}

TEST(EscapeForTerminal, WritesControlBytesAsHex) {
  EXPECT_EQ(EscapeForTerminal("\x1b[31mred\n\x7f\0"s), "\\x1b[31mred\\x0a\\x7f\\x00");
}

TEST(EscapeForTerminal, WritesC1ControlsAndInvalidBytesAsHex) {
  EXPECT_EQ(EscapeForTerminal("a\xc2\x9bz"), "a\\xc2\\x9bz");  // CSI of ECMA-48 in UTF-8
  EXPECT_EQ(EscapeForTerminal("a\xff\xc3"), "a\\xff\\xc3");
}

TEST(IsUtf8, RefusesOverlongFormsSurrogatesAndTheBeyond) {
  EXPECT_TRUE(IsUtf8("\xf4\x8f\xbf\xbf"));
  EXPECT_FALSE(IsUtf8("\xc0\xaf"));
  EXPECT_FALSE(IsUtf8("\xe0\x80\xaf"));
  EXPECT_FALSE(IsUtf8("\xed\xa0\x80"));
  EXPECT_FALSE(IsUtf8("\xf4\x90\x80\x80"));
  EXPECT_FALSE(IsUtf8("\xe2\x82"));
}

TEST(FormatSize, KeepsThreeDigitsAndChangesUnitBeforeFour) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1024), "1.00 KiB");
  EXPECT_EQ(FormatSize(12'345), "12.1 KiB");
  EXPECT_EQ(FormatSize(3ull << 30), "3.00 GiB");
  EXPECT_EQ(FormatSize((1ull << 20) - 1), "1.00 MiB");
  EXPECT_EQ(FormatSize(UINT64_MAX), "16.0 EiB");
}

TEST(FormatMode, ShowsTypeAndSpecialBitsAsLsDoes) {
  EXPECT_EQ(FormatMode(EntryType::kFile, 0644), "-rw-r--r--");
  EXPECT_EQ(FormatMode(EntryType::kDirectory, 01777), "drwxrwxrwt");
  EXPECT_EQ(FormatMode(EntryType::kFile, 06744), "-rwsr-Sr--");
  EXPECT_EQ(FormatMode(EntryType::kSymlink, 0777), "lrwxrwxrwx");
}

TEST(ParseSize, AcceptsBytesAndIecUnits) {
  EXPECT_EQ(*ParseSize("4096"), 4096u);
  EXPECT_EQ(*ParseSize("0x1000"), 4096u);
  EXPECT_EQ(*ParseSize("512M"), 512ull << 20);
  EXPECT_EQ(*ParseSize("1.5GiB"), 3ull << 29);
  EXPECT_EQ(*ParseSize("2k"), 2048u);
  EXPECT_EQ(*ParseSize("7B"), 7u);
  EXPECT_EQ(*ParseSize("7KB"), 7168u);
}

TEST(ParseSize, RefusesEverythingElse) {
  for (const char* text : {"", "M", "-1", "1.5", "1..5M", "12X", "1 M", "iB", "5iB", "0x", "1e3K",
                           "99999999999999999999", "16777216T", "20000000.0T", "+5"}) {
    EXPECT_FALSE(ParseSize(text).ok()) << text;
  }
}

TEST(ParsePercent, AcceptsOnlyASharePastZero) {
  EXPECT_EQ(*ParsePercent("10%"), 10);
  EXPECT_EQ(*ParsePercent("0.5"), 0.5);
  EXPECT_EQ(*ParsePercent("100%"), 100);
  for (const char* text : {"", "%", "0", "0%", "100.1", "-1", "nan", "inf", "ten", "10%%"}) {
    EXPECT_FALSE(ParsePercent(text).ok()) << text;
  }
}

TEST(ParseDuration, AddsUpItsParts) {
  constexpr int64_t kHour = 3600 * int64_t{1'000'000'000};
  constexpr int64_t kDay = 24 * kHour;
  EXPECT_EQ(*ParseDuration("36h"), 36 * kHour);
  EXPECT_EQ(*ParseDuration("1d12h"), 36 * kHour);
  EXPECT_EQ(*ParseDuration("2w"), 14 * kDay);
  EXPECT_EQ(*ParseDuration("1y6m"), 545 * kDay);
  for (const char* text :
       {"", "7", "d", "7x", "-7d", "7 d", "7d ", "99999999999d", "4000000000y"}) {
    EXPECT_TRUE(ParseDuration(text).status().Is(StatusCode::kInvalidArgument)) << text;
  }
}

TEST(ParseTags, TakesEachKeyOnce) {
  EXPECT_EQ(*ParseTags({"a=b", "c="}, "--tag"),
            (std::map<std::string, std::string>{{"a", "b"}, {"c", ""}}));
  for (const std::vector<std::string>& tags :
       {std::vector<std::string>{"a"}, {"=b"}, {"a=1", "a=2"}, {"a=\xff"}}) {
    EXPECT_THAT(ParseTags(tags, "--keep-tag").status().message(), testing::HasSubstr("--keep-tag"));
  }
}

TEST(NormalisePath, DropsWhatASnapshotPathDoesNotHave) {
  EXPECT_EQ(*NormalisePath("/data//db/./x/"), "data/db/x");
  EXPECT_EQ(*NormalisePath("/"), "");
  EXPECT_EQ(*NormalisePath(""), "");
  EXPECT_EQ(*NormalisePath("..data"), "..data");
  EXPECT_FALSE(NormalisePath("a/../b").ok());
}

TEST(Table, PadsByCodePointsAndTrimsLineEnds) {
  Table table({Table::Align::kLeft, Table::Align::kRight, Table::Align::kLeft});
  table.Row({"é", "1", ""});
  table.Row({"long", "100", "x"});
  EXPECT_THAT(table.Lines(), testing::ElementsAre("é       1", "long  100  x"));
}

}  // namespace
}  // namespace snapstore::cli
