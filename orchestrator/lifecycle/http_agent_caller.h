// HttpAgentCaller: AgentCaller over the agents' control interface (docs/agent.md).
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_HTTP_AGENT_CALLER_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_HTTP_AGENT_CALLER_H_

#include "orchestrator/lifecycle/agent_caller.h"

namespace snapstore::spot {

class HttpAgentCaller : public AgentCaller {
 public:
  Result<std::vector<AgentOutcome>> Stop(const AgentRecord& agent, int64_t deadline_ms) override;
  Status StartShutdownScript(const AgentRecord& agent, const std::string& script) override;
  Result<std::optional<int>> PollShutdownScript(const AgentRecord& agent) override;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_HTTP_AGENT_CALLER_H_
