// The io_uring backend of IoEngine. Private to base.
#ifndef SNAPSTORE_BASE_INTERNAL_URING_ENGINE_H_
#define SNAPSTORE_BASE_INTERNAL_URING_ENGINE_H_

#include <memory>
#include <string>
#include <string_view>

#include "base/io_engine.h"

namespace snapstore::internal {

// Unsupported, with the reason, when io_uring is not to be had or lacks an operation.
Result<std::unique_ptr<IoEngine>> NewUringEngine(const IoOptions& options);

// Why io_uring_setup or io_uring_enter failed, from its errno, the text of
// /proc/sys/kernel/io_uring_disabled (empty if there is none) and that of /proc/self/status.
std::string ExplainUringFailure(int error_number, std::string_view disabled_text,
                                std::string_view status_text);

}  // namespace snapstore::internal

#endif  // SNAPSTORE_BASE_INTERNAL_URING_ENGINE_H_
