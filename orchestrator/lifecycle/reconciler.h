// Reconciler: brings what is into line with what is wanted, one small piece at a time.
//
// It has no threads and no clock of its own: whoever drives it (Lifecycle; a simulation) says when.
// What it remembers beside the state is how long to wait before the next try.
//
// Thread safety: all calls may run concurrently, for one operation or one node one at a time.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_RECONCILER_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_RECONCILER_H_

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "orchestrator/lifecycle/node_watch.h"
#include "orchestrator/lifecycle/operations.h"

namespace snapstore::spot {

class Reconciler {
 public:
  // `services` must outlive it.
  explicit Reconciler(const Services* services) : services_(services) {}

  // Looks at the cloud and at all nodes without an operation: stores what it found, asks for what
  // has to be done, and deletes what is outdated. The nodes whose volumes want a snapshot.
  struct NodeName {
    std::string account_id;
    std::string node_id;
  };
  Result<std::vector<NodeName>> Poll();

  // Carries an operation on as far as it goes. Milliseconds until it should be tried again;
  // nothing: it is over.
  std::optional<int64_t> Advance(const std::string& operation_id);

  // A round of periodic snapshots.
  Status TakeSnapshots(const NodeName& name);
  // Finds snapshots that were asked for and never recorded: of a volume that the node still has
  // they count like the others, of one that is gone they go onto the retained list.
  Status AdoptSnapshots();
  // Acts on what an agent reported, without waiting for the next poll.
  Status HeedAgent(const std::string& account_id, const std::string& node_id);
  // What running spot instances cost by now; asks the cloud once an hour for each. For one thread.
  Status FollowPrices();
  // Deletes what nodes left, when its time has come. For one thread.
  Status PurgeRetained();

 private:
  struct Backoff {
    size_t steps_done = 0;  // at the last try
    int waits = 0;          // in a row, without a step getting done
    int retries = 0;
    int64_t reported_ms = 0;
  };

  // Puts a snapshot that no record names where it belongs; false: nothing is to be changed.
  bool Adopt(const Ec2Snapshot& snapshot, const std::set<std::string>& retained,
             ControllerState::NodeChange* change);
  struct Priced {
    std::shared_ptr<const NodeRecord> node;
    UsageRecord usage;
  };
  // Nodes of whose present hour the price is not known.
  std::vector<Priced> FindUnpriced(const NodeList& nodes);
  Result<Findings> Look(const NodeRecord& node, const CloudView& view);
  // Those that are no longer there, or no longer the node's.
  std::set<std::string> Delete(const NodeRecord& node, const std::vector<std::string>& snapshots);
  Status Store(const NodeRecord& node, const Findings& findings);
  static Json InputOf(const WantedAction& wanted);
  // What is learned of a market by what happened to the node.
  void Heed(const NodeRecord& node, const WantedAction& wanted);
  // Takes back the wish for a better market when there is none.
  void WeighRevert(const NodeRecord& node, Findings* findings);
  std::optional<int64_t> AfterHalt(const Operation& operation, const Halt& halt);
  std::optional<int64_t> End(const Operation& operation, const Ending& ending);
  int64_t PollDelay(const Operation& operation);
  int64_t RetryDelay(const Operation& operation, const Status& why);

  const Services* const services_;
  std::mutex mutex_;
  std::map<std::string, Backoff> backoffs_;  // by operation; guarded by mutex_
  struct PricedHour {
    int64_t hour_ms = 0;   // that was looked at last
    int64_t since_ms = 0;  // the instance's present stretch of usage did not begin before
  };
  std::map<std::string, PricedHour> priced_hours_;  // by node
  std::map<std::string, int64_t> purge_after_ms_;   // of resources that could not be deleted
  // Until then, and until more are retained, there is nothing to purge.
  int64_t purge_idle_until_ms_ = 0;
  uint64_t purge_commits_ = 0;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_RECONCILER_H_
