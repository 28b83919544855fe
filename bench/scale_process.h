// ChildProcess: this program once more, with other arguments, so that what sends requests neither
// shares the controller's core nor its memory.
//
//   SNAP_ASSIGN_OR_RETURN(auto child, ChildProcess::Start({"load", "--port", "8080"}));
//   SNAP_ASSIGN_OR_RETURN(const std::string report, child->Finish());
//
// Thread safety: belongs to one thread.
#ifndef SNAPSTORE_BENCH_SCALE_PROCESS_H_
#define SNAPSTORE_BENCH_SCALE_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::bench {

class ChildProcess {
 public:
  static Result<std::unique_ptr<ChildProcess>> Start(const std::vector<std::string>& arguments);
  // One that was not finished is killed.
  ~ChildProcess();

  // Closes its standard input, waits until it ends, and returns what it printed. Internal: it
  // failed.
  Result<std::string> Finish();

 private:
  ChildProcess(pid_t pid, UniqueFd input, UniqueFd output)
      : pid_(pid), input_(std::move(input)), output_(std::move(output)) {}

  pid_t pid_;
  UniqueFd input_;
  UniqueFd output_;
};

}  // namespace snapstore::bench

#endif  // SNAPSTORE_BENCH_SCALE_PROCESS_H_
