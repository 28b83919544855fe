// FuseServer: answers the kernel's requests for a mount from a MountedTree, through libfuse's
// low-level interface.
//
//   SNAP_ASSIGN_OR_RETURN(auto server, FuseServer::Mount(&tree, directory, options));
//   server->Run([] { …ready… });
//
// Thread safety: none; one server a process.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_FUSE_SERVER_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_FUSE_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "snapstore/status.h"
#include "tools/snapstore/mount/mounted_tree.h"

namespace snapstore::cli {

struct FuseServerOptions {
  std::string source;        // shown in the table of mounts
  bool allow_other = false;  // users other than this one, by the permissions of the files
  unsigned threads = 8;      // requests that are answered at the same time
  std::function<void(const std::string& item, const Status&)> report;
};

class FuseServer {
 public:
  // Mounts at `directory`, as PrepareMountPoint returned it. `tree` must outlive the server. Nobody
  // is answered before Run.
  static Result<std::unique_ptr<FuseServer>> Mount(MountedTree* tree, const std::string& directory,
                                                   const FuseServerOptions& options);
  virtual ~FuseServer() = default;  // unmounts

  // Answers until somebody unmounts, or this process is interrupted; then unmounts, also while the
  // mount is in use. `ready` is called once it can be used.
  virtual Status Run(const std::function<void()>& ready) = 0;
};

// Whether nobody waits any more for what this thread does: the program whose request it answers
// gave up (a signal), or the mount has ended.
bool RequestAbandoned();

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_FUSE_SERVER_H_
