// Small files in the state directory of a `run`, by which others find it and learn how it ended.
//
// Thread safety: free functions and values only.
#ifndef SNAPSTORE_AGENT_STATE_FILES_H_
#define SNAPSTORE_AGENT_STATE_FILES_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "snapstore/status.h"

namespace snapstore::agent {

// agent.json: who runs there, and where it listens.
struct AgentFile {
  std::string listen;
  int pid = 0;
  std::string fingerprint = {};  // of its certificate; empty: plain HTTP
};
Status WriteAgentFile(const std::string& state_directory, const std::string& listen,
                      const std::string& fingerprint);
// NotFound: nothing runs there. Corruption: damaged.
Result<AgentFile> ReadAgentFile(const std::string& state_directory);
void RemoveAgentFile(const std::string& state_directory);

// ended.json: the application ended by itself, and how.
Status WriteEndedFile(const std::string& state_directory, const std::string& how);
std::optional<std::string> ReadEndedFile(const std::string& state_directory);
void RemoveEndedFile(const std::string& state_directory);

// running.json: what an agent that takes over the running application cannot see for itself.
struct RunningFile {
  std::string run_cmd;
  int64_t started_ns = 0;     // when the application was started or restored
  std::string restored_from;  // snapshot id; empty: started afresh
};
Status WriteRunningFile(const std::string& state_directory, const RunningFile& running);
// Empty when there is none, or a damaged one.
RunningFile ReadRunningFile(const std::string& state_directory);
bool HasRunningFile(const std::string& state_directory);
void RemoveRunningFile(const std::string& state_directory);

// verified.json: ids of checkpoints that were read back, and found whole or damaged. Empty when
// there is none.
struct VerifiedFile {
  std::set<std::string> verified = {};
  std::set<std::string> damaged = {};
};
Status WriteVerifiedFile(const std::string& state_directory, const VerifiedFile& file);
VerifiedFile ReadVerifiedFile(const std::string& state_directory);

// claim.json: the claim (snapstore/claim.h) that the application there runs by.
struct ClaimFile {
  std::string app;
  std::string repository;  // its id
  uint64_t epoch = 0;
  std::string id;
};
Status WriteClaimFile(const std::string& state_directory, const ClaimFile& file);
// NotFound: there is none. Corruption: damaged.
Result<ClaimFile> ReadClaimFile(const std::string& state_directory);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_STATE_FILES_H_
