// HttpAgentCaller: AgentCaller over the agents' control interface (docs/agent.md). An agent that
// reported the fingerprint of its certificate is spoken to over TLS, and must show that one.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_HTTP_AGENT_CALLER_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_HTTP_AGENT_CALLER_H_

#include <mutex>
#include <set>
#include <string>

#include "orchestrator/lifecycle/agent_caller.h"
#include "orchestrator/model/json.h"

namespace httplib {
class Client;
}

namespace snapstore::spot {

class HttpAgentCaller : public AgentCaller {
 public:
  Result<std::vector<AgentOutcome>> Stop(const AgentRecord& agent, int64_t deadline_ms) override;
  Status StartShutdownScript(const AgentRecord& agent, const std::string& script) override;
  Result<std::optional<int>> PollShutdownScript(const AgentRecord& agent) override;

  // Ends the calls that wait for an answer, with Cancelled, and refuses new ones. One that is just
  // being connected goes on: call it again.
  void Abandon();

 private:
  Result<Json> Call(const AgentRecord& agent, const std::string& method, const std::string& path,
                    const Json& body, int64_t deadline_ms);

  std::mutex mutex_;  // guards what follows
  bool abandoned_ = false;
  std::set<httplib::Client*> under_way_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_HTTP_AGENT_CALLER_H_
