// Command: one sub-command of the program. To add one, write cmd_<name>.cc and name its CommandInfo
// here and in main.cc.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_COMMAND_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_COMMAND_H_

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/snapstore/exit_code.h"
#include "tools/snapstore/session.h"

namespace snapstore::cli {

class Command {
 public:
  virtual ~Command() = default;
  virtual void AddOptions(CLI::App* app) { (void)app; }
  virtual Result<Finding> Run(Session& session) = 0;
};

template <typename T>
std::unique_ptr<Command> MakeCommand() {
  return std::make_unique<T>();
}

struct CommandInfo {
  const char* name;
  const char* description;  // one paragraph; its first sentence is shown in the list of commands
  const char* examples;     // one to four lines
  std::unique_ptr<Command> (*make)();
};

extern const CommandInfo kInitCommand;
extern const CommandInfo kSnapshotCommand;
extern const CommandInfo kListCommand;
extern const CommandInfo kShowCommand;
extern const CommandInfo kLsCommand;
extern const CommandInfo kDiffCommand;
extern const CommandInfo kRestoreCommand;
extern const CommandInfo kDumpCommand;
extern const CommandInfo kMountCommand;
extern const CommandInfo kCheckCommand;
extern const CommandInfo kCopyCommand;
extern const CommandInfo kForgetCommand;
extern const CommandInfo kPruneCommand;
extern const CommandInfo kStatsCommand;
extern const CommandInfo kRepairCommand;
extern const CommandInfo kKeyCommand;
extern const CommandInfo kDoctorCommand;
extern const CommandInfo kBenchCommand;
extern const CommandInfo kVersionCommand;

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_COMMAND_H_
