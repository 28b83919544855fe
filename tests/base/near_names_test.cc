#include "base/near_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace snapstore {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::vector<std::string> kKnown = {"init", "snapshot", "list", "ls", "show", "stats"};

TEST(NearNames, FindsTypos) {
  EXPECT_THAT(NearNames("snaphsot", kKnown), ElementsAre("snapshot"));
  EXPECT_THAT(NearNames("lst", kKnown), ElementsAre("list"));
  EXPECT_THAT(NearNames("lisst", kKnown), ElementsAre("list"));
}

TEST(NearNames, PutsTheNearestFirst) {
  EXPECT_THAT(NearNames("stow", {"stats", "shot", "show"}), ElementsAre("show", "shot"));
}

TEST(NearNames, FindsWhatBeginsWithTheName) {
  EXPECT_THAT(NearNames("snap", kKnown), ElementsAre("snapshot"));
}

TEST(NearNames, FindsNothingForAForeignWord) {
  EXPECT_THAT(NearNames("defenestrate", kKnown), IsEmpty());
  EXPECT_THAT(NearNames("", kKnown), IsEmpty());
}

TEST(DidYouMean, AsksOnlyWhenSomethingIsNear) {
  EXPECT_EQ(DidYouMean("stow", {"stats", "shot", "show"}), "; did you mean 'show' or 'shot'?");
  EXPECT_EQ(DidYouMean("defenestrate", kKnown), "");
}

}  // namespace
}  // namespace snapstore
