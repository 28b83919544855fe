// The parts of RunBenchmark that need no repository: what the machine can do, and what single
// modules make of it.
#ifndef SNAPSTORE_ENGINE_BENCHMARK_PARTS_H_
#define SNAPSTORE_ENGINE_BENCHMARK_PARTS_H_

#include <functional>
#include <string>

#include "base/bytes.h"
#include "snapstore/benchmark.h"

namespace snapstore {

using BenchmarkVisit = std::function<Status(const BenchmarkResult&)>;

// Runs `measure`, which returns what it measured, `runs` times.
Result<BenchmarkResult> Measure(int runs, BenchmarkResult named,
                                const std::function<Result<double>()>& measure);

// Copying, hashing and compressing `sample`, on one core and on `threads`; writing it to `folder`.
Status MeasureMachine(ByteSpan sample, const std::string& folder, unsigned threads, int runs,
                      const BenchmarkVisit& visit);

// Cutting and naming `sample`, on one core; the chunk index, in `folder` with `memory_bytes`.
Status MeasureParts(ByteSpan sample, const std::string& folder, size_t memory_bytes, int runs,
                    const BenchmarkVisit& visit);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_BENCHMARK_PARTS_H_
