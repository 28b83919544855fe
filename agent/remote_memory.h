// RemoteMemory: reads the memory of another process.
//
// Thread safety: none.
#ifndef SNAPSTORE_AGENT_REMOTE_MEMORY_H_
#define SNAPSTORE_AGENT_REMOTE_MEMORY_H_

#include <sys/types.h>
#include <sys/uio.h>

#include <span>

#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

class RemoteMemory {
 public:
  explicit RemoteMemory(pid_t pid) : pid_(pid) {}

  // Fills `out` with what is at the addresses of `parts`, one after the other, protected against
  // reading or not. REQUIRES: they are as long together, and no more than IOV_MAX.
  Status Read(std::span<const iovec> parts, std::span<uint8_t> out);

 private:
  Status ReadByForce(uint64_t address, std::span<uint8_t> out);

  const pid_t pid_;
  UniqueFd memory_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_REMOTE_MEMORY_H_
