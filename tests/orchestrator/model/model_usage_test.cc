#include <gtest/gtest.h>

#include "orchestrator/model/usage.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kMinute = 60'000;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kStart = 1'000'000'000;

UsageRecord Running() {
  UsageRecord usage;
  usage.instance_id = "i-1";
  usage.started_at_ms = kStart;
  usage.hourly_price = 0.04;
  return usage;
}

TEST(Usage, EachHourCostsWhatTheMarketAskedAtItsBeginning) {
  UsageRecord usage = Running();
  const std::vector<PriceChange> market = {{kStart - kHour, 0.04},
                                           {kStart + 30 * kMinute, 0.10},
                                           {kStart + 50 * kMinute, 0.06},
                                           {kStart + 2 * kHour, 0.08},
                                           {kStart + 4 * kHour + 1, 0.20}};
  EXPECT_TRUE(FollowMarket(&usage, market, kStart + 4 * kHour + 10 * kMinute));
  ASSERT_EQ(usage.prices.size(), 2);
  EXPECT_EQ(usage.prices[0].since_ms, kStart + kHour);
  EXPECT_EQ(usage.prices[0].hourly_price, 0.06);
  EXPECT_EQ(usage.prices[1].since_ms, kStart + 2 * kHour);
  EXPECT_EQ(usage.prices[1].hourly_price, 0.08);
  EXPECT_FALSE(FollowMarket(&usage, market, kStart + 4 * kHour + 20 * kMinute));
  EXPECT_TRUE(FollowMarket(&usage, market, kStart + 5 * kHour));
  EXPECT_EQ(usage.prices.back().hourly_price, 0.20);
}

TEST(Usage, AnHourThatBeganAtAPriceKeepsIt) {
  UsageRecord usage = Running();
  EXPECT_FALSE(FollowMarket(&usage, {{kStart + 1, 9.0}}, kStart + kHour - 1));
  EXPECT_FALSE(FollowMarket(&usage, {}, kStart + 100 * kHour));
  EXPECT_EQ(PricedSince(usage), kStart);
}

TEST(Usage, CostsArePartsOfTheStretchesOfEachPrice) {
  UsageRecord usage = Running();
  usage.prices = {{kStart + kHour, 0.06}, {kStart + 2 * kHour, 0.08}};
  const auto cost = [&](int64_t from, int64_t to, int64_t now) {
    return CostBetween(usage, kStart + from, kStart + to, kStart + now);
  };
  constexpr double kNear = 1e-9;
  EXPECT_NEAR(cost(-kHour, 100 * kHour, 3 * kHour), 0.18, kNear);
  EXPECT_NEAR(cost(30 * kMinute, 90 * kMinute, 3 * kHour), 0.05, kNear);
  EXPECT_NEAR(cost(0, 30 * kMinute, 3 * kHour), 0.02, kNear);
  EXPECT_EQ(cost(5 * kHour, 6 * kHour, 3 * kHour), 0);
  EXPECT_EQ(cost(2 * kHour, kHour, 3 * kHour), 0);
  usage.ended_at_ms = kStart + 150 * kMinute;
  EXPECT_NEAR(cost(0, 100 * kHour, 3 * kHour), 0.14, kNear);
}

TEST(Usage, ALongRecordGoesOnInAnother) {
  UsageRecord usage = Running();
  std::vector<PriceChange> market;
  std::vector<UsageRecord> records;
  for (int64_t hour = 1; hour <= 1000; ++hour) {
    market.push_back({kStart + hour * kHour, 0.01 * static_cast<double>(1 + hour % 7)});
    ASSERT_TRUE(FollowMarket(&usage, market, kStart + hour * kHour));
    if (const auto next = SplitUsage(&usage)) {
      ASSERT_TRUE(usage.ended_at_ms);
      EXPECT_FALSE(SplitUsage(&usage)) << "it is over";
      records.push_back(usage);
      usage = *next;
      EXPECT_EQ(PricedSince(usage), kStart + hour * kHour);
    }
    ASSERT_LE(usage.prices.size(), 64);
  }
  EXPECT_EQ(records.size(), 15);
  records.push_back(usage);
  UsageRecord whole = Running();
  FollowMarket(&whole, market, kStart + 1000 * kHour);
  const int64_t now = kStart + 1000 * kHour + 20 * kMinute;
  for (const auto& [from, to] : {std::pair<int64_t, int64_t>{0, INT64_MAX},
                                 {kStart + 30 * kHour, kStart + 33 * kHour},
                                 {kStart + 63 * kHour + kMinute, kStart + 900 * kHour}}) {
    double cost = 0;
    for (const UsageRecord& record : records) cost += CostBetween(record, from, to, now);
    EXPECT_NEAR(cost, CostBetween(whole, from, to, now), 1e-9);
  }
}

TEST(Usage, IsStoredWithItsPrices) {
  UsageRecord usage = Running();
  usage.prices = {{kStart + kHour, 0.06}};
  const auto stored = DecodeRecord<UsageRecord>(EncodeRecord(usage), "usage");
  ASSERT_TRUE(stored.ok()) << stored.status().ToString();
  ASSERT_EQ(stored->prices.size(), 1);
  EXPECT_EQ(stored->prices[0].since_ms, kStart + kHour);
  EXPECT_EQ(stored->prices[0].hourly_price, 0.06);
}

}  // namespace
}  // namespace snapstore::spot
