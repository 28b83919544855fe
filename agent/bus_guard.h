// BusGuard: lets a process live whose mapping of a file cannot be read any more.
//
// The kernel sends SIGBUS to whoever touches a page of a mapping that its disk does not give, or
// that is behind the file's end, and there is no call that fails instead. A guard answers that by
// putting zeros into the place of its whole range, and remembers it: who has read there asks
// failed() before he believes what he read. Signals of other addresses go where they went before.
//
// Thread safety: failed() may be called from any thread; the range may be read by any number.
// Threads that block SIGBUS are killed with the process all the same.
#ifndef SNAPSTORE_AGENT_BUS_GUARD_H_
#define SNAPSTORE_AGENT_BUS_GUARD_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "snapstore/status.h"

namespace snapstore::agent {

class BusGuard {
 public:
  // Of a range of addresses whole pages long, mapped by the caller. NoSpace: there are too many
  // guards in this process.
  static Result<std::unique_ptr<BusGuard>> Create(void* address, uint64_t bytes);
  ~BusGuard();
  BusGuard(const BusGuard&) = delete;
  BusGuard& operator=(const BusGuard&) = delete;

  // Zeros have been there since the last Reset.
  bool failed() const;
  // The caller has mapped the range again.
  void Reset();

 private:
  explicit BusGuard(size_t slot) : slot_(slot) {}

  const size_t slot_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_BUS_GUARD_H_
