// CopySnapshots: snapshots of one repository into another, moving only what the other lacks.
//
// Chunks keep the boundaries they have. Where both repositories share their secret (one was made
// like the other), ids are the same and no content is read that the destination has; else content
// is read once and named anew, and later snapshots are compared with their parent's copy place by
// place. A copy records which snapshot it is of, so that it is never made twice, however often a
// copy is repeated or broken off.
#ifndef SNAPSTORE_COPY_H_
#define SNAPSTORE_COPY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "snapstore/observer.h"
#include "snapstore/repository.h"
#include "snapstore/status.h"

namespace snapstore {

struct CopyRequest {
  std::vector<std::string> snapshots = {};  // full ids in the source; empty: all
  int compression_level = 0;                // as SnapshotRequest's
};

struct CopiedSnapshot {
  enum class Outcome {
    kCopied,
    kExisted,  // the destination has it already
    kDamaged,  // not all of it can be read: there is no copy
  };
  Outcome outcome = Outcome::kCopied;
  SnapshotInfo source;
  std::string id;             // of the copy; empty when kDamaged
  uint64_t failed = 0;        // entries that cannot be read
  uint64_t bytes_read = 0;    // fetched from the source
  uint64_t bytes_new = 0;     // of chunks the destination did not have, before compression
  uint64_t bytes_stored = 0;  // added to the destination
  uint64_t chunks_new = 0;
  double seconds = 0;
};

struct CopySummary {
  uint64_t copied = 0;
  uint64_t existed = 0;
  uint64_t damaged = 0;  // snapshots, those included whose manifest cannot be read
  uint64_t bytes_read = 0;
  uint64_t bytes_new = 0;
  uint64_t bytes_stored = 0;
  uint64_t chunks_new = 0;
  bool same_ids = false;  // the repositories share their secret
  double seconds = 0;
};

// Oldest first. Entries that cannot be read are warned about, with the snapshot in the item's name
// ("snapshot-id:path"). `visit` gets each snapshot when it is done.
// Errors: NotFound (an id that is not in the source), InvalidArgument (both are one repository);
// Cancelled, NoSpace, Io, … of either store: what was stored is used by the next copy.
Result<CopySummary> CopySnapshots(Repository& from, Repository& to, const CopyRequest& request,
                                  const std::function<Status(const CopiedSnapshot&)>& visit,
                                  Observer* observer);

}  // namespace snapstore

#endif  // SNAPSTORE_COPY_H_
