// NodeController: the controller, as the agent of a node calls it.
//
// Thread safety: Heartbeat belongs to one thread at a time; Abort may come from any.
#ifndef SNAPSTORE_AGENT_NODE_CONTROLLER_H_
#define SNAPSTORE_AGENT_NODE_CONTROLLER_H_

#include <memory>
#include <string>

#include "agent/node_report.h"
#include "snapstore/status.h"

namespace snapstore::agent {

class NodeController {
 public:
  // `ca_file`: PEM, instead of this machine's; empty: those. InvalidArgument: `url` is no http or
  // https URL.
  static Result<std::unique_ptr<NodeController>> Create(const std::string& url,
                                                        const std::string& account,
                                                        const std::string& token,
                                                        const std::string& ca_file);
  ~NodeController();

  // NotFound: it does not know the instance (yet). Anything else: it cannot be reached, or refuses.
  Result<NodeOrders> Heartbeat(const NodeHeartbeat& heartbeat);

  // A call under way fails at once.
  void Abort();

 private:
  struct Impl;
  explicit NodeController(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_NODE_CONTROLLER_H_
