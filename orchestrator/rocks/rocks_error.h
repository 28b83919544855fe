// RocksDB's errors as statuses, for the stores of this folder.
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_ROCKS_ROCKS_ERROR_H_
#define SNAPSTORE_ORCHESTRATOR_ROCKS_ROCKS_ERROR_H_

#include <rocksdb/status.h>

#include <string>
#include <string_view>

#include "snapstore/status.h"

namespace snapstore {

// `what` was being done. REQUIRES: !status.ok().
Status StatusOfRocks(const rocksdb::Status& status, std::string_view what);

// The database in the folder `path` could not be opened. Conflict: another process has it open.
// Corruption: it is damaged, or holds something else. REQUIRES: !status.ok().
Status StatusOfRocksOpen(const rocksdb::Status& status, std::string_view path);

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_ROCKS_ROCKS_ERROR_H_
