// Simulation: a controller's life-cycle engine over a simulated cloud, driven through virtual time,
// with agents that answer or do not, and with deaths of the controller.
//
//   Simulation simulation({.seed = 1});
//   const std::string node = simulation.Create(spec);
//   simulation.RunUntilIdle(kHourMs);
//   EXPECT_EQ(simulation.Problems(), "");
//
// Times are milliseconds.
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATION_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATION_H_

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "orchestrator/lifecycle/reconciler.h"
#include "tests/orchestrator/lifecycle/simulated_agents.h"
#include "tests/orchestrator/lifecycle/simulated_cloud.h"
#include "tests/orchestrator/lifecycle/simulation_owners.h"
#include "tests/orchestrator/state/hooked_state_store.h"
#include "tests/orchestrator/state/memory_state_store.h"

namespace snapstore::spot {

struct SimulationOptions {
  uint64_t seed = 1;
  int64_t poll_ms = kMinuteMs;             // when something happened
  int64_t quiet_poll_ms = 10 * kMinuteMs;  // when nothing did
  int64_t snapshot_interval_ms = 6 * kHourMs;
  int64_t restart_ms_max = 10 * kMinuteMs;  // until a controller that died is back
  // Keeps no events, checkpoints and finished operations.
  bool forgetful = false;
  // In place of one in memory.
  std::function<std::unique_ptr<StateStore>()> open_store = nullptr;
  // A death is that of the whole process, by SIGKILL.
  bool kills_process = false;
};

// Where the controller dies.
struct CrashPoint {
  enum class Kind { kBeforeCall, kAfterCall, kBeforeCommit, kAfterCommit };
  Kind kind = Kind::kBeforeCall;
  uint64_t index = 0;  // of the changing calls, or the commits, since it was armed
};

class Simulation {
 public:
  static constexpr const char* kAccount = "act-00000001";
  static constexpr std::string_view kActiveOperations = "operation/active/";  // their keys

  explicit Simulation(const SimulationOptions& options);
  ~Simulation();
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  SimulatedClock clock;
  SimulatedCloud cloud;
  SimulatedAgents agents;
  double crash_chance = 0;  // per changing call and per commit of the controller
  // The controller has just died; may give it another store to go on with.
  std::function<void(HookedStateStore*)> on_death = nullptr;

  ControllerState& state() { return state_; }
  OperationJournal& journal() { return *journal_; }

  // As the API does it.
  Result<std::string> Create(const Json& spec);
  Status Ask(const std::string& node, NodeAction action, const Json& input = Json());
  Status Change(const std::string& node, const Json& change);
  Status ApplyTags(const std::string& node);
  Status DeleteVolume(const std::string& node, const std::string& volume);
  Result<MigrationRecord> Import(const MigrationRequest& request, bool as_group = false);
  Status CancelImport(const std::string& migration);
  std::optional<NodeRecord> Node(const std::string& node);

  void RunUntil(int64_t time_ms);
  // Until no operation is under way; false: after `limit_ms` there still is one.
  bool RunUntilIdle(int64_t limit_ms);

  // Counts from now on; at the point, if there is one, the controller dies, once.
  void Arm(const std::optional<CrashPoint>& point);
  uint64_t counted_calls() const { return counted_calls_; }
  uint64_t counted_commits() const { return counted_commits_; }
  uint64_t crashes() const { return crashes_; }
  uint64_t operations_ended() const { return operations_ended_; }
  uint64_t polls() const { return polls_; }

  // What the cloud holds of nodes and no record accounts for, one a line.
  std::string Leaks();
  // Names and addresses that point to what no record has, one a line; `Leaks` has them too.
  std::string DanglingNames();
  // Two records that claim the same; operations that no node has; and the cloud's violations.
  std::string Problems();
  // What an active node is to have outside of its instance and has not, one a line.
  std::string Missing(const std::string& node);
  // How users and schedules, whoever was last, want it to be; nothing: nobody did.
  std::optional<NodeState> WishFor(const std::string& node) const {
    const auto wish = wishes_.find(node);
    return wish == wishes_.end() ? std::nullopt : std::optional(wish->second);
  }
  // Volumes that went by hand, or that no record asks to keep, excuse a loss.
  void ExcuseLoss(const std::string& node) { excused_.insert(node); }
  // Something that others made, whatever its tags say.
  void Disown(const std::string& id) { foreign_.insert(id); }
  // Virtual time that data of nodes went back, and how often.
  int64_t lost_ms() const { return lost_ms_; }

 private:
  struct Crash {};  // no std::exception: nobody may catch it
  struct Deletion {
    Deallocation wanted;
    int64_t asked_ms = 0;
  };
  // Something that a record no longer keeps.
  struct Leftover {
    std::string node;
    int64_t earliest_ms = 0;  // that it may go; INT64_MAX: never
  };

  template <typename Act>
  void AsController(const Act& act);
  void Die();
  void Restart();
  void MayDie(CrashPoint::Kind kind, uint64_t index);
  void BeforeCommit(const Transaction& transaction);
  void AfterCommit(const Transaction& transaction);
  void Schedule(const std::string& operation, int64_t due_ms);
  void Step(int64_t until_ms);
  void Poll();
  void SlowRound();
  void RunOperation(const std::string& id);
  // Judges.
  std::set<std::string> ClaimsOf(const NodeRecord& node);
  void FollowRecords(const Transaction& transaction);
  void FollowOperation(const Transaction::Change& change);
  void FollowRetained(const Transaction::Change& change);
  void KeepLeftovers(const NodeRecord& node);
  void JudgeOwners(const std::string& id);
  void JudgeDeletion(const std::string& kind, const std::string& id, bool by_itself);
  bool MayDelete(const std::string& kind, const std::string& id, const std::string& node);
  void JudgeLoss(const std::string& node, const std::string& device, int64_t lost_ms);
  void NodeLeaks(const NodeRecord& node, std::set<std::string>* accounted);

  const SimulationOptions options_;
  SplitMix64 random_;
  uint64_t next_id_ = 1;
  std::shared_ptr<StateMemory> memory_;
  HookedStateStore store_;
  ControllerState state_;
  std::unique_ptr<OperationJournal> journal_;
  std::unique_ptr<MarketMemory> markets_;
  Services services_;
  std::unique_ptr<Reconciler> reconciler_;

  bool in_controller_ = false;
  std::optional<CrashPoint> armed_;
  uint64_t counted_calls_ = 0;
  uint64_t counted_commits_ = 0;
  uint64_t crashes_ = 0;
  uint64_t operations_ended_ = 0;
  uint64_t polls_ = 0;

  std::map<std::string, int64_t> dues_;  // of operations
  std::set<std::pair<int64_t, std::string>> queue_;
  std::vector<std::pair<int64_t, Reconciler::NodeName>> snapshots_;
  int64_t down_until_ms_ = 0;  // the controller is dead
  int64_t polled_ms_ = 0;
  int64_t purged_ms_ = 0;
  int64_t slow_round_ms_ = 0;
  uint64_t seen_changes_ = 0;
  bool dirty_ = true;
  std::set<std::string> excused_;
  std::set<std::string> given_up_;  // volumes that users deleted, and their snapshots
  // Devices of nodes, whose volumes these were.
  std::set<std::pair<std::string, std::string>> emptied_;
  std::set<std::string> foreign_;
  std::set<std::string> let_run_;  // nodes that are gone and left their instance
  OwnerIndex owners_;
  std::optional<NodeRecord> leaving_;          // with the commit that is under way
  std::map<std::string, Deletion> deletions_;  // by node
  std::map<std::string, Leftover> leftovers_;  // by resource
  std::map<std::string, NodeState> wishes_;    // by node
  std::set<std::string> known_operations_;
  int64_t lost_ms_ = 0;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_SIMULATION_H_
