// How this index uses RocksDB: options within a memory budget, opening, errors. Private to index/.
#ifndef SNAPSTORE_INDEX_INTERNAL_ROCKS_H_
#define SNAPSTORE_INDEX_INTERNAL_ROCKS_H_

#include <rocksdb/cache.h>
#include <rocksdb/db.h>

#include <memory>
#include <string>

#include "snapstore/status.h"

namespace snapstore::internal {

constexpr size_t kMemoryBytesMin = 8 << 20;  // less is taken for this

// Translates a RocksDB error; `what` names the operation. REQUIRES: !status.ok().
Status FromRocks(const rocksdb::Status& status, std::string_view what);

// An open database and its column families, closed in the right order.
struct RocksHandle {
  RocksHandle() = default;
  RocksHandle(const RocksHandle&) = delete;
  RocksHandle& operator=(const RocksHandle&) = delete;
  ~RocksHandle();

  std::unique_ptr<rocksdb::DB> db;
  std::shared_ptr<rocksdb::Cache> cache;           // its capacity is what RocksDB may use in all
  rocksdb::ColumnFamilyHandle* unnamed = nullptr;  // RocksDB insists on it; stays empty
  rocksdb::ColumnFamilyHandle* chunks = nullptr;
  rocksdb::ColumnFamilyHandle* packs = nullptr;
  rocksdb::ColumnFamilyHandle* segments = nullptr;
  rocksdb::ColumnFamilyHandle* meta = nullptr;
};

// Opens or makes the database in the existing folder `path`. Conflict and Corruption as
// ChunkIndex::Open says.
Status OpenRocks(const std::string& path, size_t memory_bytes, RocksHandle* handle);

// Holds RocksDB's own lock on a folder, so that nobody has the database open meanwhile.
class FolderLock {
 public:
  // REQUIRES: the folder exists. Conflict: somebody holds the lock.
  static Result<std::unique_ptr<FolderLock>> Take(const std::string& path);
  ~FolderLock();

 private:
  explicit FolderLock(rocksdb::FileLock* lock) : lock_(lock) {}

  rocksdb::FileLock* lock_;
};

}  // namespace snapstore::internal

#endif  // SNAPSTORE_INDEX_INTERNAL_ROCKS_H_
