// The part of Reconciler that follows what running spot instances cost.
#include <algorithm>

#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/lifecycle/reconciler.h"
#include "orchestrator/model/usage.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kHourMs = 3'600'000;

using MarketName = std::pair<std::string, std::string>;  // type, zone
using Markets = std::map<MarketName, std::vector<PriceChange>>;

Result<Markets> ReadMarkets(const Services& services, SpotPriceQuery query) {
  std::sort(query.instance_types.begin(), query.instance_types.end());
  query.instance_types.erase(std::unique(query.instance_types.begin(), query.instance_types.end()),
                             query.instance_types.end());
  const auto prices = services.ec2->DescribeSpotPriceHistory(query);
  if (!prices.ok()) return prices.status();
  Markets markets;
  for (const Ec2SpotPrice& price : *prices) {
    markets[{price.instance_type, price.availability_zone}].push_back(
        {price.time_ns / kNanosPerMs, price.usd_per_hour});
  }
  for (auto& [name, changes] : markets) {
    std::sort(changes.begin(), changes.end(),
              [](const auto& a, const auto& b) { return a.since_ms < b.since_ms; });
  }
  return markets;
}

}  // namespace

std::vector<Reconciler::Priced> Reconciler::FindUnpriced(const NodeList& nodes) {
  const int64_t now = services_->state->Now();
  std::vector<Priced> due;
  std::map<std::string, PricedHour> followed;
  for (const auto& node : nodes) {
    const NodeRuntime& runtime = node->runtime;
    if (node->operation_id || runtime.life_cycle != LifeCycle::kSpot || !runtime.instance_id ||
        !runtime.launched_at_ms) {
      continue;
    }
    const int64_t launched = *runtime.launched_at_ms;
    const int64_t hour = launched + (now - launched) / kHourMs * kHourMs;
    const auto known = priced_hours_.find(node->id);
    int64_t since = launched;
    if (known != priced_hours_.end()) since = std::max(since, known->second.since_ms);
    followed[node->id] = {hour, since};
    if (hour == launched || (known != priced_hours_.end() && known->second.hour_ms == hour)) {
      continue;
    }
    const auto usage = services_->state->OpenUsage(node->account_id, node->id, since);
    if (!usage.ok() && !usage.status().Is(StatusCode::kNotFound)) followed.erase(node->id);
    if (!usage.ok() || usage->instance_id != *runtime.instance_id) continue;
    followed[node->id].since_ms = usage->started_at_ms;
    due.push_back({node, *usage});
  }
  priced_hours_ = std::move(followed);
  return due;
}

Status Reconciler::FollowPrices() {
  SNAP_ASSIGN_OR_RETURN(const NodeList nodes, services_->state->ListAllNodes());
  std::map<std::string, SpotPriceQuery> queries;  // by product
  const std::vector<Priced> due = FindUnpriced(nodes);
  const auto product_of = [](const NodeRecord& node) {
    return node.spec.compute.product.value_or("Linux/UNIX");
  };
  for (const Priced& one : due) {
    SpotPriceQuery& query = queries[product_of(*one.node)];
    const int64_t since_ns = PricedSince(one.usage) * kNanosPerMs;
    query.products = {product_of(*one.node)};
    query.instance_types.push_back(one.node->runtime.instance_type.value_or(""));
    query.start_ns = query.start_ns == 0 ? since_ns : std::min(query.start_ns, since_ns);
  }
  for (const auto& [product, query] : queries) {
    const auto markets = ReadMarkets(*services_, query);
    for (const Priced& one : due) {
      if (product_of(*one.node) != product) continue;
      if (!markets.ok()) {
        priced_hours_.erase(one.node->id);
        continue;
      }
      const NodeRuntime& runtime = one.node->runtime;
      const auto market = markets->find(
          {runtime.instance_type.value_or(""), runtime.availability_zone.value_or("")});
      if (market == markets->end()) continue;
      const auto follow = [&](UsageRecord* usage) -> Status {
        // It may have ended meanwhile.
        const int64_t until = usage->ended_at_ms.value_or(services_->state->Now());
        return FollowMarket(usage, market->second, until)
                   ? Status::Ok()
                   : Status::Cancelled("the price did not move");
      };
      const Status done = services_->state->ChangeUsage(one.node->account_id, one.node->id,
                                                        one.usage.started_at_ms, follow);
      if (!done.ok() && !done.Is(StatusCode::kCancelled)) return done;
    }
    if (!markets.ok()) return markets.status();
  }
  return {};
}

}  // namespace snapstore::spot
