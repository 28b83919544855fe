// From a repository's address to its object store.
#ifndef SNAPSTORE_UPLOADER_OPEN_STORE_H_
#define SNAPSTORE_UPLOADER_OPEN_STORE_H_

#include <memory>
#include <string>

#include "uploader/object_store.h"

namespace snapstore {

struct OpenStoreOptions {
  bool create = false;  // make the place when it is missing
};

// Understands "/path", "relative/path", "file:///path" and "efs://fs-0123abcd/prefix". An EFS file
// system is looked for below the directory SNAPSTORE_EFS_ROOT (as SNAPSTORE_EFS_ROOT/fs-0123abcd),
// then among the mounted NFS and EFS file systems.
// NotFound: no such place. InvalidArgument: an address that cannot be understood. Unsupported: a
// scheme that this build does not have.
Result<std::unique_ptr<ObjectStore>> OpenStore(const std::string& location,
                                               const OpenStoreOptions& options = {});

// The mount point of EFS file system `id` in text of the form of /proc/self/mountinfo (proc(5)),
// empty when it is not mounted. Exposed for tests.
std::string FindEfsMount(const std::string& mountinfo, const std::string& id);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_OPEN_STORE_H_
