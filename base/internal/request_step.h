// What one step of an IoRequest means, in one place so that the backends of IoEngine cannot differ.
// Private to base.
#ifndef SNAPSTORE_BASE_INTERNAL_REQUEST_STEP_H_
#define SNAPSTORE_BASE_INTERNAL_REQUEST_STEP_H_

#include <cstdint>

#include "base/io_engine.h"

namespace snapstore::internal {

// The kernel moves at most 2 GiB a call; steps of 1 GiB keep O_DIRECT requests aligned.
inline constexpr size_t kStepBytesMax = size_t{1} << 30;

// InvalidArgument when the range cannot be a file range. (Offset -1 would mean "the current
// position" to io_uring.)
Status ValidateRequest(const IoRequest& request);

// Starts a request: clears the results of an earlier use.
void ResetResults(IoRequest* request);

// Length of the next step.
size_t StepLength(const IoRequest& request);

// Performs the next step with pread, pwrite or fsync. Returns bytes moved or -errno.
int64_t RunStep(const IoRequest& request);

// Accounts for the outcome of a step (bytes moved or -errno). True when the request is finished.
bool FinishStep(IoRequest* request, int64_t outcome);

// Whether `position` is at or behind the end of the file. Asked after EINVAL on the continuation of
// a read: with O_DIRECT the last piece of a file may leave an unaligned position, which some file
// systems refuse instead of answering "end of file".
bool IsPastEnd(int fd, uint64_t position);

}  // namespace snapstore::internal

#endif  // SNAPSTORE_BASE_INTERNAL_REQUEST_STEP_H_
