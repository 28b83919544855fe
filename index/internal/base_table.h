// BaseTable: very many chunks in one immutable sorted file, with a directory in memory. Private to
// index/.
//
// RocksDB alone looks up some 80 000 chunks a second among 100 million, bound by its blocks, its
// cache and its filters. Here a miss costs one cache line, and a hit one more and one read.
//
// The file, little-endian but for the hashes, which are bytes:
//
//   header     one page: magic "SNAPBASE", records (8), directory blocks (8), XXH3-64 of the
//              directory (8), XXH3-64 of the 32 bytes before (8), zeros
//   directory  blocks of 64 bytes; block b of n covers the hashes h (their first 64 bits) with
//              floor(h * n / 2^64) = b: number of its first record (4), a Bloom filter (60)
//   records    36 bytes each, in the order of ChunkId: see BaseRecord
//
// A directory that is too large for the memory at hand is folded when it is read: neighbouring
// blocks are merged, which leaves the order and costs filter precision.
//
// Thread safety: a table is immutable, all calls may run concurrently; a writer or a cursor belongs
// to one thread.
#ifndef SNAPSTORE_INDEX_INTERNAL_BASE_TABLE_H_
#define SNAPSTORE_INDEX_INTERNAL_BASE_TABLE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/unique_fd.h"
#include "chunker/chunk_id.h"
#include "snapstore/status.h"

namespace snapstore::internal {

struct BaseRecord {
  std::array<uint8_t, 16> hash;
  uint32_t length;
  uint32_t pack_number;
  uint32_t frame_offset;
  uint32_t frame_length;
  uint16_t chunk_in_frame;
  uint16_t check;  // of all before; the writer sets it

  // What orders the table and picks the directory's block.
  uint64_t Prefix() const { return __builtin_bswap64(LoadLe<uint64_t>(hash.data())); }
  ChunkId Id() const { return {hash, length}; }
};
static_assert(sizeof(BaseRecord) == 36 && std::is_trivially_copyable_v<BaseRecord>);

struct DirectoryBlock {
  static constexpr size_t kWords = 15;
  uint32_t first_record;
  std::array<uint32_t, kWords> filter;
};
static_assert(sizeof(DirectoryBlock) == 64);

class BaseTable {
 public:
  // Keeps a directory of at most `directory_bytes` (64 at least) in memory. Corruption: the file is
  // not what Finish left.
  static Result<std::unique_ptr<BaseTable>> Open(const std::string& path, size_t directory_bytes);

  uint64_t count() const { return count_; }
  size_t directory_bytes() const { return directory_.size() * sizeof(DirectoryBlock); }

  // Calls `found` with the position in `ids` and the record of each that the table holds.
  Status Find(std::span<const ChunkId> ids,
              const std::function<Status(size_t, const BaseRecord&)>& found) const;

 private:
  friend class BaseCursor;

  // Records [begin, end) may hold the chunk at this position of `ids`.
  struct Candidate {
    size_t position;
    uint64_t begin;
    uint64_t end;
  };

  BaseTable(UniqueFd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  Status ReadHeader();
  Status ReadDirectory(size_t directory_bytes);
  size_t BlockOf(uint64_t prefix) const;
  Result<bool> Search(const ChunkId& id, Candidate candidate, BaseRecord* record) const;
  Status ReadRecords(uint64_t first, std::span<BaseRecord> out) const;
  Status Verify(const BaseRecord& record) const;

  const UniqueFd file_;
  const std::string path_;
  uint64_t count_ = 0;
  uint64_t file_blocks_ = 0;
  uint64_t directory_checksum_ = 0;
  uint64_t fold_ = 1;                      // blocks of the file in one of memory
  std::vector<DirectoryBlock> directory_;  // and a last one, empty, where the records end
};

// All records of a table in order.
class BaseCursor {
 public:
  // `table` may be null: no records. It must outlive the cursor.
  explicit BaseCursor(const BaseTable* table);
  // Appends the records whose prefix is at most `last` and which no call returned before.
  Status TakeUpTo(uint64_t last, std::vector<BaseRecord>* out);

 private:
  const BaseTable* const table_;
  uint64_t next_ = 0;  // to be read
  std::vector<BaseRecord> buffer_;
  size_t used_ = 0;
};

// Writes a table. Nothing may be read before Finish.
class BaseTableWriter {
 public:
  // `records` is how many will come, roughly; it sizes the directory, to `directory_bytes` at most.
  static Result<std::unique_ptr<BaseTableWriter>> Create(const std::string& path, uint64_t records,
                                                         size_t directory_bytes);
  ~BaseTableWriter();

  // REQUIRES: greater than the one before, by ChunkId.
  Status Add(BaseRecord record);
  // All of it durable.
  Status Finish();

 private:
  struct Digester;  // XXH3, streaming

  // One of the two regions of the file, written from front to back.
  struct Region {
    uint64_t offset = 0;
    Bytes buffer;
  };

  BaseTableWriter(UniqueFd file, std::string path, uint64_t blocks);
  Status Append(Region* region, ByteSpan bytes);
  Status WriteOut(Region* region);
  Status FinishBlock();

  const UniqueFd file_;
  const std::string path_;
  const uint64_t blocks_;
  uint64_t block_number_ = 0;
  DirectoryBlock block_{};
  uint64_t count_ = 0;
  Region directory_;
  Region records_;
  std::unique_ptr<Digester> digester_;
};

}  // namespace snapstore::internal

#endif  // SNAPSTORE_INDEX_INTERNAL_BASE_TABLE_H_
