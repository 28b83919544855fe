// Scenarios: one operation each, of a node with much around it, in a simulated cloud: what tests of
// deaths and of lost answers run again and again.
//
//   for (const Scenario& scenario : Scenarios()) {
//     ScenarioWorld world(scenario, {});
//     std::string problems = world.Begin();
//     world.Arm(…);
//     problems += world.End();
//   }
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_SCENARIOS_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_SCENARIOS_H_

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/orchestrator/lifecycle/simulation.h"

namespace snapstore::spot {

class ScenarioWorld;

struct Scenario {
  const char* name = "";
  bool reattach = true;
  bool many_zones = false;
  // With an elastic address, a name, a classic load balancer and a volume of the user's.
  bool connected = false;
  NodeState from = NodeState::kActive;  // kDeallocated: there is no node yet
  std::function<Status(ScenarioWorld* world)> ask = nullptr;
  NodeState to = NodeState::kActive;  // kDeallocated: gone
  size_t instances = 1;               // at the end
  int64_t lasts_ms = 0;               // at least, after it was asked for
};
void PrintTo(const Scenario& scenario, std::ostream* out);
std::string NameOf(const Scenario& scenario);

// All of them.
std::vector<Scenario> Scenarios();

class ScenarioWorld : public Simulation {
 public:
  // `options`: seed and times are the scenario's.
  ScenarioWorld(const Scenario& scenario, SimulationOptions options);

  // Until the operation is asked for. What is wrong; empty: nothing.
  std::string Begin();
  // The operation, and long enough after it. What is wrong.
  std::string End();

  uint64_t calls() const { return calls_; }      // of the operation, that change something
  uint64_t commits() const { return commits_; }  // of the operation

  // For scenarios.
  Json Body() const;
  Status MakeNode(const Json& body);
  std::string node;

 private:
  const Scenario& scenario_;
  std::string config_;
  std::string address_;
  std::string volume_;
  uint64_t calls_ = 0;
  uint64_t commits_ = 0;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATED_SCENARIOS_H_
