// What the agent of a node tells the controller (its heartbeat), and what it is told back.
// The documents: docs/controller.md.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_AGENT_NODE_REPORT_H_
#define SNAPSTORE_AGENT_NODE_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::agent {

// Times are text as the agents and the cloud write them (RFC 3339).
struct NodeApplicationReport {
  std::string config_id;
  std::string state = "starting";  // or AppStateName, or "failed"
  std::string restored_from;       // empty: started afresh
  std::string reason;
  std::string error;
  std::string checkpoint_id;  // the newest; empty: none
  std::string checkpoint_at;
  std::vector<std::string> cpu_features;  // that it needs
  uint64_t taken = 0;                     // checkpoints since the agent started
  uint64_t failed = 0;
  uint64_t skipped = 0;

  bool operator==(const NodeApplicationReport&) const = default;
};

struct NodeCheckpointReport {
  std::string config_id;
  std::string checkpoint_id;  // empty: it failed
  std::string time;
  std::string trigger;
  double frozen_ms = 0;
  double seconds = 0;
  uint64_t bytes_captured = 0;
  uint64_t bytes_new = 0;
  uint64_t bytes_stored = 0;
  std::string error;
};

struct NodeNotice {
  std::string action;  // "terminate", "stop", "hibernate", "rebalance"
  std::string time;    // when the instance goes, or when it was recommended; empty: not told

  bool operator==(const NodeNotice&) const = default;
};

struct NodeHeartbeat {
  std::string instance_id;
  std::string private_ip;
  int port = 0;  // of the control interface
  std::string control_token;
  std::string tls_fingerprint;  // of the control interface's certificate; empty: plain HTTP
  std::string version;
  std::vector<std::string> cpu_features;
  std::vector<NodeApplicationReport> applications;
  std::vector<NodeCheckpointReport> checkpoints;
  std::optional<NodeNotice> notice;
};

// With its root. Texts are cut to what the controller takes, so that a strange message never keeps
// a heartbeat from being accepted.
std::string HeartbeatText(const NodeHeartbeat& heartbeat);

struct OrderedApplication {
  std::string id;          // apc-…, good as a file name
  std::string config;      // {"config": {…}} as AppConfig reads it
  std::string repository;  // efs://… or s3://…
  // The node's next instance has this one's address: connections can go on there.
  bool keeps_address = false;
};
struct NodeOrders {
  std::string node_id;
  bool applications_wanted = false;
  double interval_seconds = 0;  // until the next heartbeat
  std::vector<OrderedApplication> applications;
};
// Of the API's answer. Io: it is none.
Result<NodeOrders> ParseOrders(std::string_view text);

// One line of valid UTF-8 without control characters, of at most `bytes_max`.
std::string OneLine(std::string_view text, size_t bytes_max);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_REPORT_H_
