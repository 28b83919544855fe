// Lifecycle: the threads that keep a Reconciler at work: operations as soon as they are asked for,
// a look at the cloud at a regular interval, agents' notices at once.
//
// Thread safety: Start and destruction belong to one thread.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_LIFECYCLE_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_LIFECYCLE_H_

#include <chrono>
#include <memory>

#include "orchestrator/lifecycle/reconciler.h"

namespace snapstore::spot {

struct LifecycleThreads {
  std::chrono::milliseconds poll{5'000};
  int workers = 16;
};

class Lifecycle {
 public:
  // `services` must outlive it.
  static std::unique_ptr<Lifecycle> Start(const Services* services,
                                          const LifecycleThreads& threads);
  // Waits for the calls that are under way; operations go on with whoever starts next.
  ~Lifecycle();

 private:
  struct Impl;
  explicit Lifecycle(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_LIFECYCLE_H_
