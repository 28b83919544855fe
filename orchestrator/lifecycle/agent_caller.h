// AgentCaller: what the life-cycle asks of the agent on a node's instance.
//
// Errors: Timeout, Io: the agent does not answer; PermissionDenied: it is another one; anything
// else: what it says. Calls may take as long as the work does, at most `deadline_ms`.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_AGENT_CALLER_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_AGENT_CALLER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/model/records.h"

namespace snapstore::spot {

// What became of one application.
struct AgentOutcome {
  std::string config_id;
  std::string checkpoint_id = {};  // of its final checkpoint
  std::string error = {};          // why there is none
};

class AgentCaller {
 public:
  virtual ~AgentCaller() = default;

  // A final checkpoint of each application, which then ends. Asked again: the same answer.
  virtual Result<std::vector<AgentOutcome>> Stop(const AgentRecord& agent, int64_t deadline_ms) = 0;

  // Starts the script (base64) unless it was started before.
  virtual Status StartShutdownScript(const AgentRecord& agent, const std::string& script) = 0;
  // Its exit code; nothing: it still runs.
  virtual Result<std::optional<int>> PollShutdownScript(const AgentRecord& agent) = 0;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_AGENT_CALLER_H_
