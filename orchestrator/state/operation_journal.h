// OperationJournal: how the life-cycle carries out operations so that a controller that is killed
// at any instant goes on where it was.
//
//   for (const Operation& operation : *journal.Active()) {
//     step = journal.BeginStep(operation.id, "launch", {{"imageId", …}});
//     if (step->state != StepState::kDone) {
//       … RunInstances with step->client_token …
//       journal.FinishStep(operation.id, "launch", {{"instanceId", …}});
//     }
//     …
//     journal.Finish(operation.id, OperationState::kDone, "", [](NodeChange* change) { … });
//   }
//
// A step is on the disk before BeginStep returns. Begun again it has the same client token and
// input, so that the cloud recognises the request; once finished it keeps its output.
//
// Errors: NotFound (the operation is over), and those of ControllerState.
//
// Thread safety: all calls may run concurrently, for one operation one at a time.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_OPERATION_JOURNAL_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_OPERATION_JOURNAL_H_

#include <functional>
#include <string>
#include <vector>

#include "orchestrator/state/controller_state.h"

namespace snapstore::spot {

class OperationJournal {
 public:
  // `state` must outlive it.
  explicit OperationJournal(ControllerState* state) : state_(state) {}

  // All that are not over, of all accounts, the oldest first: pending, running or superseded.
  Result<std::vector<Operation>> Active();
  Result<Operation> Get(const std::string& id);
  // Those of a node that are over, the oldest first.
  Result<std::vector<Operation>> Finished(const std::string& account, const std::string& node);

  // The step, new or as it was left. Its input is that of the first try. The operation is running
  // from then on.
  Result<StepRecord> BeginStep(const std::string& id, const std::string& step, const Json& input);
  // REQUIRES: the step was begun. With `change`: the node as well, both or neither.
  Status FinishStep(const std::string& id, const std::string& step, const Json& output,
                    const std::function<Status(ControllerState::NodeChange*)>& change = nullptr);
  // A step that needs no trace before it is tried (it only looks): begun and finished at once.
  Status RecordStep(const std::string& id, const std::string& step, const Json& output,
                    const std::function<Status(ControllerState::NodeChange*)>& change = nullptr);
  // Forgets a step, which is to be done again with a new token; a name that ends in a slash: all
  // steps below it.
  Status DropSteps(const std::string& id, const std::string& name);
  // A try failed; the step can be begun again, with the same client token.
  Status FailStep(const std::string& id, const std::string& step, const std::string& error);

  // Ends the operation and changes its node, both or neither; `change` may be null. A node whose
  // record is gone, or not there yet, is left alone. If another operation superseded this one, the
  // node keeps that one.
  Status Finish(const std::string& id, OperationState state, const std::string& error,
                const std::function<Status(ControllerState::NodeChange*)>& change);

 private:
  // Finishes the step of that name; `may_begin`: if there is none, a new one.
  Status Complete(const std::string& id, const std::string& step, bool may_begin,
                  const Json& output,
                  const std::function<Status(ControllerState::NodeChange*)>& change);
  Status ChangeStep(const std::string& id, const std::string& step,
                    const std::function<void(StepRecord*)>& change);

  ControllerState* const state_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_OPERATION_JOURNAL_H_
