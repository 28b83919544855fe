// Small files in the state directory of a `run`, by which others find it and learn how it ended.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_AGENT_STATE_FILES_H_
#define SNAPSTORE_AGENT_STATE_FILES_H_

#include <optional>
#include <set>
#include <string>

#include "snapstore/status.h"

namespace snapstore::agent {

// agent.json: who runs there, and where it listens.
struct AgentFile {
  std::string listen;
  int pid = 0;
};
Status WriteAgentFile(const std::string& state_directory, const std::string& listen);
// NotFound: nothing runs there. Corruption: damaged.
Result<AgentFile> ReadAgentFile(const std::string& state_directory);
void RemoveAgentFile(const std::string& state_directory);

// ended.json: the application ended by itself, and how.
Status WriteEndedFile(const std::string& state_directory, const std::string& how);
std::optional<std::string> ReadEndedFile(const std::string& state_directory);
void RemoveEndedFile(const std::string& state_directory);

// verified.json: ids of checkpoints that were read back and found whole. Empty when there is none.
Status WriteVerifiedFile(const std::string& state_directory, const std::set<std::string>& ids);
std::set<std::string> ReadVerifiedFile(const std::string& state_directory);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_STATE_FILES_H_
