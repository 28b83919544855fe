#include "tools/snapstore/changed_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snapstore::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ChangedBlocks, ReadsDecimalAndHexAndSkipsCommentsAndEmptyLines) {
  auto ranges = ParseChangedBlocks("# list\n\n0 4096\n  0x10000\t0x2000  # two blocks\r\n", "f");
  ASSERT_TRUE(ranges.ok()) << ranges.status().ToString();
  EXPECT_THAT(*ranges, ElementsAre(ByteRange{0, 4096}, ByteRange{0x10000, 0x2000}));
}

TEST(ChangedBlocks, SortsAndJoinsWhatTouchesOrOverlaps) {
  auto ranges = ParseChangedBlocks("100 50\n0 10\n10 5\n120 10\n", "f");
  ASSERT_TRUE(ranges.ok()) << ranges.status().ToString();
  EXPECT_THAT(*ranges, ElementsAre(ByteRange{0, 15}, ByteRange{100, 50}));
}

TEST(ChangedBlocks, AcceptsAnEmptyFileAndAMissingLastNewline) {
  EXPECT_THAT(*ParseChangedBlocks("", "f"), IsEmpty());
  EXPECT_THAT(*ParseChangedBlocks("1 2", "f"), ElementsAre(ByteRange{1, 2}));
}

TEST(ChangedBlocks, NamesFileAndLineOfAnError) {
  const struct {
    const char* text;
    const char* message;
  } kCases[] = {
      {"0 1\nx 1\n", "list.txt:2: 'x' is not a whole number"},
      {"5\n", "list.txt:1: expected OFFSET LENGTH, found 1 word"},
      {"# c\n\n1 2 3\n", "list.txt:3: expected OFFSET LENGTH, found 3 words"},
      {"1 0\n", "list.txt:1: the length is zero"},
      {"1 0xffffffffffffffff\n", "list.txt:1: the range ends beyond 64 bits"},
      {"1 -2\n", "list.txt:1: '-2' is not a whole number"},
      {"99999999999999999999 1\n", "list.txt:1: '99999999999999999999' does not fit into 64 bits"},
  };
  for (const auto& c : kCases) {
    auto ranges = ParseChangedBlocks(c.text, "list.txt");
    ASSERT_FALSE(ranges.ok()) << c.text;
    EXPECT_TRUE(ranges.status().Is(StatusCode::kInvalidArgument));
    EXPECT_EQ(ranges.status().message(), c.message);
  }
}

}  // namespace
}  // namespace snapstore::cli
