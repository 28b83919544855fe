// The application that `snapstore-agent bench` measures: a process with a large heap of bytes like
// those of real programs, of which it changes some pages when it is told to.
//
// It is this same program, started as `snapstore-agent bench-heap FOLDER BYTES`. It listens on a
// port of loopback, whose number it writes to FOLDER/port once the heap is full, and answers one
// line a connection:
//   read            some pages at random; answers "ok SUM"
//   dirty SEED N    changes N different pages, and puts these into FOLDER/changed; answers "ok N"
//   work MS N       reads pages at random for MS milliseconds while it changes N of them, evenly
//                   over that time; answers "ok PAGES-READ"
//
// Thread safety: HeapClient: const calls may run concurrently.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_HEAP_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_HEAP_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "snapstore/status.h"

namespace snapstore::agent {

inline constexpr const char* kBenchHeapCommand = "bench-heap";

// What main() of the application is; `argv[0]` is kBenchHeapCommand.
int RunBenchHeap(int argc, char** argv);

// The command line that starts it.
std::vector<std::string> BenchHeapCommandLine(const std::string& folder, uint64_t bytes);

class HeapClient {
 public:
  explicit HeapClient(std::string folder) : folder_(std::move(folder)) {}

  // Asks until it answers. Timeout.
  Status WaitForAnswer(std::chrono::seconds timeout) const;
  // The changed pages are in changed_path() afterwards.
  Status Dirty(uint64_t seed, uint64_t pages) const;
  std::string changed_path() const { return folder_ + "/changed"; }
  // Pages read.
  Result<uint64_t> Work(std::chrono::milliseconds time, uint64_t pages_changed) const;

 private:
  Result<uint64_t> Ask(const std::string& line) const;

  std::string folder_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_HEAP_H_
