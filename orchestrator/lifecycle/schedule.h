// When scheduled tasks fire, and optimisation windows.
//
// Times are milliseconds since 1970 (UTC).
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_SCHEDULE_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_SCHEDULE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/model/node_spec.h"

namespace snapstore::spot {

// The newest instant in (after, until] at which the task fires.
std::optional<int64_t> NewestFire(const Task& task, int64_t after_ms, int64_t until_ms);

// "Mon:03:00-Wed:02:30": from the first instant to the last one, the latter not included; may wrap
// the week.
bool InWindow(const std::string& window, int64_t now_ms);
bool InAnyWindow(const std::vector<std::string>& windows, int64_t now_ms);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_SCHEDULE_H_
