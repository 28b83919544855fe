// RepairSnapshots: from damaged snapshots, new ones that hold everything that can still be had.
//
// Chunks that can be read anywhere are used, those in packs whose other parts are damaged too: they
// are stored again in new packs. What is lost is told exactly. Nothing is taken away unless
// `forget` asks for it. The index is set right as well, so that nothing new refers to what is lost:
// the next snapshot of the same data, with the repaired one as parent, stores it again, and older
// snapshots that lacked it are whole once more.
#ifndef SNAPSTORE_REPAIR_H_
#define SNAPSTORE_REPAIR_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "snapstore/inspect.h"
#include "snapstore/observer.h"
#include "snapstore/repository.h"
#include "snapstore/snapshot.h"
#include "snapstore/status.h"

namespace snapstore {

struct RepairRequest {
  std::vector<std::string> snapshots = {};  // full ids; empty: all
  bool read_data = false;  // read every byte of every pack first, not only its list of chunks
  // Files and volumes that lost a part are kept, with zeros in its place, and marked by the
  // extended attribute kLostRangesXattr. Otherwise they are left out.
  bool keep_damaged = false;
  bool forget = false;   // remove damaged snapshots once they are repaired, and damaged packs
  bool dry_run = false;  // change nothing, only tell
};

// "OFFSET+LENGTH", separated by spaces, of the first parts; then "..." if there are
// more.
inline constexpr char kLostRangesXattr[] = "user.snapstore.lost";

struct Loss {
  enum class Kind {
    kSnapshot,   // its manifest cannot be read
    kEntries,    // some names, with all they stand for: after `path`, before `next_path`
    kContent,    // `ranges` of a file or volume
    kLink,       // a further name of a file that is lost
    kDirectory,  // owner, mode and times of a directory
  };
  std::string snapshot_id = {};
  Kind kind = Kind::kContent;
  std::string path = {};
  std::string next_path = {};  // of kEntries; empty: to the end
  uint64_t entries = 0;        // of kEntries
  uint64_t size = 0;           // of the whole content
  std::vector<ByteRange> ranges = {};
  bool kept = false;  // kContent: with zeros in place of the ranges
};

struct RepairedSnapshot {
  SnapshotInfo damaged;          // only its id if the manifest cannot be read
  std::string repaired_id;       // empty: nothing of it is left, or a dry run
  bool repaired_before = false;  // by an earlier repair, which told what was lost
  uint64_t losses = 0;
  uint64_t bytes_lost = 0;  // of contents whose names are known
  bool forgotten = false;
};

struct RepairSummary {
  uint64_t snapshots = 0;  // that were looked at
  uint64_t damaged = 0;
  uint64_t repaired = 0;
  uint64_t lost = 0;  // of which nothing is left
  uint64_t forgotten = 0;
  uint64_t losses = 0;
  uint64_t packs_damaged = 0;
  uint64_t packs_removed = 0;
  uint64_t chunks_salvaged = 0;  // stored again from damaged packs
  uint64_t bytes_salvaged = 0;
  uint64_t bytes_read = 0;
};

struct RepairVisitor {
  std::function<Status(const Loss&)> loss;
  std::function<Status(const RepairedSnapshot&)> snapshot;  // after its losses
};

// From now on nothing that is stored through `repository`, or by later processes with its cache
// directory, refers to the packs that `report` found damaged or missing, unless it takes them over
// unread from a parent: what they hold is stored again. Deletes nothing and needs no right to: safe
// beside writers and readers at work, and other machines go on as before. Returns how many packs
// are avoided that were not before.
Result<uint64_t> AvoidDamagedPacks(Repository& repository, const CheckReport& report);

// Errors: NotFound (a snapshot asked for does not exist); Cancelled, Io, … of the store.
Result<RepairSummary> RepairSnapshots(Repository& repository, const RepairRequest& request,
                                      const RepairVisitor& visitor, Observer* observer);

}  // namespace snapstore

#endif  // SNAPSTORE_REPAIR_H_
