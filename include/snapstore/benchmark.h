// RunBenchmark: what this machine can do, and what snapstore makes of it with given data.
//
// Data is only read. Repositories and restored copies go into a folder below `work` that is removed
// at the end, also after an error.
#ifndef SNAPSTORE_BENCHMARK_H_
#define SNAPSTORE_BENCHMARK_H_

#include <functional>
#include <string>
#include <vector>

#include "snapstore/observer.h"
#include "snapstore/repository.h"
#include "snapstore/status.h"

namespace snapstore {

struct BenchmarkRequest {
  std::vector<std::string> paths;  // files, trees, volumes; at least one
  std::string work;                // existing folder with room for the data, stored and restored
  int runs = 5;                    // of each measurement
  RepositoryOptions options;       // location and cache directory are not used
};

struct BenchmarkResult {
  std::string group;  // "machine", "parts", "memory image", "snapshot", "restore"
  std::string name;
  std::string unit;             // "s", "B/s", "1/s", "B" or "ratio"
  std::vector<double> samples;  // one a run, in order
  double bytes = 0;             // that one run went through; 0 where that says nothing

  double Median() const;
  double Least() const;
  double Most() const;
};

// `visit` gets each result when it is complete.
// Errors: NotFound or PermissionDenied (no data to read), NoSpace, Cancelled, InvalidArgument.
Status RunBenchmark(const BenchmarkRequest& request, Observer* observer,
                    const std::function<Status(const BenchmarkResult&)>& visit);

}  // namespace snapstore

#endif  // SNAPSTORE_BENCHMARK_H_
