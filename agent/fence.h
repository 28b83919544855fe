// Fence: of several agents that run one application, on whatever machines, only the last to start
// commits checkpoints.
//
// An agent claims the application in the repository when it starts, with a higher epoch than all
// before it (snapstore/claim.h), and records which checkpoints it goes by. Whoever finds a higher
// claim is superseded, for good: before a commit nothing is committed; found after it, the
// checkpoint is not among those that the other goes by, or that one started from it. Clocks do not
// matter. Between checkpoints it is looked for every now and then, so that two copies of an
// application do not go on side by side for long.
//
// Thread safety: all calls may run concurrently but for Enter, which comes first.
#ifndef SNAPSTORE_AGENT_FENCE_H_
#define SNAPSTORE_AGENT_FENCE_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "snapstore/claim.h"
#include "snapstore/repository.h"

namespace snapstore::agent {

class Fence {
 public:
  struct Options {
    std::string app;
    std::string state_directory;          // remembers the claim there
    std::function<void()> on_superseded;  // from a thread of the fence's; may be null
    std::chrono::seconds look_every{60};
  };

  // `repository` must outlive it.
  Fence(Repository* repository, Options options);
  ~Fence();
  Fence(const Fence&) = delete;
  Fence& operator=(const Fence&) = delete;

  // Claims the application, which is about to be started, unless it is claimed; the checkpoints
  // that it may go on from, newest first. If it is `running`, since an agent with this state
  // directory has left it so, that one's claim is taken up. Conflict: superseded.
  Result<std::vector<SnapshotInfo>> Enter(bool running);

  // OK: as far as can be told nobody has taken over. Conflict: superseded, and will stay so.
  // Whatever else: it could not be told.
  Status Check();
  // One line; empty: not as far as is known. Asks nobody.
  std::string superseded() const;

  uint64_t epoch() const;
  // Of the next checkpoint: its epoch, and a number that no other of this epoch has.
  std::map<std::string, std::string> NextTags();

 private:
  Result<std::vector<SnapshotInfo>> Begin();
  // NotFound: there is no claim of this application and repository.
  Result<std::vector<SnapshotInfo>> Adopt();
  void LookLoop();
  void Hold(Claim claim, const std::vector<SnapshotInfo>& checkpoints);

  Repository* const repository_;
  const Options options_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  Claim claim_;
  uint64_t sequence_ = 0;
  std::string superseded_;
  bool ending_ = false;
  std::thread looker_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_FENCE_H_
