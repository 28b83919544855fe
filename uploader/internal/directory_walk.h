// The listing of a DirectoryStore. Private to uploader.
#ifndef SNAPSTORE_UPLOADER_INTERNAL_DIRECTORY_WALK_H_
#define SNAPSTORE_UPLOADER_INTERNAL_DIRECTORY_WALK_H_

#include <functional>
#include <string_view>

#include "uploader/internal/store_root.h"
#include "uploader/object_store.h"

namespace snapstore::internal {

// The name that an NFS client gives to a file deleted while open.
inline constexpr std::string_view kNfsPrefix = ".nfs";

// ObjectStore::List below `root`. Memory: the names of one folder on each level.
Status WalkObjects(const StoreRoot& root, std::string_view prefix,
                   const std::function<Status(const ObjectInfo&)>& visit);

}  // namespace snapstore::internal

#endif  // SNAPSTORE_UPLOADER_INTERNAL_DIRECTORY_WALK_H_
