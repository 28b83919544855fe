// MountPoint: the directory that a mount covers: whether it can be, what is left of an earlier
// mount there, and taking a mount away.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_MOUNT_POINT_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_MOUNT_POINT_H_

#include <string>
#include <string_view>

#include "snapstore/status.h"

namespace snapstore::cli {

// What the kernel shows as this program's type of file system.
inline constexpr char kMountType[] = "fuse.snapstore";

// The absolute path of `directory`, which is now an empty directory with no mount of this program
// on it: one whose process died without unmounting is taken away (`*replaced`). Conflict when a
// mount there is alive.
Result<std::string> PrepareMountPoint(const std::string& directory, bool* replaced);

// Whether FUSE can be used at all, else a status that says why not.
Status CheckFuseDevice();

// Detaches the mount at `directory`, also while it is in use: it is gone from the tree of names at
// once, for good when its last user is. OK if there was none.
Status DetachMount(const std::string& directory);

struct MountEntry {
  std::string type;    // empty: nothing of that path is mounted
  std::string device;  // "MAJOR:MINOR"
};

// The last mount at exactly `directory` in a mountinfo file (proc(5)).
MountEntry FindMount(std::string_view mountinfo, const std::string& directory);
// The same in this process's own.
Result<MountEntry> MountAt(const std::string& directory);

// Has the kernel read `bytes` ahead in files of the mount, instead of the 128 KiB it begins with.
// As far as that is allowed: an optimisation only.
void SetKernelReadAhead(const std::string& directory, uint64_t bytes);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_MOUNT_POINT_H_
