// NodeNotices: looks, in a thread of its own, whether the cloud is about to take the instance away
// or recommends to leave it.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_AGENT_NODE_NOTICES_H_
#define SNAPSTORE_AGENT_NODE_NOTICES_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "agent/node_metadata.h"

namespace snapstore::agent {

class NodeNotices {
 public:
  // `metadata` must outlive it. `on_notice` is called once for each that is new.
  NodeNotices(NodeMetadata* metadata, std::chrono::milliseconds interval,
              std::function<void(const NodeNotice&)> on_notice);
  ~NodeNotices();

  void Start();

  // What holds now; that the instance goes holds more than a recommendation.
  std::optional<NodeNotice> current() const;

 private:
  void Loop();
  void Look();

  NodeMetadata* const metadata_;
  const std::chrono::milliseconds interval_;
  const std::function<void(const NodeNotice&)> on_notice_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::optional<NodeNotice> interruption_;
  std::optional<NodeNotice> rebalance_;
  bool quit_ = false;

  bool failed_ = false;  // the last look; the thread's own
  std::thread thread_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_NOTICES_H_
