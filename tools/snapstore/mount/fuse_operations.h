// The requests of FUSE's low-level interface, answered from a MountedTree.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_FUSE_OPERATIONS_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_FUSE_OPERATIONS_H_

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "tools/snapstore/mount/mounted_tree.h"

namespace snapstore::cli {

// What requests go wrong of, a line each: damage once a minute and file, an outage once a minute.
//
// Thread safety: all calls may run concurrently.
class RequestLog {
 public:
  using ReportFn = std::function<void(const std::string& item, const Status&)>;
  explicit RequestLog(ReportFn report) : report_(std::move(report)) {}

  void Add(const MountedTree& tree, uint64_t inode, const Status& status);

 private:
  const ReportFn report_;
  std::mutex mutex_;
  std::map<std::pair<uint64_t, StatusCode>, std::chrono::steady_clock::time_point> said_;
};

// What libfuse hands to every operation.
struct FuseContext {
  MountedTree* tree = nullptr;
  RequestLog* log = nullptr;
  bool allow_other = false;
  unsigned threads = 0;
  std::function<void()> ready;  // called when the kernel has opened the connection
};

// The operations; their user data is a FuseContext.
const fuse_lowlevel_ops& FuseOperations();

// From now on all requests are abandoned, and what is done beside them.
void AbandonRequests();

// The errno with which a request fails.
int ErrnoOf(const Status& status);

}  // namespace snapstore::cli

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_MOUNT_FUSE_OPERATIONS_H_
