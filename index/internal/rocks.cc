#include "index/internal/rocks.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

constexpr size_t kWriteBufferBytesMost = 32 << 20;
constexpr double kFilterBitsPerKey = 10;  // one false hit in a hundred

rocksdb::DBOptions DbOptions(size_t memory_bytes, std::shared_ptr<rocksdb::Cache> cache) {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  // All families share one log, and a power cut loses only its tail: what survives is a consistent
  // prefix of the batches. Hence no sync anywhere; this is only a cache of pack footers.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // A log worth writing out was written out when the index was closed, or else at the next close.
  options.avoid_flush_during_recovery = true;
  options.max_total_wal_size = std::max<uint64_t>(memory_bytes, 32 << 20);
  options.write_buffer_manager =
      std::make_shared<rocksdb::WriteBufferManager>(memory_bytes / 4, std::move(cache));
  options.max_open_files = 128;
  options.max_file_opening_threads = 1;  // the default starts 15 threads a family, for a few files
  options.max_background_jobs = 2;
  options.bytes_per_sync = 1 << 20;
  options.max_manifest_file_size = 16 << 20;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  options.max_log_file_size = 1 << 20;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  return options;
}

rocksdb::BlockBasedTableOptions TableOptions(std::shared_ptr<rocksdb::Cache> cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = std::move(cache);
  // Filters and indexes live in the cache as small partitions, so that they are bounded by it even
  // when those of the whole index do not fit.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.pin_top_level_index_and_filter = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kFilterBitsPerKey));
  table.whole_key_filtering = true;
  table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
  table.checksum = rocksdb::ChecksumType::kXXH3;
  const rocksdb::CacheEntryRoleOptions charged{rocksdb::CacheEntryRoleOptions::Decision::kEnabled};
  table.cache_usage_options.options_overrides = {
      {rocksdb::CacheEntryRole::kBlockBasedTableReader, charged},
      {rocksdb::CacheEntryRole::kFilterConstruction, charged}};
  return table;
}

rocksdb::ColumnFamilyOptions SmallFamilyOptions(const rocksdb::BlockBasedTableOptions& table) {
  rocksdb::ColumnFamilyOptions options;
  options.compression = rocksdb::kNoCompression;  // hashes and digests do not compress
  options.write_buffer_size = 1 << 20;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

rocksdb::ColumnFamilyOptions ChunkFamilyOptions(size_t memory_bytes,
                                                const rocksdb::BlockBasedTableOptions& table) {
  rocksdb::ColumnFamilyOptions options = SmallFamilyOptions(table);
  options.write_buffer_size = std::min(memory_bytes / 8, kWriteBufferBytesMost);
  options.max_write_buffer_number = 2;
  options.memtable_whole_key_filtering = true;
  options.memtable_prefix_bloom_size_ratio = 0.05;
  options.level_compaction_dynamic_level_bytes = true;
  options.target_file_size_base = 64 << 20;
  options.max_bytes_for_level_base = 128 << 20;
  return options;
}

bool IsGone(const rocksdb::Status& status) {
  return status.IsNotFound() || status.IsPathNotFound();
}

}  // namespace

Status FromRocks(const rocksdb::Status& status, std::string_view what) {
  std::string text = fmt::format("index: {}: {}", what, status.ToString());
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (status.IsNoSpace() || status.IsMemoryLimit()) return Status::NoSpace(std::move(text));
  if (status.IsCorruption()) return Status::Corruption(std::move(text));
  if (status.IsTimedOut()) return Status::Timeout(std::move(text));
  if (status.IsIOError()) return Status::Io(std::move(text));
  return Status::Internal(std::move(text));
}

RocksHandle::~RocksHandle() {
  for (rocksdb::ColumnFamilyHandle* family : {unnamed, chunks, packs, segments, meta}) {
    if (family != nullptr) db->DestroyColumnFamilyHandle(family);
  }
}

Status OpenRocks(const std::string& path, size_t memory_bytes, RocksHandle* handle) {
  memory_bytes = std::max(memory_bytes, kMemoryBytesMin);
  rocksdb::LRUCacheOptions cache_options;
  cache_options.capacity = memory_bytes;
  cache_options.num_shard_bits = 4;
  cache_options.high_pri_pool_ratio = 0.5;  // for filters and indexes
  // Beyond the capacity go only blocks that a running call holds, a few KiB a thread. The strict
  // setting would fail such a call instead.
  cache_options.strict_capacity_limit = false;
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(cache_options);

  const rocksdb::BlockBasedTableOptions table = TableOptions(cache);
  const rocksdb::ColumnFamilyOptions small = SmallFamilyOptions(table);
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, small},
      {"chunks", ChunkFamilyOptions(memory_bytes, table)},
      {"packs", small},
      {"segments", small},
      {"meta", small}};
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(DbOptions(memory_bytes, cache), path, families, &handles, &db);
  if (status.ok()) {
    handle->db.reset(db);
    handle->cache = cache;
    handle->unnamed = handles[0];
    handle->chunks = handles[1];
    handle->packs = handles[2];
    handle->segments = handles[3];
    handle->meta = handles[4];
    return Status::Ok();
  }
  Status failure = FromRocks(status, "open " + path);
  // A held lock and a failing disk are the same kind of error to RocksDB; the lock itself tells.
  if (status.IsIOError() && !IsGone(status)) {
    SNAP_RETURN_IF_ERROR(FolderLock::Take(path).status());
    return failure;
  }
  // Files of another version or with other families are refused as invalid or unsupported.
  if (IsGone(status) || status.IsInvalidArgument() || status.IsNotSupported()) {
    return Status::Corruption(failure.message());
  }
  return failure;
}

Result<std::unique_ptr<FolderLock>> FolderLock::Take(const std::string& path) {
  const std::string file = path + "/LOCK";
  // RocksDB reports every failure alike. Opening the file here to find out would not do: closing it
  // drops the lock this process may hold.
  const bool exists = access(file.c_str(), F_OK) == 0;
  if (access(exists ? file.c_str() : path.c_str(), W_OK) != 0) {
    return Status::FromErrno(errno, "lock " + file);
  }
  rocksdb::FileLock* lock = nullptr;
  const rocksdb::Status status = rocksdb::Env::Default()->LockFile(file, &lock);
  if (!status.ok()) {
    return Status::Conflict(fmt::format("index {} is in use: {}", path, status.ToString()));
  }
  return std::unique_ptr<FolderLock>(new FolderLock(lock));
}

FolderLock::~FolderLock() {
  // Nothing depends on the outcome: the lock dies with the descriptor at the latest.
  rocksdb::Env::Default()->UnlockFile(lock_).PermitUncheckedError();
}

}  // namespace snapstore::internal
