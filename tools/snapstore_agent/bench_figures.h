// What `snapstore-agent bench` measured, and how it is shown. Figures are medians.
//
// Thread safety: free functions; none share state.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_FIGURES_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_FIGURES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace snapstore::agent {

// 0 of no values.
double Median(std::vector<double> values);

// Checkpoints of one heap between which one share of its pages changes.
struct CheckpointFigures {
  uint64_t heap_bytes = 0;
  double dirty_percent = 0;
  double frozen_ms = 0;
  double seconds = 0;  // until committed
  uint64_t bytes_captured = 0;
  uint64_t bytes_read = 0;
  uint64_t bytes_new = 0;
  uint64_t bytes_stored = 0;
  double stored_ratio = 0;  // to what zstd -3 makes of the changed pages alone; 0: no zstd
  double resumed_s = 0;     // restored from the newest of them, until it runs
  double answered_s = 0;    // until its first answer
  // The same when it runs before its memory has arrived; nothing: this machine cannot.
  std::optional<double> lazily_answered_s = std::nullopt;
};

// The same heap: the agent's first checkpoint, and what others take for it.
struct HeapFigures {
  uint64_t heap_bytes = 0;
  double first_frozen_ms = 0;
  double first_seconds = 0;
  double criu_frozen_ms = 0;
  double criu_seconds = 0;
  std::optional<double> zstd_seconds;  // of CRIU's images; not installed: nothing
  std::optional<double> gcore_seconds;
  double criu_restore_s = 0;
  double criu_answered_s = 0;
};

// Pages that an application reads per second while some of it changes.
struct CostFigures {
  uint64_t heap_bytes = 0;
  double dirty_percent = 0;
  double interval_s = 0;  // in each of which one checkpoint is taken
  double reads_without = 0;
  double reads_with = 0;
  double LossPercent() const {
    return reads_without > 0 ? 100 * (1 - reads_with / reads_without) : 0;
  }
};

struct BenchFigures {
  unsigned rounds = 0;
  std::string criu_version;
  std::string repository;
  std::vector<HeapFigures> heaps;
  std::vector<CheckpointFigures> checkpoints;
  std::optional<CostFigures> cost;
};

// Tables for people.
std::string BenchText(const BenchFigures& figures);
// One document a line.
std::string BenchJson(const BenchFigures& figures);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_AGENT_BENCH_FIGURES_H_
