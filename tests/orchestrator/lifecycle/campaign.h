// A campaign: nodes of random kinds live for days over a simulated cloud, while users ask for
// things, instances are taken away, calls fail and the controller dies; then all is left alone, and
// every node must come to rest, with nothing leaked and nothing lost. The seed decides everything.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_CAMPAIGN_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_CAMPAIGN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "orchestrator/model/json.h"

namespace snapstore::spot {

struct CampaignOptions {
  uint64_t seed = 1;
  int nodes = 60;
  int days = 20;
  int64_t poll_seconds = 60;
  double crash_chance = 0.0005;  // per changing call and per commit
  double asked_per_day = 0.4;    // of each node
  double troubles = 1;           // scales what happens by itself
  double faults = 1;             // scales what happens to calls
  size_t account_lines = 50;     // of a node's last calls, when something is wrong
  std::function<void(const std::string& line)> progress = nullptr;  // once a virtual day
};

struct CampaignResult {
  std::string problems;                      // empty: all is well
  std::map<std::string, uint64_t> happened;  // for the summary
};

CampaignResult RunCampaign(const CampaignOptions& options);

// The body of a create call, of the `index`th node; `draw` gives a number below its argument.
Json RandomNode(int index, const std::string& config, const std::string& address,
                const std::function<uint64_t(uint64_t)>& draw);

// The body of an update; of a node that is paused, and stays so meanwhile, more may change.
Json RandomChange(bool at_rest_and_paused, const std::function<uint64_t(uint64_t)>& draw);

// What nodes of a campaign are registered in.
inline constexpr const char* kCampaignTargets =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/sim/0123456789abcdef";
inline constexpr const char* kCampaignZone = "Z1";

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_CAMPAIGN_H_
