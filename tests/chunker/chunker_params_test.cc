#include <gmock/gmock.h>

#include "chunker/chunker.h"

namespace snapstore {
namespace {

using testing::HasSubstr;

struct BadParams {
  ChunkerParams params;
  const char* message;
};

TEST(ChunkerParams, AreRefusedWithTheReason) {
  const uint32_t k = 1 << 10;
  const BadParams cases[] = {
      {{ChunkerKind::kCdc, 255, 16 * k, 64 * k, 0}, "cdc needs min >= 256"},
      {{ChunkerKind::kCdc, 256, 512, 64 * k, 0}, "cdc needs avg >= 1024"},
      {{ChunkerKind::kCdc, 16 * k, 16 * k, 64 * k, 0}, "cdc needs min < avg"},
      {{ChunkerKind::kCdc, 4 * k, 16 * k, 16 * k, 0}, "cdc needs avg < max"},
      {{ChunkerKind::kCdc, 4 * k, 16 * k + 1, 64 * k, 0}, "avg must be a power of two"},
      {{ChunkerKind::kCdc, 4 * k, 0, 64 * k, 0}, "avg must be a power of two"},
      {{ChunkerKind::kCdc, 4 * k, 16 * k, (16 << 20) + 1, 0}, "max must be <= 16777216"},
      {{ChunkerKind::kAligned, 256, 16 * k, 64 * k, 0}, "power of two >= 512"},
      {{ChunkerKind::kAligned, 3 * k, 16 * k, 63 * k, 0}, "power of two >= 512"},
      {{ChunkerKind::kAligned, 4 * k, 2 * k, 64 * k, 0}, "block (min) <= avg"},
      {{ChunkerKind::kAligned, 4 * k, 16 * k, 8 * k, 0}, "avg <= max"},
      {{ChunkerKind::kAligned, 4 * k, 16 * k, 66 * k, 0}, "multiple of the block"},
      {{static_cast<ChunkerKind>(9), 4 * k, 16 * k, 64 * k, 0}, "unknown chunker kind 9"},
  };
  for (const BadParams& bad : cases) {
    const auto chunker = Chunker::Create(bad.params);
    ASSERT_FALSE(chunker.ok()) << bad.message;
    EXPECT_EQ(chunker.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(chunker.status().message(), HasSubstr(bad.message));
  }
}

TEST(ChunkerParams, OfTheProfilesAndOfTheLimitsAreAccepted) {
  for (const ChunkerParams& params :
       {ChunkerParams::Cdc(1), ChunkerParams::AlignedGroups(1), ChunkerParams::AlignedBlocks(),
        ChunkerParams{ChunkerKind::kCdc, 256, 1024, 1025, 0},
        ChunkerParams{ChunkerKind::kCdc, (8 << 20) - 1, 8 << 20, 16 << 20, ~uint64_t{0}},
        ChunkerParams{ChunkerKind::kAligned, 512, 512, 512, 0}}) {
    const auto chunker = Chunker::Create(params);
    ASSERT_TRUE(chunker.ok()) << chunker.status().ToString();
    EXPECT_EQ((*chunker)->params(), params);
  }
}

}  // namespace
}  // namespace snapstore
