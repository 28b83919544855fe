// A change of the specification of a node that lives: what cannot be changed any more is refused,
// and what the earlier specification put on the node's resources is remembered until it is gone.
//
// Errors are about fields of "managedInstance", as those of UpdateNodeSpec.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_NODE_CHANGE_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_NODE_CHANGE_H_

#include "orchestrator/model/records.h"

namespace snapstore::spot {

// Changes the node's specification by what an update says, and counts its generation. False, with
// at least one error: nothing is changed.
bool ChangeNodeSpec(NodeRecord* node, const Json& change, FieldErrors* errors);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_NODE_CHANGE_H_
