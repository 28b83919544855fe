// NodeAgent: what runs on the instance of a stateful node. It tells the controller that it is
// there, runs the node's applications once their volumes have come, heeds the cloud's notices, and
// does what the controller asks of it when the instance is to go.
//
// The controller decides, but nothing that runs depends on it: while it cannot be reached the
// applications run on, and are checkpointed and stopped by this when the cloud takes the instance
// away.
//
// If it dies, even by SIGKILL, the applications take a final checkpoint and end; the next start
// goes on from there.
//
// Thread safety: none; one call of Run.
#ifndef SNAPSTORE_AGENT_NODE_AGENT_H_
#define SNAPSTORE_AGENT_NODE_AGENT_H_

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "agent/node_applications.h"
#include "agent/node_metadata.h"
#include "agent/node_notices.h"
#include "agent/node_reporter.h"
#include "agent/node_script.h"
#include "agent/token_server.h"
#include "base/listen_address.h"
#include "base/unique_fd.h"

namespace snapstore::agent {

struct NodeAgentOptions {
  std::string controller_url;
  std::string account;
  std::string token;          // of the controller's API
  std::string controller_ca;  // PEM file; empty: this machine's
  ListenAddress listen;
  // PEM; empty: the agent makes itself a new one at every start, STATE/control-cert.pem.
  std::string certificate_file;
  std::string key_file;
  bool plain_http = false;      // no TLS
  std::string state_directory;  // absolute, short
  std::string metadata_url;
  std::chrono::milliseconds poll{5000};  // between looks for notices
  std::string version;
  std::vector<std::string> run_options = {};  // handed to the `run` of each application
};

class NodeAgent {
 public:
  // Conflict: another agent uses the state directory. InvalidArgument: the options make no sense.
  static Result<std::unique_ptr<NodeAgent>> Create(NodeAgentOptions options);
  ~NodeAgent();

  // Of the control interface, with the port that was really taken.
  const ListenAddress& address() const { return server_->address(); }

  // Until SIGTERM or SIGINT (final checkpoints first) or SIGQUIT (none), which it takes itself:
  // REQUIRES that they are blocked in every thread, and that the calling thread is the main one.
  // OK: ended with final checkpoints of everything that ran.
  Status Run();

 private:
  using Clock = std::chrono::steady_clock;

  explicit NodeAgent(NodeAgentOptions options);
  Status SetUp();
  bool LearnIdentity();
  std::string StoppedFile() const;
  Status ChooseCertificate(TokenServer::Options* server) const;
  void BeginStop(bool checkpoint, std::chrono::milliseconds limit);
  NodeHeartbeat Collect() const;
  void OnNotice(const NodeNotice& notice);
  void HeedNotice();
  Status End(int signal);
  std::string StatusText() const;

  const NodeAgentOptions options_;
  UniqueFd lock_;
  std::string control_token_;
  const std::vector<std::string> cpu_features_;
  NodeMetadata metadata_;

  // Written once, before what reads it is started.
  std::string instance_id_;
  std::string private_ip_;
  std::string run_;  // of this boot of this instance
  std::string identity_error_;

  std::atomic<NodeScript*> script_known_ = nullptr;
  std::unique_ptr<NodeScript> script_;

  std::mutex notice_mutex_;  // guards what follows
  std::optional<NodeNotice> interruption_;
  Clock::time_point act_alone_at_;

  std::atomic<bool> rebalancing_ = false;
  std::thread rebalance_;  // the notices' own

  // In the order in which they need each other.
  std::unique_ptr<NodeController> controller_;
  std::unique_ptr<NodeReporter> reporter_;
  std::unique_ptr<NodeApplications> applications_;
  std::unique_ptr<NodeNotices> notices_;
  std::unique_ptr<TokenServer> server_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_AGENT_H_
