// The thread backend of IoEngine: workers that call pread, pwrite and fsync. Private to base.
#ifndef SNAPSTORE_BASE_INTERNAL_THREAD_ENGINE_H_
#define SNAPSTORE_BASE_INTERNAL_THREAD_ENGINE_H_

#include <memory>
#include <string>

#include "base/io_engine.h"

namespace snapstore::internal {

// `reason` is what backend_reason() will say. Fails when no thread can be started.
Result<std::unique_ptr<IoEngine>> NewThreadEngine(const IoOptions& options, std::string reason);

}  // namespace snapstore::internal

#endif  // SNAPSTORE_BASE_INTERNAL_THREAD_ENGINE_H_
