// OnDemandPrices: what instances cost on demand: what savings are told against, and what the risk
// of a spot market is judged by. Within a family the price grows with the size.
//
// Built in are AWS's prices of us-east-1 (Linux); a file has others. Source: "Amazon EC2 On-Demand
// Pricing".
//
// Thread safety: const calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_ON_DEMAND_PRICES_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_ON_DEMAND_PRICES_H_

#include <map>
#include <string>

#include "snapstore/status.h"

namespace snapstore::spot {

class OnDemandPrices {
 public:
  // A JSON object of US dollars an hour by instance type: {"m5.large": 0.107}. They come before
  // those that are built in. InvalidArgument: it is something else.
  static Result<OnDemandPrices> Load(const std::string& path);

  // US dollars an hour; 0: not known.
  double Of(const std::string& instance_type) const;

 private:
  std::map<std::string, double> own_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_ON_DEMAND_PRICES_H_
