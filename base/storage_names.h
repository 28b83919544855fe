// What the application persistency configuration may name: where snapshots go, and files.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_BASE_STORAGE_NAMES_H_
#define SNAPSTORE_BASE_STORAGE_NAMES_H_

#include <string_view>

#include "snapstore/status.h"

namespace snapstore {

// "fs-" and 8 or 17 hexadecimal digits: the id of an EFS file system.
bool IsEfsId(std::string_view text);

// An EFS id, or a name by the rules for general-purpose buckets in the S3 user guide.
// InvalidArgument says what is wrong with it.
Status CheckSnapshotDestination(std::string_view name);

// An absolute path to a file, without '.', '..', double or trailing slashes. InvalidArgument says
// what is wrong with it.
Status CheckPlainFilePath(std::string_view path);

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_STORAGE_NAMES_H_
