// What an instance costs while the price of its spot market moves.
//
// A spot instance pays for each of its hours, counted from its launch, the price that its market
// had at the beginning of that hour (Amazon EC2 FAQs, "How would I be charged if my Spot price
// changes while my instance is running?").
//
// Thread safety: free functions.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_USAGE_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_USAGE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "orchestrator/model/records.h"

namespace snapstore::spot {

// When the last price of the record began to hold.
int64_t PricedSince(const UsageRecord& usage);

// Takes over what the hours that began since then, until `now_ms`, cost. `market` is the price
// history, ascending; its first entry may be older. False: no price was another than before.
bool FollowMarket(UsageRecord* usage, const std::vector<PriceChange>& market, int64_t now_ms);

// A record that holds more prices than are worth rewriting at each of them ends, at the beginning
// of the newest price; what runs on is the result. Nothing: it is short, or over.
std::optional<UsageRecord> SplitUsage(UsageRecord* usage);

// In US dollars, for what of it lies between the two instants; `now_ms` ends it if nothing else
// did.
double CostBetween(const UsageRecord& usage, int64_t from_ms, int64_t to_ms, int64_t now_ms);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_USAGE_H_
