// The control interface of a node's agent: what the controller asks of it. docs/agent.md has the
// requests.
//
// Thread safety: what the routes use is called concurrently.
#ifndef SNAPSTORE_AGENT_NODE_SERVER_H_
#define SNAPSTORE_AGENT_NODE_SERVER_H_

#include <chrono>
#include <functional>
#include <string>

#include "agent/node_applications.h"
#include "agent/node_script.h"
#include "agent/token_server.h"

namespace snapstore::agent {

struct NodeRoutes {
  NodeApplications* applications = nullptr;
  // Before the applications' Stop.
  std::function<void(bool checkpoint, std::chrono::milliseconds limit)> begin_stop;
  // Null while the instance is not known yet.
  std::function<NodeScript*()> script;
  std::function<std::string()> status;  // JSON
};

inline constexpr const char* kNodeStatusPath = "/status";

// What `routes` points to must outlive the server.
void AddNodeRoutes(const NodeRoutes& routes, httplib::Server* server);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_SERVER_H_
