#include "agent/lazy_ranges.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace snapstore::agent {
namespace {

constexpr uint64_t kPage = 4096;

// Missing pages by address, and where each was: what LazyRanges stands for.
using Model = std::map<uint64_t, uint64_t>;

Model PagesOf(const LazyRanges& ranges) {
  Model pages;
  for (uint64_t at = 0; const auto range = ranges.Next(at, UINT64_MAX);) {
    EXPECT_GT(range->bytes, 0u);
    for (uint64_t done = 0; done < range->bytes; done += kPage) {
      pages[range->address + done] = range->origin + done;
    }
    at = range->address + range->bytes;
  }
  return pages;
}

TEST(LazyRangesTest, APieceIsCutAtTheEndAskedFor) {
  LazyRanges ranges;
  ranges.Add(10 * kPage, 5 * kPage, 10 * kPage);
  const auto whole = ranges.Next(0, UINT64_MAX);
  ASSERT_TRUE(whole.has_value());
  EXPECT_EQ(whole->address, 10 * kPage);
  EXPECT_EQ(whole->bytes, 5 * kPage);
  const auto part = ranges.Next(11 * kPage, 13 * kPage);
  ASSERT_TRUE(part.has_value());
  EXPECT_EQ(part->address, 11 * kPage);
  EXPECT_EQ(part->bytes, 2 * kPage);
  EXPECT_EQ(part->origin, 11 * kPage);
  EXPECT_FALSE(ranges.Next(15 * kPage, UINT64_MAX).has_value());
  EXPECT_FALSE(ranges.Next(0, 10 * kPage).has_value());
}

TEST(LazyRangesTest, NeighboursAreOnePieceOnlyIfTheirOriginsAre) {
  LazyRanges ranges;
  ranges.Add(10 * kPage, 2 * kPage, 10 * kPage);
  ranges.Add(12 * kPage, 2 * kPage, 12 * kPage);
  ranges.Add(14 * kPage, 2 * kPage, 90 * kPage);
  EXPECT_EQ(ranges.Next(0, UINT64_MAX)->bytes, 4 * kPage);
  EXPECT_EQ(ranges.Next(14 * kPage, UINT64_MAX)->origin, 90 * kPage);
}

TEST(LazyRangesTest, MovedPagesKeepTheirOrigin) {
  LazyRanges ranges;
  ranges.Add(10 * kPage, 4 * kPage, 10 * kPage);
  ranges.Remove(11 * kPage, 12 * kPage);
  ranges.Move(10 * kPage, 50 * kPage, 4 * kPage);
  EXPECT_FALSE(ranges.IsMissing(10 * kPage));
  EXPECT_FALSE(ranges.IsMissing(51 * kPage)) << "it had arrived before";
  EXPECT_TRUE(ranges.IsMissing(50 * kPage));
  EXPECT_EQ(ranges.Next(52 * kPage, UINT64_MAX)->origin, 12 * kPage);
  EXPECT_EQ(ranges.bytes(), 3 * kPage);
}

TEST(LazyRangesTest, AgreesWithSetsOfPagesWhateverIsDone) {
  std::mt19937_64 random(7);
  LazyRanges ranges;
  Model model;
  for (uint64_t page = 0; page < 64; ++page) {
    if (page % 9 == 0) continue;
    ranges.Add(page * kPage, kPage, page * kPage);
    model[page * kPage] = page * kPage;
  }
  for (int turn = 0; turn < 400; ++turn) {
    const uint64_t from = random() % 128 * kPage;
    const uint64_t bytes = (1 + random() % 6) * kPage;
    if (turn % 2 == 0) {
      const uint64_t to = random() % 128 * kPage;
      if (from < to + bytes && to < from + bytes) continue;
      // As the kernel does: what is at the new place is unmapped first.
      ranges.Remove(to, to + bytes);
      ranges.Move(from, to, bytes);
      for (uint64_t done = 0; done < bytes; done += kPage) {
        model.erase(to + done);
        const auto page = model.find(from + done);
        if (page == model.end()) continue;
        const uint64_t origin = page->second;
        model.erase(page);
        model[to + done] = origin;
      }
    } else if (turn % 16 == 1) {
      ranges.Remove(from, from + bytes);
      for (uint64_t done = 0; done < bytes; done += kPage) model.erase(from + done);
    }
    ASSERT_EQ(PagesOf(ranges), model) << "turn " << turn;
    ASSERT_EQ(ranges.bytes(), model.size() * kPage);
  }
}

}  // namespace
}  // namespace snapstore::agent
