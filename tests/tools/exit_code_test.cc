#include "tools/snapstore/exit_code.h"

#include <gtest/gtest.h>

namespace snapstore::cli {
namespace {

TEST(ExitCode, DependsOnWhereAStatusArose) {
  EXPECT_EQ(ExitCodeOf(Status::Ok(), Stage::kUsage), 0);
  EXPECT_EQ(ExitCodeOf(Status::InvalidArgument("x"), Stage::kUsage), 2);
  EXPECT_EQ(ExitCodeOf(Status::NotFound("option's file"), Stage::kUsage), 2);
  EXPECT_EQ(ExitCodeOf(Status::InvalidArgument("ambiguous"), Stage::kRun), 1);
  EXPECT_EQ(ExitCodeOf(Status::NotFound("repository"), Stage::kOpen), 10);
  EXPECT_EQ(ExitCodeOf(Status::InvalidArgument("a file"), Stage::kOpen), 10);
  EXPECT_EQ(ExitCodeOf(Status::NotFound("snapshot"), Stage::kRun), 1);
  EXPECT_EQ(ExitCodeOf(Status::Conflict("there already"), Stage::kCreate), 1);
  EXPECT_EQ(ExitCodeOf(Status::Conflict("locked"), Stage::kOpen), 11);
  EXPECT_EQ(ExitCodeOf(Status::Io("x"), Stage::kOpen), 1);
}

TEST(ExitCode, DamageInterruptsAndKeysHaveTheirOwnEverywhere) {
  for (const Stage stage : {Stage::kCreate, Stage::kOpen, Stage::kRun}) {
    EXPECT_EQ(ExitCodeOf(Status::Corruption("x"), stage), 13);
    EXPECT_EQ(ExitCodeOf(Status::Cancelled("x"), stage), 130);
    EXPECT_EQ(ExitCodeOf(Status::WrongKey("x"), stage), 12);
  }
}

TEST(ExitCode, OfACommandThatRanToItsEndFollowsItsFinding) {
  EXPECT_EQ(ExitCodeOf(Finding::kNone), 0);
  EXPECT_EQ(ExitCodeOf(Finding::kPartial), 1);
  EXPECT_EQ(ExitCodeOf(Finding::kUnreadable), 3);
  EXPECT_EQ(ExitCodeOf(Finding::kDamage), 13);
}

}  // namespace
}  // namespace snapstore::cli
