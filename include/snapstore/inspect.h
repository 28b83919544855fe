// Questions about snapshots that metadata alone answers: differences, statistics, damage.
#ifndef SNAPSTORE_INSPECT_H_
#define SNAPSTORE_INSPECT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
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

// Which packs are read whole. Several restrictions together all hold.
struct CheckSample {
  double percent = 100;  // of the packs, chosen at random
  uint64_t bytes = 0;    // not 0: random packs until these are reached
  // Not 0: part `part` (from 1) of `parts`. Which part a pack is in follows from its name, so that
  // checks of all parts, one a day, have read everything.
  uint32_t part = 0;
  uint32_t parts = 0;
  std::optional<uint64_t> seed = std::nullopt;  // of the choice; else a random one
};

struct CheckOptions {
  bool read_data = false;   // read every byte of every object, not only structure
  CheckSample sample = {};  // with read_data
  // Not 0: no pack is read whole after so many seconds. The structure is checked all the same.
  double seconds_max = 0;
  // Full ids: only these snapshots and the packs they need. Empty: everything.
  std::vector<std::string> snapshots = {};
  // With read_data: names of packs that were read whole and found right, by earlier checks. They
  // are not read again, and those that this one finds right are added, also if it ends with an
  // error. Null: there are none. The caller's.
  std::set<std::string>* packs_read = nullptr;
};

struct CheckProblem {
  std::string object;  // key of the damaged or missing object, or "snapshot ID"
  std::string message;
  std::vector<std::string> lost_paths;  // in "snapshot-id:path" form, at most 100
};

struct CheckReport {
  uint64_t snapshots = 0;
  uint64_t packs = 0;  // that were looked at
  uint64_t chunks = 0;
  uint64_t bytes_read = 0;    // from the store
  uint64_t packs_chosen = 0;  // to be read whole
  uint64_t packs_read = 0;    // of these, until time was up
  uint64_t bytes_packs = 0;   // of all packs that were looked at
  uint64_t seed = 0;          // that chose them
  // Damaged objects that cost the snapshots checked nothing; counted when only some are checked,
  // and problems otherwise.
  uint64_t harmless = 0;
  std::vector<CheckProblem> problems;  // empty: clean
};

// An error means the check itself could not be done; damage found is in the report. NotFound: one
// of the snapshots asked for does not exist.
Result<CheckReport> CheckRepository(Repository& repository, const CheckOptions& options,
                                    Observer* observer);

}  // namespace snapstore

#endif  // SNAPSTORE_INSPECT_H_
