// NodeApplications: the applications of a node together.
//
// They are started once the controller wants them, and from then on they are this one's: that the
// controller cannot be reached, or wants something else, changes nothing until they are stopped.
//
// Thread safety: Tick belongs to one thread (see NodeApplication); all else may come from any.
#ifndef SNAPSTORE_AGENT_NODE_APPLICATIONS_H_
#define SNAPSTORE_AGENT_NODE_APPLICATIONS_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/node_application.h"
#include "agent/node_report.h"

namespace snapstore::agent {

class NodeApplications {
 public:
  // `application.directory` is the folder that those of the applications are made in.
  explicit NodeApplications(NodeApplication::Options application);
  // Kills those that were not stopped.
  ~NodeApplications();

  void SetOrders(const NodeOrders& orders);
  void Tick();

  std::vector<NodeApplicationReport> Reports() const;

  // A checkpoint of each, at the same time.
  std::vector<NodeOutcome> Checkpoint(const std::string& trigger);

  // A final checkpoint of each, which then ends; none is started any more. Asked again, also while
  // it is under way: the same answer. Timeout: it did not end in time.
  Result<std::vector<NodeOutcome>> Stop(bool checkpoint, std::chrono::milliseconds limit);
  // The same without waiting.
  void BeginStop(bool checkpoint, std::chrono::milliseconds limit);
  // Ends their agents alone: the applications run on. Nothing is started afterwards.
  void Detach();
  bool stop_asked() const;
  bool stopped() const;

 private:
  std::vector<NodeApplication*> All() const;

  const NodeApplication::Options options_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable stop_done_;
  std::vector<OrderedApplication> wanted_;                      // to be started
  std::vector<std::unique_ptr<NodeApplication>> applications_;  // only grows
  bool stop_asked_ = false;
  bool stopped_ = false;
  std::vector<NodeOutcome> outcomes_;  // of the stop

  std::thread stopper_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_APPLICATIONS_H_
