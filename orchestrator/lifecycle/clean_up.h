// CleanUp: deletes what is outdated without standing in the way of what matters. What may not be
// deleted, or is used by somebody, goes onto the retained list, for the purge to try again.
//
//   CleanUp clean_up(services);
//   SNAP_FLOW(clean_up.Delete("snapshot", id));
//   return Json{{"left", clean_up.left()}};      // and in the step's update:
//   LeaveToPurge(services, output, change);
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_CLEAN_UP_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_CLEAN_UP_H_

#include <string>

#include "orchestrator/lifecycle/operation_run.h"

namespace snapstore::spot {

class CleanUp {
 public:
  // `services` must outlive it.
  explicit CleanUp(const Services& services) : services_(services) {}

  // Of an "image", "snapshot", "volume", "interface". Retry: it may go in a moment.
  Flow<Done> Delete(const std::string& kind, const std::string& id);
  // A list of what stayed, and why.
  const Json& left() const { return left_; }

 private:
  const Services& services_;
  Json left_ = Json::array();
};

// Takes `output`'s "left" onto the retained list, with an event.
void LeaveToPurge(const Services& services, const Json& output,
                  ControllerState::NodeChange* change);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_CLEAN_UP_H_
