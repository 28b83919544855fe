// LazyRestore: lets an application run before its memory has arrived.
//
// Stands in for `criu lazy-pages`: CRIU's restore connects to a socket in its working directory and
// hands over a userfaultfd(2) for each process (criu/uffd.c). From then on a touched page is
// fetched at once, with its neighbours; when CRIU has finished, the rest is filled in by address.
//
// When it cannot go on (the store fails), and when the agent dies, the cell is ended: no page is
// ever replaced by zeros. The owner learns of the former from event_fd().
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_AGENT_LAZY_RESTORE_H_
#define SNAPSTORE_AGENT_LAZY_RESTORE_H_

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/criu_image.h"
#include "agent/lazy_guard.h"
#include "agent/lazy_space.h"
#include "base/bytes.h"
#include "base/unique_fd.h"
#include "snapstore/status.h"

namespace snapstore::agent {

// Some pages of a process, or zeros.
struct MemoryPart {
  uint64_t address = 0;
  uint64_t length = 0;
  ByteSpan bytes;  // `length` of them; empty: all zeros
};
using MemoryVisitor = std::function<Status(const MemoryPart&)>;

// Where the pages come from. All calls may run concurrently.
class LazyMemory {
 public:
  virtual ~LazyMemory() = default;
  // Of a process of the checkpoint: the pages that CRIU leaves out of a lazy restore, ascending.
  virtual std::vector<PageRun> LazyRuns(int pid) const = 0;
  // Visits what was in [address, address + length), within runs that are neighbours: each page
  // once, in any order. The bytes are gone when `visit` returns.
  virtual Status VisitLazy(int pid, uint64_t address, uint64_t length,
                           const MemoryVisitor& visit) = 0;
  // The same, but only what comes along with the page at `touched` in there, which does.
  virtual Status VisitTouched(int pid, uint64_t touched, uint64_t address, uint64_t length,
                              const MemoryVisitor& visit) = 0;
};

struct LazyProgress {
  uint64_t bytes = 0;          // that were left out at first
  uint64_t missing_bytes = 0;  // of all processes, those forked meanwhile included
  uint64_t touched = 0;        // pages that were waited for
  double seconds = 0;          // since CRIU had finished, until all was there
  bool done = false;           // all is there
  Status status;               // not OK: it cannot go on
};

class LazyRestore {
 public:
  // Listens in `directory` (CRIU's -D), before CRIU starts. `cell_init`: the cell's first process,
  // as the agent sees it.
  static Result<std::unique_ptr<LazyRestore>> Create(const std::string& directory, pid_t cell_init,
                                                     std::shared_ptr<LazyMemory> memory);
  // REQUIRES: all is there, or the cell has ended. Otherwise the cell is ended.
  ~LazyRestore();

  // CRIU has finished and the application runs: fill in the rest, and give way to what it touches.
  void Fill();
  // From now on without giving way: somebody waits for all of it.
  void Hurry();

  // To have all memory first instead: fill in what CRIU has mapped while it goes on, from now on,
  void FillBeforehand();
  // and, when it has done all but let the application run, the rest, and wait for that.
  Status FinishBeforehand();

  // Readable when all is there or when it cannot go on.
  int event_fd() const { return event_.get(); }
  LazyProgress progress() const;

 private:
  using Space = std::shared_ptr<LazySpace>;
  using Clock = std::chrono::steady_clock;
  struct Touch {
    Space space;
    uint64_t address = 0;
  };

  LazyRestore(std::string path, std::shared_ptr<LazyMemory> memory)
      : socket_path_(std::move(path)), memory_(std::move(memory)) {}
  void Watch();
  Status WatchOnce();
  Status TakeNews(const Space& space);
  Status TakeMessage();
  Status AddSpace(Space space);
  bool FinishIfWhole();
  void AnswerTouches();
  Status AnswerTouch(const Touch& touch);
  void FillSpaces();
  void StartFill(bool give_way);
  void Settle();
  void GiveWay();
  std::optional<std::pair<Space, LazyRange>> NextToFill();
  void Fail(const Status& status);
  void WakeWatcher();

  const std::string socket_path_;
  const std::shared_ptr<LazyMemory> memory_;
  std::unique_ptr<LazyGuard> guard_;
  UniqueFd listening_;   // of the watcher
  UniqueFd connection_;  // of the watcher
  UniqueFd wake_;        // eventfd: the watcher is to look
  UniqueFd event_;       // eventfd

  mutable std::mutex mutex_;         // guards what follows
  std::condition_variable changed_;  // all but a touch
  std::condition_variable touch_;    // or the end
  std::vector<Space> spaces_;
  std::deque<Touch> touches_;
  int answering_ = 0;        // touches that are not in the queue any more
  Clock::time_point quiet_;  // when the application has touched nothing for a while
  uint64_t bytes_ = 0;
  uint64_t touched_ = 0;
  bool fill_ = false;
  bool give_way_ = false;  // to touches
  bool settled_ = false;   // all processes are known, with all their memory
  Clock::time_point fill_began_;
  Clock::time_point fill_ended_;
  bool done_ = false;
  bool ending_ = false;
  Status status_;
  std::vector<std::thread> threads_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_LAZY_RESTORE_H_
