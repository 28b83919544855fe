// Markets: where a node's instance may run, best first.
//
// A market is an instance type in one zone, spot or on demand. Spot markets come before on-demand
// ones (after on-demand ones that a free reservation covers, if these are to be used), preferred
// types before others; within that, `orientation` weighs the price against the risk of losing the
// instance. The risk is estimated from the market's price (relative to on demand, and how much it
// moved) and from the interruptions that this controller saw.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_MARKETS_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_MARKETS_H_

#include <string>
#include <vector>

#include "orchestrator/lifecycle/operation_run.h"

namespace snapstore::spot {

struct SubnetZone {
  std::string subnet_id;
  std::string zone;
};

struct Market {
  std::string instance_type;
  std::string zone;
  std::string subnet_id;
  bool spot = true;
  bool preferred = true;
  bool reserved = false;  // on demand, and covered by a free reservation
  bool burstable = false;
  double price = 0;            // US dollars an hour; 0: not known
  double on_demand_price = 0;  // of the same type; 0: not known

  std::string Name() const;  // as MarketMemory has it
};

// What narrows the choice beside the specification.
struct MarketLimits {
  std::vector<SubnetZone> subnets;        // that may be used
  std::string architecture;               // of the image; empty: any
  std::vector<std::string> cpu_features;  // that the newest checkpoint needs
  std::string checkpointed_on;            // the instance type that it was taken on; empty: none
  bool on_demand_only = false;
};

// In the order they are to be tried. Fail: none can ever fit, the message says why.
Flow<std::vector<Market>> ChooseMarkets(const Services& services, const NodeSpec& spec,
                                        const MarketLimits& limits);

// Whether a market that the node would rather be in than the one it runs in (spot instead of on
// demand, a preferred type instead of another) may have room: it exists where the node may be, and
// refused nobody lately. EC2 does not say more before a launch.
Flow<bool> MayFindBetterMarket(const Services& services, const NodeRecord& node);

Json MarketJson(const Market& market);
Market MarketOf(const Json& json);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_MARKETS_H_
