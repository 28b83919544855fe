// BackUpEbsSnapshot: an EBS snapshot as a snapshot of a repository, by way of the EBS direct APIs.
// Nothing is attached, and no instance is needed.
//
// The volume becomes one file, named after it. Tags say of which EBS snapshot it was made; so the
// next one asks EBS what differs from that, reads only this, and takes the rest over from its
// parent. Where that cannot be had the volume's data is read whole, and a warning says why.
// Source: "Use EBS direct APIs to access the contents of an EBS snapshot", Amazon EBS User Guide.
//
// Thread safety: free functions; as TakeSnapshot.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_EBS_EBS_BACKUP_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_EBS_EBS_BACKUP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "orchestrator/ec2/ebs_direct.h"
#include "orchestrator/ec2/ec2_api.h"
#include "snapstore/snapshot.h"

namespace snapstore::cli {

// Tags of a snapshot that was made so; nobody else may set any that begin with the prefix.
inline constexpr const char* kEbsTagPrefix = "snapstore.ebs.";
inline constexpr const char* kEbsSnapshotTag = "snapstore.ebs.snapshot";
inline constexpr const char* kEbsVolumeTag = "snapstore.ebs.volume";

struct EbsServices {
  std::unique_ptr<Ec2Api> ec2;
  std::unique_ptr<EbsDirect> direct;
};

// As AWS's own tools find region, endpoints and credentials. InvalidArgument: no region is set.
Result<EbsServices> EbsServicesFromEnvironment(std::function<bool()> cancelled);

struct EbsBackupOptions {
  std::string snapshot_id = {};
  std::string name = {};  // of the volume's file in the snapshot; empty: the volume's id
  unsigned reads = 16;    // blocks on their way at once
};

struct EbsBackupSummary {
  SnapshotSummary taken;
  std::string changed_since = {};  // the earlier EBS snapshot; empty: the volume was read whole
  uint64_t blocks_total = 0;       // that the volume has
  uint64_t blocks_read = 0;        // that were fetched
};

// InvalidArgument when `id` is not what EBS calls snapshots.
Status CheckEbsSnapshotId(const std::string& id);

// `request` says what holds for every snapshot (tags, parent, host, profile, …) and has no source.
// A parent of "auto" is the newest snapshot of the same volume under the same name.
// Errors: NotFound (no such EBS snapshot, or parent), Conflict (the EBS snapshot is not completed),
// Io (the service contradicts itself), those of the service and of TakeSnapshot. None leaves a
// snapshot.
Result<EbsBackupSummary> BackUpEbsSnapshot(Repository& repository, const EbsServices& services,
                                           const EbsBackupOptions& options, SnapshotRequest request,
                                           Observer* observer);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_EBS_EBS_BACKUP_H_
