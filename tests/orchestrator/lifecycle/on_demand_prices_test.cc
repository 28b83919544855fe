#include "orchestrator/lifecycle/on_demand_prices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/base/temp_folder.h"

namespace snapstore::spot {
namespace {

TEST(OnDemandPrices, GrowWithTheSize) {
  const OnDemandPrices prices;
  EXPECT_DOUBLE_EQ(prices.Of("m5.large"), 0.096);
  EXPECT_DOUBLE_EQ(prices.Of("m5.xlarge"), 0.192);
  EXPECT_DOUBLE_EQ(prices.Of("m5.24xlarge"), 4.608);
  EXPECT_DOUBLE_EQ(prices.Of("t3.nano"), 0.0052);
}

TEST(OnDemandPrices, WhatIsNotKnownIsNothing) {
  const OnDemandPrices prices;
  for (const char* type : {"x9.large", "m5.metal", "m5", "", "m5.", "m5.xlargexlarge"}) {
    EXPECT_EQ(prices.Of(type), 0) << type;
  }
}

TEST(OnDemandPrices, AFileComesFirst) {
  const TempFolder folder;
  const std::string path = folder.File("prices.json");
  ASSERT_TRUE(ReplaceFile(path, AsBytes(R"({"m5.large": 0.2, "own.type": 3})")).ok());
  const auto prices = OnDemandPrices::Load(path);
  ASSERT_TRUE(prices.ok()) << prices.status().ToString();
  EXPECT_EQ(prices->Of("m5.large"), 0.2);
  EXPECT_EQ(prices->Of("own.type"), 3);
  EXPECT_EQ(prices->Of("c5.large"), 0.085);
}

TEST(OnDemandPrices, AFileThatIsNoneIsNamed) {
  const TempFolder folder;
  const std::string path = folder.File("prices.json");
  for (const char* text : {"[]", "{", R"({"m5.large": "1"})", R"({"m5.large": -1})"}) {
    ASSERT_TRUE(ReplaceFile(path, AsBytes(text)).ok());
    const auto prices = OnDemandPrices::Load(path);
    ASSERT_FALSE(prices.ok()) << text;
    EXPECT_THAT(prices.status().message(), ::testing::HasSubstr("prices.json")) << text;
  }
  EXPECT_FALSE(OnDemandPrices::Load(folder.File("missing")).ok());
}

}  // namespace
}  // namespace snapstore::spot
