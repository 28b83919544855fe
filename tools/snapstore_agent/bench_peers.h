// What `snapstore-agent bench` compares with: CRIU by itself, its images compressed, and gcore.
//
// Thread safety: none.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_PEERS_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_PEERS_H_

#include <memory>
#include <optional>
#include <string>

#include "agent/cell.h"
#include "agent/criu_driver.h"
#include "tools/snapstore_agent/bench_heap.h"

namespace snapstore::agent {

struct PeerDump {
  double frozen_ms = 0;
  double seconds = 0;
};

struct PeerRestore {
  double restored_s = 0;  // until CRIU has ended
  double answered_s = 0;  // until the application answered
};

// What `zstd -3` makes of a file; nothing: there is no zstd.
Result<std::optional<uint64_t>> CompressedBytes(const std::string& path);

// The heap program in a cell, dumped to `folder` on a tmpfs by other programs.
class BenchPeers {
 public:
  // `criu` must outlive it. `folder` must exist.
  BenchPeers(std::string folder, uint64_t heap_bytes, const CriuDriver* criu);

  // With a full heap.
  Status Start();
  // `criu dump` to files; the application runs on.
  Result<PeerDump> Dump();
  // `zstd -1 -T2` of these files, in seconds; nothing: there is no zstd.
  Result<std::optional<double>> Compress();
  // `gcore`, in seconds, for all of which the application stands still; nothing: there is none.
  Result<std::optional<double>> CoreDump();
  // Ends the application and restores it from the last Dump.
  Result<PeerRestore> Restore();

 private:
  Result<int> RunInCell(std::vector<std::string> words);
  CellOptions Options() const;
  std::string Images() const { return folder_ + "/images"; }

  const std::string folder_;
  const uint64_t heap_bytes_;
  const CriuDriver* const criu_;
  const HeapClient heap_;
  std::unique_ptr<Cell> cell_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_PEERS_H_
