// NodeReporter: the heartbeats of a node, in a thread of its own: at the interval that the
// controller asks for, and at once when something changed. While the controller cannot be reached
// it is tried less and less often, every ten seconds in the end; checkpoints wait meanwhile.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_AGENT_NODE_REPORTER_H_
#define SNAPSTORE_AGENT_NODE_REPORTER_H_

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "agent/node_controller.h"
#include "agent/node_report.h"

namespace snapstore::agent {

class NodeReporter {
 public:
  struct Hooks {
    std::function<NodeHeartbeat()> collect;  // without checkpoints
    std::function<void(const NodeOrders&)> on_orders;
    std::function<void()> on_failure;
  };
  // `controller` must outlive it.
  NodeReporter(NodeController* controller, Hooks hooks);
  // A heartbeat under way is given up.
  ~NodeReporter();

  void Start();
  // To be reported at once.
  void Changed();
  // To be reported once. Of very many the oldest are forgotten.
  void AddCheckpoint(const NodeCheckpointReport& checkpoint);
  // Waits until what is known now has been reported, or there was no answer, or the time is over.
  void Flush(std::chrono::milliseconds limit);

  struct Standing {
    std::string node_id;      // empty: never answered
    int64_t answered_ns = 0;  // wall clock of the last answer
    std::string error;        // of the last try; empty: it was answered
    bool applications_wanted = false;
    size_t checkpoints_waiting = 0;
  };
  Standing standing() const;

 private:
  void Loop();
  void Send();
  void NoteAnswer(const Result<NodeOrders>& orders, size_t checkpoints, uint64_t change);

  NodeController* const controller_;
  const Hooks hooks_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::condition_variable tried_;
  uint64_t change_ = 1;        // counts what is to be reported at once
  uint64_t tried_change_ = 0;  // that the last try has told
  std::deque<NodeCheckpointReport> checkpoints_;
  uint64_t forgotten_ = 0;  // of the front
  Standing standing_;
  int failures_ = 0;                            // in a row
  bool unknown_ = false;                        // the controller does not know the instance
  std::chrono::milliseconds interval_{10'000};  // until the controller says another one
  bool quit_ = false;

  std::thread thread_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_REPORTER_H_
