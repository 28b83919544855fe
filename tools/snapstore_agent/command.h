// One sub-command of snapstore-agent: its options, and what it does. Each is in cmd_<name>.cc.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_COMMAND_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_COMMAND_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "snapstore/status.h"

namespace snapstore::agent {

// Exit codes, as of the snapstore program (docs/exit-codes.md).
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNoRepository = 10,
  kExitBusy = 11,
  kExitWrongKey = 12,
  kExitDamaged = 13,
  kExitSuperseded = 14,
};

// How a command ended: OK, or an error and the exit code for it.
struct Outcome {
  Status status;
  int exit_code = kExitDone;

  static Outcome Done() { return {}; }
  static Outcome Usage(Status status) { return {std::move(status), kExitUsage}; }
  // By the status alone.
  static Outcome Of(const Status& status);
};

struct GlobalOptions {
  bool json = false;
  bool quiet = false;
};

class Command {
 public:
  virtual ~Command() = default;
  virtual void AddOptions(CLI::App* app) = 0;
  virtual Outcome Run(const GlobalOptions& globals) = 0;
};

struct CommandInfo {
  const char* name;
  const char* description;
  const char* examples;
  std::unique_ptr<Command> (*make)();
};

extern const CommandInfo kRunCommand;
extern const CommandInfo kStatusCommand;
extern const CommandInfo kCheckpointCommand;
extern const CommandInfo kListCommand;
extern const CommandInfo kStopCommand;
extern const CommandInfo kDetachCommand;
extern const CommandInfo kCheckCommand;
extern const CommandInfo kBenchCommand;
extern const CommandInfo kNodeCommand;

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_COMMAND_H_
