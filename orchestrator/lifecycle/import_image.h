// What an import made of its source before it was given up: an image, its snapshots.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_IMPORT_IMAGE_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_IMPORT_IMAGE_H_

#include "orchestrator/lifecycle/operation_run.h"
#include "orchestrator/model/records.h"

namespace snapstore::spot {

// No node's record has it: it `goes`, or is listed as retained. So is what may not be deleted.
Flow<Done> LeaveImage(OperationRun* run, const MigrationRecord& migration, bool goes);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_IMPORT_IMAGE_H_
