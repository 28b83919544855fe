#include "orchestrator/model/usage.h"

#include <algorithm>

namespace snapstore::spot {
namespace {

constexpr int64_t kHourMs = 3'600'000;
constexpr size_t kPricesMax = 64;

}  // namespace

int64_t PricedSince(const UsageRecord& usage) {
  return usage.prices.empty() ? usage.started_at_ms : usage.prices.back().since_ms;
}

bool FollowMarket(UsageRecord* usage, const std::vector<PriceChange>& market, int64_t now_ms) {
  double price = usage->prices.empty() ? usage->hourly_price : usage->prices.back().hourly_price;
  bool changed = false;
  auto next = market.begin();
  for (int64_t hour = PricedSince(*usage) + kHourMs; hour <= now_ms; hour += kHourMs) {
    double asked = price;
    for (; next != market.end() && next->since_ms <= hour; ++next) asked = next->hourly_price;
    if (asked == price) continue;
    price = asked;
    usage->prices.push_back({hour, price});
    changed = true;
  }
  return changed;
}

std::optional<UsageRecord> SplitUsage(UsageRecord* usage) {
  if (usage->ended_at_ms || usage->prices.size() <= kPricesMax) return std::nullopt;
  UsageRecord next = *usage;
  next.started_at_ms = usage->prices.back().since_ms;
  next.hourly_price = usage->prices.back().hourly_price;
  next.prices.clear();
  usage->prices.pop_back();
  usage->ended_at_ms = next.started_at_ms;
  return next;
}

double CostBetween(const UsageRecord& usage, int64_t from_ms, int64_t to_ms, int64_t now_ms) {
  const int64_t begin = std::max(from_ms, usage.started_at_ms);
  const int64_t end = std::min(to_ms, usage.ended_at_ms.value_or(now_ms));
  double cost = 0;
  const auto add = [&](int64_t since_ms, int64_t until_ms, double hourly_price) {
    const int64_t length = std::min(until_ms, end) - std::max(since_ms, begin);
    if (length > 0) {
      cost += static_cast<double>(length) / static_cast<double>(kHourMs) * hourly_price;
    }
  };
  int64_t since = usage.started_at_ms;
  double price = usage.hourly_price;
  for (const PriceChange& change : usage.prices) {
    add(since, change.since_ms, price);
    since = change.since_ms;
    price = change.hourly_price;
  }
  add(since, INT64_MAX, price);
  return cost;
}

}  // namespace snapstore::spot
