// The options of `run` and `node` that keep the agent out of others' way: logs and priorities.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_UPKEEP_OPTIONS_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_UPKEEP_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "agent/background.h"
#include "agent/log_keeper.h"

namespace snapstore::agent {

struct UpkeepFlags {
  LogOptions log;
  BackgroundPriority background{.nice = 10, .io_class = IoClass::kBestEffort, .io_level = 7};

  // --log-file, --log-max-size, --log-keep, --nice, --ionice.
  void AddOptions(CLI::App* app);
  // InvalidArgument. To be called once, before the others.
  Status Check();
  // For the `run` of each application of a node: the same, but for the file.
  std::vector<std::string> ForRun() const;

 private:
  std::string io_priority_ = "best-effort:7";
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_UPKEEP_OPTIONS_H_
