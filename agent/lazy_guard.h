// LazyGuard: a process that keeps an application from reading zeros where its memory is missing,
// should the agent die.
//
// The kernel answers a touch of a missing page with zeros once nobody holds the userfaultfd. So the
// guard holds a copy of each, and lets go only when the memory is whole (Release) or, if the agent
// ends without having said so, when the cell has been ended.
//
// Thread safety: all calls may run concurrently, except Release and the destructor.
#ifndef SNAPSTORE_AGENT_LAZY_GUARD_H_
#define SNAPSTORE_AGENT_LAZY_GUARD_H_

#include <sys/types.h>

#include <memory>

#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

class LazyGuard {
 public:
  // `cell_init`: the cell's first process, as the agent sees it.
  static Result<std::unique_ptr<LazyGuard>> Start(pid_t cell_init);
  // Without Release the cell is ended.
  ~LazyGuard();

  Status Hold(int userfaultfd);
  // Ends the cell, and does not wait for that.
  void EndCell();
  // All memory is there: the application is left alone.
  void Release();

 private:
  LazyGuard() = default;
  void Await();

  UniqueFd socket_;
  pid_t pid_ = -1;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_LAZY_GUARD_H_
