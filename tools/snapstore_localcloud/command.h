// One sub-command of snapstore-localcloud: its options, and what it does. Each is in cmd_<name>.cc.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_LOCALCLOUD_COMMAND_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_LOCALCLOUD_COMMAND_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "snapstore/status.h"

namespace snapstore::localcloud {

// Exit codes, as of the snapstore program (docs/exit-codes.md).
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNoCloud = 10,
  kExitBusy = 11,
};

struct Outcome {
  Status status = {};
  int exit_code = kExitDone;

  static Outcome Done() { return {}; }
  static Outcome Of(Status status) {
    int code = kExitFailed;
    if (status.ok()) code = kExitDone;
    if (status.Is(StatusCode::kNotFound)) code = kExitNoCloud;
    if (status.Is(StatusCode::kConflict)) code = kExitBusy;
    if (status.Is(StatusCode::kInvalidArgument)) code = kExitUsage;
    return {std::move(status), code};
  }
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

extern const CommandInfo kServeCommand;
extern const CommandInfo kEnvCommand;
extern const CommandInfo kAdminCommand;
extern const CommandInfo kDestroyCommand;

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_LOCALCLOUD_COMMAND_H_
