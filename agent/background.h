// Priority of work that the application should not feel: cutting, hashing, compressing, storing.
//
// Linux has priorities per thread, and threads that are made inherit them: what is started from
// such a thread is as low. Nothing has to be raised again, which only privileged threads may do.
#ifndef SNAPSTORE_AGENT_BACKGROUND_H_
#define SNAPSTORE_AGENT_BACKGROUND_H_

#include <functional>
#include <string>

#include "snapstore/status.h"

namespace snapstore::agent {

enum class IoClass { kUnchanged = 0, kBestEffort = 2, kIdle = 3 };  // numbers: ioprio_set(2)

struct BackgroundPriority {
  int nice = 0;  // added to the process's: 0 (as everything) to 19
  IoClass io_class = IoClass::kUnchanged;
  int io_level = 7;  // of best-effort: 0 (first) to 7 (last)
};

// "none", "idle", "best-effort", "best-effort:0" to "best-effort:7"; other members are left.
Status ParseIoPriority(const std::string& text, BackgroundPriority* priority);

// Runs `work` in a thread of its own with that priority, and waits for it.
void RunInBackground(const BackgroundPriority& priority, const std::function<void()>& work);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_BACKGROUND_H_
