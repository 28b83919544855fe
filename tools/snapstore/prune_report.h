// Runs a prune for a command and says what it is about to do and what it did.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_PRUNE_REPORT_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_PRUNE_REPORT_H_

#include "snapstore/maintain.h"
#include "tools/snapstore/session.h"

namespace snapstore::cli {

// `options.on_plan` is set here.
Result<PruneSummary> RunPrune(Session& session, Repository& repository, PruneOptions options);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_PRUNE_REPORT_H_
