// Exit codes of the programs: the table of docs/exit-codes.md, decided in one place.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_EXIT_CODE_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_EXIT_CODE_H_

#include "snapstore/status.h"

namespace snapstore::cli {

// Scripts depend on these: do not renumber.
enum ExitCode : int {
  kExitDone = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitIncomplete = 3,
  kExitNoRepository = 10,
  kExitBusy = 11,
  kExitWrongKey = 12,
  kExitDamaged = 13,
  kExitInterrupted = 130,
};

// How far a command had come when its status arose.
enum class Stage {
  kUsage,   // the command line and what it names as its own input
  kCreate,  // making a repository
  kOpen,    // opening one
  kRun,     // the work itself
};

// What a command that ran to its end has to tell beside its result.
enum class Finding {
  kNone,
  kUnreadable,  // the snapshot lacks sources that could not be read
  kPartial,     // some entries failed
  kDamage,      // stored bytes are not what was written
};

ExitCode ExitCodeOf(const Status& status, Stage stage);
ExitCode ExitCodeOf(Finding finding);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_EXIT_CODE_H_
