// One sub-command of snapstore-controller: its options, and what it does. Each is in cmd_<name>.cc.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_COMMAND_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "snapstore/status.h"

namespace snapstore::spot {

// Exit codes, as of the snapstore program (docs/exit-codes.md).
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitBusy = 11,
  kExitDamaged = 13,
};

struct Globals {
  bool json = false;
};

// What was parsed fills in `run`, which the program calls then.
struct Program {
  CLI::App root;
  Globals globals;
  std::function<Status()> run;
};

// Each adds its sub-commands to the program, which must outlive the parse.
void AddServeCommand(Program* program);
void AddTokenCommands(Program* program);
void AddNodeCommands(Program* program);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_CONTROLLER_COMMAND_H_
