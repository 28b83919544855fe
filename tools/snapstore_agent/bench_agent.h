// The agent's side of `snapstore-agent bench`: the heap program below a supervisor, as `run` has
// it.
//
// Thread safety: none.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_AGENT_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_AGENT_H_

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "agent/supervisor.h"
#include "tools/snapstore_agent/bench_heap.h"

namespace snapstore::agent {

// Cancelled once SIGINT, SIGTERM, SIGQUIT or SIGUSR1 waits to be taken; they are blocked.
Status CheckNotInterrupted();

struct Resumed {
  double restored_s = 0;  // until the supervisor says that it runs
  double answered_s = 0;  // until the application answered
};

// As in SupervisorOptions.
struct BenchAgentOptions {
  uint64_t arena_limit = 0;
  bool track_pages = true;
};

class BenchAgent {
 public:
  // `folder` is made: the application's files and the agent's state. The others must outlive it.
  BenchAgent(std::string folder, std::string app, uint64_t heap_bytes, BenchAgentOptions options,
             Repository* repository, const CriuDriver* criu);
  ~BenchAgent();

  // With a full heap.
  Status StartFresh();
  // Ends the application and starts it from its newest checkpoint; `lazily`: it runs before its
  // memory has arrived.
  Result<Resumed> Resume(bool lazily);
  Result<CheckpointRecord> Checkpoint();
  void Stop();

  const HeapClient& heap() const { return heap_; }

 private:
  Status Start(bool restore, bool lazily);
  Status WaitForAnswer();

  const std::string folder_;
  const std::string app_;
  const uint64_t heap_bytes_;
  const BenchAgentOptions options_;
  Repository* const repository_;
  const CriuDriver* const criu_;
  const HeapClient heap_;
  std::unique_ptr<Supervisor> supervisor_;
  std::future<Status> running_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_AGENT_H_
