#include "tools/snapstore/exit_code.h"

namespace snapstore::cli {

ExitCode ExitCodeOf(const Status& status, Stage stage) {
  if (status.ok()) return kExitDone;
  if (status.Is(StatusCode::kCancelled)) return kExitInterrupted;
  if (stage == Stage::kUsage) return kExitUsage;
  switch (status.code()) {
    case StatusCode::kWrongKey:
      return kExitWrongKey;
    case StatusCode::kCorruption:
      return kExitDamaged;
    case StatusCode::kInvalidArgument:  // of a place that cannot hold a repository
    case StatusCode::kNotFound:
      return stage == Stage::kOpen ? kExitNoRepository : kExitFailed;
    case StatusCode::kConflict:
      // "There is one already" is a failure of init; elsewhere another writer was there first.
      return stage == Stage::kCreate ? kExitFailed : kExitBusy;
    default:
      return kExitFailed;
  }
}

ExitCode ExitCodeOf(Finding finding) {
  switch (finding) {
    case Finding::kNone:
      return kExitDone;
    case Finding::kUnreadable:
      return kExitIncomplete;
    case Finding::kPartial:
      return kExitFailed;
    case Finding::kDamage:
      return kExitDamaged;
  }
  return kExitFailed;
}

}  // namespace snapstore::cli
