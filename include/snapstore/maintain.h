// Looking after a repository: which snapshots to forget, and giving back the space of what no
// snapshot needs any more.
#ifndef SNAPSTORE_MAINTAIN_H_
#define SNAPSTORE_MAINTAIN_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/observer.h"
#include "snapstore/repository.h"
#include "snapstore/status.h"

namespace snapstore {

// Which snapshots of a group to keep. A snapshot is kept when any rule keeps it.
struct ForgetPolicy {
  uint64_t last = 0;  // the newest so many
  // The newest of each of the last so many hours, days, … that have one; local time, weeks as
  // ISO 8601 counts them.
  uint64_t hourly = 0;
  uint64_t daily = 0;
  uint64_t weekly = 0;
  uint64_t monthly = 0;
  uint64_t yearly = 0;
  // All that are not older than the group's newest one by more than this; 0: no such rule.
  int64_t within_ns = 0;
  std::map<std::string, std::string> tags = {};  // all that have one of them

  bool empty() const {
    return last + hourly + daily + weekly + monthly + yearly == 0 && within_ns == 0 && tags.empty();
  }
};

struct ForgetDecision {
  SnapshotInfo info;
  bool keep = false;
  std::vector<std::string> reasons;  // "last", "daily", "within", "tag", …; empty unless kept
};

struct ForgetGroup {
  std::string host;                       // as far as snapshots are grouped by them, else empty
  std::vector<std::string> paths;         // the same
  std::vector<ForgetDecision> decisions;  // newest first
};

struct ForgetGrouping {
  bool host = true;
  bool paths = true;
};

// What the policy says of these snapshots. Deletes nothing.
std::vector<ForgetGroup> ApplyForgetPolicy(const std::vector<SnapshotInfo>& snapshots,
                                           const ForgetPolicy& policy,
                                           const ForgetGrouping& grouping);

// Removes snapshots (full ids); what only they needed stays stored until a prune. One that is gone
// already is no error. Returns how many were removed.
Result<uint64_t> ForgetSnapshots(Repository& repository, const std::vector<std::string>& ids,
                                 Observer* observer);

// What a prune is about to do. All bytes are of objects in the store.
struct PrunePlan {
  uint64_t snapshots = 0;
  uint64_t packs = 0;
  uint64_t bytes_packs = 0;
  uint64_t bytes_live = 0;    // that some snapshot needs
  uint64_t packs_delete = 0;  // that nobody needs, also those an earlier prune condemned
  uint64_t bytes_delete = 0;
  uint64_t packs_rewrite = 0;  // that are needed in part
  uint64_t bytes_rewrite = 0;
  uint64_t bytes_rewrite_live = 0;  // of these, what is stored again
  uint64_t packs_held = 0;          // that a writer at work may need: left alone
  uint64_t bytes_unused_left = 0;
  uint64_t segments_replace = 0;
  // Still to come, estimated.
  uint64_t requests_get = 0;
  uint64_t requests_put = 0;
  uint64_t requests_delete = 0;
  uint64_t bytes_down = 0;
  uint64_t bytes_up = 0;

  uint64_t bytes_freed() const { return bytes_delete + bytes_rewrite - bytes_rewrite_live; }
};

struct PruneOptions {
  bool dry_run = false;  // only plan: nothing is written or deleted
  // Packs are rewritten until what nobody needs is at most this share of what is stored, in
  // percent, or at most these bytes.
  double max_unused_percent = 5;
  std::optional<uint64_t> max_unused_bytes = std::nullopt;
  // Nothing new is begun after so long; the next prune goes on. 0: as long as it takes.
  double max_seconds = 0;
  uint64_t max_rewrite_bytes = UINT64_MAX;
  // Gets the plan before anything is done; an error ends the prune.
  std::function<Status(const PrunePlan&)> on_plan = nullptr;
};

struct PruneSummary {
  PrunePlan plan;
  uint64_t packs_deleted = 0;
  uint64_t bytes_deleted = 0;
  uint64_t packs_rewritten = 0;
  uint64_t packs_written = 0;
  uint64_t bytes_written = 0;  // all packs stored
  uint64_t bytes_read = 0;     // of packs, segments and manifests
  uint64_t segments_replaced = 0;
  uint64_t leases_expired = 0;   // removed
  uint64_t uploads_aborted = 0;  // that writers left half done
  // Otherwise what was condemned is deleted by the next prune.
  bool finished = true;
  std::string unfinished;  // why
  double seconds = 0;
};

// Deletes what no snapshot needs, beside writers and readers at work. Conflict: another prune is at
// work as well. Corruption: a snapshot cannot be followed; nothing was deleted then.
Result<PruneSummary> PruneRepository(Repository& repository, const PruneOptions& options,
                                     Observer* observer);

}  // namespace snapstore

#endif  // SNAPSTORE_MAINTAIN_H_
