// Where an Amazon EFS file system is mounted. Private to uploader.
//
// A mount names the file system in one of these ways:
// - by its DNS name, "fs-ID.efs.REGION.…:/folder", in a One Zone file system "ZONE.fs-ID.efs.…";
// - as the type "efs" of some mount helpers, "fs-ID:/folder" or "fs-ID";
// - by the local proxy of amazon-efs-utils (TLS, and all mounts since version 2),
// "127.0.0.1:/folder"
//   with an option "port=N": the helper keeps a file "fs-ID.MOUNT.POINT.N" in /run/efs for each.
//   Its JSON names the access point, if there is one.
// A mount by the IP address of a mount target does not tell the file system.
// Sources: "Mounting EFS file systems" in Amazon's EFS user guide; amazon-efs-utils' own files.
#ifndef SNAPSTORE_UPLOADER_INTERNAL_EFS_MOUNT_H_
#define SNAPSTORE_UPLOADER_INTERNAL_EFS_MOUNT_H_

#include <string>
#include <string_view>
#include <vector>

#include "snapstore/status.h"
#include "uploader/internal/mount_table.h"

namespace snapstore::internal {

inline constexpr const char* kEfsProxyFolder = "/run/efs";

// A local proxy of amazon-efs-utils.
struct EfsProxy {
  std::string file_system;   // "fs-0123abcd"
  std::string port;          // that it listens on, on 127.0.0.1
  std::string access_point;  // "fsap-…", empty if none
};

// What `folder` says; empty when there is no such folder. Files that cannot be understood are
// passed over.
Result<std::vector<EfsProxy>> ReadEfsProxies(const std::string& folder);

struct EfsPlace {
  std::string path;         // of the directory asked for
  std::string mount_point;  // the mount it is in
  std::string device;       // that mount's, as st_dev: "0:45"
  size_t candidates = 1;    // how many mounts it could be reached by
};

// The directory `folder` ("" or "/a/b") of file system `id`, by the mount that is closest to it,
// among equals the latest. Never NotFound, since nothing is known of a file system that is not
// mounted: Io then, with what to type; InvalidArgument when only the path can tell which of several
// access points is meant.
Result<EfsPlace> LocateOnEfs(const std::vector<MountEntry>& mounts,
                             const std::vector<EfsProxy>& proxies, const std::string& id,
                             const std::string& folder);

// Whether `id` looks like the id of a file system: "fs-" and 8 or 17 hexadecimal digits.
bool IsEfsFileSystemId(std::string_view id);

}  // namespace snapstore::internal

#endif  // SNAPSTORE_UPLOADER_INTERNAL_EFS_MOUNT_H_
