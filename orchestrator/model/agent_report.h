// AgentReport: what the agent of an instance tells the controller, again and again (its heartbeat).
// The fields: docs/controller.md.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_AGENT_REPORT_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_AGENT_REPORT_H_

#include <optional>
#include <vector>

#include "orchestrator/model/field_error.h"
#include "orchestrator/model/json.h"
#include "orchestrator/model/records.h"

namespace snapstore::spot {

struct AgentReport {
  AgentRecord agent;  // seen_at_ms is not set
  // Those taken, or tried, since the last report that was answered; the oldest first, without
  // sequences.
  std::vector<CheckpointReport> checkpoints;
};

// `object` stands at "heartbeat". Nothing, and at least one error, when it breaks a rule.
std::optional<AgentReport> ParseAgentReport(const Json& object, FieldErrors* errors);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_AGENT_REPORT_H_
