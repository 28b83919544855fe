// From a repository's address to its object store.
#ifndef SNAPSTORE_UPLOADER_OPEN_STORE_H_
#define SNAPSTORE_UPLOADER_OPEN_STORE_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "uploader/object_store.h"

namespace snapstore {

struct OpenStoreOptions {
  bool create = false;  // make the place when it is missing; a bucket is never made
  // Settings, as "s3.storage-class"; see s3/s3_settings.h. They need not be of the kind of store
  // that is opened.
  std::map<std::string, std::string> settings = {};
  // Polled while a store waits; once true, its calls end with Cancelled. May be null.
  std::function<bool()> cancelled = nullptr;
};

// Understands "/path", "relative/path", "file:///path", "efs://fs-0123abcd/prefix" and
// "s3://bucket/prefix". An EFS file system is looked for below the directory SNAPSTORE_EFS_ROOT (as
// SNAPSTORE_EFS_ROOT/fs-0123abcd) if that is set, else among the mounted file systems; one that is
// not mounted is Io, for nobody can tell what is on it. For S3, AWS's
// own variables and files give credentials, region and endpoint; no request is sent here.
// NotFound: no such place. InvalidArgument: an address that cannot be understood. Unsupported: a
// scheme that this build does not have.
Result<std::unique_ptr<ObjectStore>> OpenStore(const std::string& location,
                                               const OpenStoreOptions& options = {});

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_OPEN_STORE_H_
