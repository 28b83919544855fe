// RunningAgent: finds the agent that is running on this machine and talks to it.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_RUNNING_AGENT_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_RUNNING_AGENT_H_

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "agent/state_files.h"
#include "snapstore/status.h"

namespace snapstore::agent {

inline constexpr const char* kDefaultListen = "127.0.0.1:9527";

class RunningAgent {
 public:
  // --listen, --state-dir, --token-file and --ca.
  void AddOptions(CLI::App* app);

  // The JSON document it answers with. An error it reports comes back as that error.
  Result<nlohmann::json> Get(const std::string& path) const;
  Result<nlohmann::json> Post(const std::string& path, const std::string& body) const;

 private:
  Result<nlohmann::json> Call(bool post, const std::string& path, const std::string& body) const;
  Result<AgentFile> Find() const;

  std::string listen_;
  std::string state_directory_;
  std::string token_file_;
  std::string ca_file_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_RUNNING_AGENT_H_
