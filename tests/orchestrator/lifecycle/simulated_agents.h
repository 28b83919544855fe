// SimulatedAgents: the agents on a simulated cloud's instances. Each instance has its own nature:
// most agents work, some never report, fall silent, fail to stop their applications, or cannot be
// reached when they are asked.
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_AGENTS_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_AGENTS_H_

#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "orchestrator/lifecycle/agent_caller.h"
#include "orchestrator/state/controller_state.h"
#include "tests/orchestrator/lifecycle/simulated_cloud.h"

namespace snapstore::spot {

// The share of instances whose agent is like that.
struct AgentTroubles {
  double never_reports = 0;
  double falls_silent = 0;  // after a few hours
  double fails = 0;         // the final checkpoint
  double unreachable = 0;
};

class SimulatedAgents : public AgentCaller {
 public:
  SimulatedAgents(SimulatedCloud* cloud, SimulatedClock* clock, uint64_t seed)
      : cloud_(cloud), clock_(clock), seed_(seed) {}

  AgentTroubles troubles;

  // Nodes whose instances have an agent.
  void Expect(const std::string& account, const std::string& node,
              const std::vector<std::string>& configs) {
    nodes_[node] = {account, configs, 0};
  }
  void Forget(const std::string& node) { nodes_.erase(node); }

  // They report what is to be reported now. The nodes with a new notice.
  std::vector<std::string> Report(ControllerState* state);

  Result<std::vector<AgentOutcome>> Stop(const AgentRecord& agent, int64_t deadline_ms) override;
  Status StartShutdownScript(const AgentRecord& agent, const std::string& script) override;
  Result<std::optional<int>> PollShutdownScript(const AgentRecord& agent) override;

 private:
  enum class Nature { kWorks, kNeverReports, kFallsSilent, kFails, kUnreachable };
  struct Known {
    std::string account;
    std::vector<std::string> configs;
    int64_t reported_ms = 0;
    std::string reported_on = {};
    int noticed = 0;  // the worst so far: 1 a recommendation, 2 the end
  };
  Nature NatureOf(const std::string& instance) const;
  bool Runs(const std::string& instance) const;

  SimulatedCloud* const cloud_;
  SimulatedClock* const clock_;
  const uint64_t seed_;
  std::map<std::string, Known> nodes_;
  std::map<std::string, int64_t> scripts_;  // by instance: when it was started
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_AGENTS_H_
