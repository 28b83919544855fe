// The agent's JSON documents, one line each; described for users in docs/agent.md.
#ifndef SNAPSTORE_AGENT_CONTROL_JSON_H_
#define SNAPSTORE_AGENT_CONTROL_JSON_H_

#include <string>
#include <vector>

#include "agent/supervisor.h"

namespace snapstore::agent {

std::string StatusJson(const SupervisorStatus& status);
std::string RecordJson(const CheckpointRecord& record);
std::string CheckpointsJson(const std::vector<SnapshotInfo>& stored,
                            const std::vector<CheckpointRecord>& records, const KeeperStatus& kept);
std::string ErrorJson(const Status& status);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_CONTROL_JSON_H_
