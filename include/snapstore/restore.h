// RestoreSnapshot: a snapshot's entries back onto a file system, or one source to a file or device.
//
// No byte is written before its chunk id and its frame's checksum matched. Paths are resolved with
// openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), so nothing outside the target is ever touched,
// whatever symlinks stand in it.
#ifndef SNAPSTORE_RESTORE_H_
#define SNAPSTORE_RESTORE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "snapstore/observer.h"
#include "snapstore/pipeline_stage.h"
#include "snapstore/repository.h"
#include "snapstore/status.h"

namespace snapstore {

struct RestoreRequest {
  std::string snapshot_id;  // full id
  // Directory below which the recorded paths are recreated; made when missing. "/" puts everything
  // back where it was. Ignored with `to`.
  std::string target;
  std::vector<std::string> paths;  // restrict to these and what is below them; empty: all
  // Existing files are rewritten only where they differ. Without it they are replaced.
  bool in_place = false;
  // Write the content of the single file or volume selected to this file or block device. Content
  // alone: a new file gets mode 0600. A device that is mounted is refused (Conflict).
  std::string to;
};

struct RestoreSummary {
  uint64_t entries = 0;
  uint64_t bytes_total = 0;    // logical size of restored content
  uint64_t bytes_written = 0;  // without holes and without what was in place already
  uint64_t bytes_fetched = 0;  // from the store
  uint64_t failed = 0;         // entries with a warning
  double seconds = 0;
  std::vector<PipelineStage>
      stages;  // look (at what is in place), fetch, decode (and verify), write
};

// Entries that cannot be restored are warned about and counted in `failed`; the rest goes on. What
// was written of such a file is removed, unless it was rewritten in place. Without root, owners
// that cannot be set are passed over silently, together with setuid and setgid bits. A file that a
// repair kept with zeros in place of lost bytes is restored so, with a warning (Corruption).
// Errors: NotFound (no such snapshot or path), PermissionDenied, NoSpace or Io (target not
// writable), Corruption.
Result<RestoreSummary> RestoreSnapshot(Repository& repository, const RestoreRequest& request,
                                       Observer* observer);

}  // namespace snapstore

#endif  // SNAPSTORE_RESTORE_H_
