// RunParallel: a fixed number of tasks on a few threads, with the caller free to watch.
#ifndef SNAPSTORE_ENGINE_PARALLEL_H_
#define SNAPSTORE_ENGINE_PARALLEL_H_

#include <cstddef>
#include <functional>

#include "snapstore/status.h"

namespace snapstore {

// Runs tasks 0 … count - 1, each once, on up to `threads` threads; `run` gets the task and the
// number of the thread (less than `threads`) it runs on. Meanwhile the calling thread calls `poll`
// about twenty times a second. The first error of either stops the rest and is returned; no task
// runs any more then.
Status RunParallel(unsigned threads, size_t count,
                   const std::function<Status(size_t task, unsigned thread)>& run,
                   const std::function<Status()>& poll);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PARALLEL_H_
