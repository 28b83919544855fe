#include "engine/level_chooser.h"

#include <gtest/gtest.h>

namespace snapstore {
namespace {

TEST(LevelChooser, FollowsTheSlowerOfCpuAndStore) {
  LevelChooser level(0);
  EXPECT_EQ(level.level(), LevelChooser::kStart);
  level.OnPackFull(0);  // nothing has been stored yet: tells nothing
  EXPECT_EQ(level.level(), LevelChooser::kStart);
  for (int i = 0; i < 20; ++i) level.OnPackFull(0);
  EXPECT_EQ(level.level(), LevelChooser::kLowest);
  level.OnPackFull(1);  // both are busy
  EXPECT_EQ(level.level(), LevelChooser::kLowest);
  level.OnPackFull(2);
  EXPECT_EQ(level.level(), LevelChooser::kLowest + 1);
  for (int i = 0; i < 20; ++i) level.OnPackFull(2);
  EXPECT_EQ(level.level(), LevelChooser::kHighest);
}

TEST(LevelChooser, KnowsHowManyPacksTheStoreTakesAtOnce) {
  LevelChooser level(0, 4);
  level.OnPackFull(0);
  level.OnPackFull(4);
  EXPECT_EQ(level.level(), LevelChooser::kStart);
  level.OnPackFull(5);
  EXPECT_EQ(level.level(), LevelChooser::kStart + 1);
  level.OnPackFull(3);
  level.OnPackFull(3);
  EXPECT_EQ(level.level(), LevelChooser::kStart - 1);
}

TEST(LevelChooser, StaysAtAFixedLevel) {
  LevelChooser level(7);
  for (int i = 0; i < 5; ++i) level.OnPackFull(0);
  for (int i = 0; i < 5; ++i) level.OnPackFull(2);
  EXPECT_EQ(level.level(), 7);
}

}  // namespace
}  // namespace snapstore
