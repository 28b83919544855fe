// Questions about snapshots that metadata alone answers: differences, statistics, damage.
#ifndef SNAPSTORE_INSPECT_H_
#define SNAPSTORE_INSPECT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "snapstore/observer.h"
#include "snapstore/repository.h"
#include "snapstore/snapshot.h"
#include "snapstore/status.h"

namespace snapstore {

struct DiffEntry {
  // kMetadata: mode, owner, time of modification (directories excepted), link target, device
  // number, extended attributes or which names are one file.
  enum class Change { kAdded, kRemoved, kContent, kMetadata, kType };
  std::string path;
  Change change = Change::kContent;
  uint64_t size_before = 0;
  uint64_t size_after = 0;
  // Of kContent: byte ranges of the newer content that differ, ascending, at chunk granularity.
  std::vector<ByteRange> ranges;
};

struct DiffSummary {
  uint64_t added = 0;
  uint64_t removed = 0;
  uint64_t changed = 0;
  uint64_t bytes_changed = 0;  // sum of ranges, plus the sizes of added files
};

// Compares two snapshots (full ids) by their manifests; reads no content.
Result<DiffSummary> DiffSnapshots(Repository& repository, const std::string& before,
                                  const std::string& after,
                                  const std::function<Status(const DiffEntry&)>& visit,
                                  Observer* observer);

struct RepositoryStats {
  uint64_t snapshots = 0;
  uint64_t packs = 0;
  uint64_t index_segments = 0;
  uint64_t bytes_stored = 0;  // all objects
  uint64_t bytes_packs = 0;
  uint64_t bytes_logical = 0;  // sum of bytes_total over all snapshots
  uint64_t chunks = 0;         // estimated by the index
};

Result<RepositoryStats> GatherStats(Repository& repository, Observer* observer);

struct CheckOptions {
  bool read_data = false;       // read every byte of every object, not only structure
  double sample_percent = 100;  // with read_data: this share of the packs, chosen at random
};

struct CheckProblem {
  std::string object;  // key of the damaged or missing object, or "snapshot ID"
  std::string message;
  std::vector<std::string> lost_paths;  // in "snapshot-id:path" form, at most 100
};

struct CheckReport {
  uint64_t snapshots = 0;
  uint64_t packs = 0;
  uint64_t chunks = 0;
  uint64_t bytes_read = 0;
  std::vector<CheckProblem> problems;  // empty: clean
};

// An error means the check itself could not be done; damage found is in the report.
Result<CheckReport> CheckRepository(Repository& repository, const CheckOptions& options,
                                    Observer* observer);

}  // namespace snapstore

#endif  // SNAPSTORE_INSPECT_H_
