// NodeApplication: one application of a node. A `snapstore-agent run` of its own runs it; this
// starts that process, follows it through its control interface, and starts it again when it dies
// (it goes on from its newest checkpoint then). An application that ends by itself, or is stopped
// by hand, is not started again.
//
// The process lets go of the application (SIGUSR1) when the thread that called Tick dies, so that
// the next one can take it over: the application runs on meanwhile.
//
// Thread safety: Tick belongs to one thread, which must live as long as the object. All else may
// come from any thread.
#ifndef SNAPSTORE_AGENT_NODE_APPLICATION_H_
#define SNAPSTORE_AGENT_NODE_APPLICATION_H_

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <thread>
#include <vector>

#include "agent/node_report.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// What became of one application's checkpoint: its id, or why there is none.
struct NodeOutcome {
  std::string config_id;
  std::string checkpoint_id;
  std::string error;
  bool had_ended = false;  // by itself, before it was stopped
};

class NodeApplication {
 public:
  using Clock = std::chrono::steady_clock;

  struct Options {
    std::string directory;   // of this application alone; absolute, short
    std::string token;       // that its control interface wants to see
    std::string token_file;  // which holds that token
    std::vector<std::string> environment;
    std::vector<std::string> run_options;  // more arguments for `snapstore-agent run`
    std::function<void()> changed;         // something that the controller should know at once
    std::function<void(const NodeCheckpointReport&)> on_checkpoint;  // each once, in order
  };

  NodeApplication(Options options, OrderedApplication order);
  // Kills the process if it is still there.
  ~NodeApplication();

  const std::string& id() const { return id_; }
  // Holds from the next start on.
  void SetOrder(OrderedApplication order);

  // Starts the process if it is time to, and notices its end.
  void Tick();

  NodeApplicationReport report() const;

  // Takes a checkpoint and waits for it.
  NodeOutcome Checkpoint(const std::string& trigger);
  // Ends the application, with a final checkpoint if one is wanted, and its process: by force when
  // the deadline is over. It is not started again. To be called once.
  NodeOutcome Stop(bool checkpoint, Clock::time_point deadline);
  // Ends the process, which lets the application run on; waits for that. REQUIRES: the thread of
  // Tick. It is not started again.
  void Detach();

 private:
  // REQUIRES of both: mutex_ is held.
  Status Start();
  void OnExit(int wait_status);
  void Follow();
  void Absorb(const nlohmann::json& status, pid_t pid);
  // REQUIRES: mutex_ is held.
  void TakeOver(const nlohmann::json& status);
  // The attempts that have not been reported: usually one, but more may have been made in between.
  nlohmann::json NewAttempts(const nlohmann::json& status) const;
  Result<nlohmann::json> Call(bool post, const std::string& path, const std::string& body,
                              Clock::time_point deadline) const;
  bool WaitForInterface(Clock::time_point deadline);
  void AskToStop(bool checkpoint, Clock::time_point deadline, NodeOutcome* outcome);
  void WaitForEnd(Clock::time_point deadline);
  void EndCell();
  std::string LastLogLine() const;

  const Options options_;
  const std::string id_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  OrderedApplication order_;
  NodeApplicationReport report_;
  pid_t pid_ = 0;
  std::string address_;  // of its control interface; empty: not known yet
  uint64_t attempts_seen_ = 0;
  int failures_ = 0;  // in a row
  bool has_run_ = false;
  bool ended_ = false;
  bool stopping_ = false;
  bool quit_ = false;
  Clock::time_point started_;
  Clock::time_point next_start_;

  std::thread follower_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_APPLICATION_H_
