// What each operation of a node does, from its first step to its end.
//
// Thread safety: as OperationRun.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_OPERATIONS_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_OPERATIONS_H_

#include <functional>
#include <string>

#include "orchestrator/lifecycle/operation_run.h"

namespace snapstore::spot {

// How an operation ends: what becomes of its node in the transaction that ends it.
struct Ending {
  OperationState state = OperationState::kDone;
  std::string error = {};
  std::function<void(ControllerState::NodeChange*)> change = nullptr;
};

Flow<Ending> RunOperation(OperationRun* run);

// By kind; RunOperation calls them.
Flow<Ending> RunDeallocation(OperationRun* run);
Flow<Ending> RunImport(OperationRun* run);
Flow<Ending> RunVolumeDeletion(OperationRun* run);
Flow<Ending> RunTagging(OperationRun* run);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_OPERATIONS_H_
