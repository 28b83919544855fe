#include "index/chunk_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <mutex>
#include <shared_mutex>

#include "base/status_macros.h"
#include "index/internal/record.h"
#include "index/internal/rocks.h"

namespace snapstore {
namespace {

using internal::ChunkRecord;
using internal::FromRocks;
using internal::PackRecord;
using internal::RocksHandle;

constexpr size_t kPackCacheSlots = 1 << 14;  // 0.7 MiB; the packs of a terabyte
constexpr size_t kFindBatch = 512;           // bounds what one MultiGet pins

rocksdb::Slice AsSlice(std::string_view text) { return {text.data(), text.size()}; }

Status NotAFolder(const std::string& path) {
  return Status::InvalidArgument(fmt::format("index path {} is not a folder", path));
}

// In key order the memtable's insertions walk nearly the same path each time, in cache. Stable, so
// that the last of equal chunks still wins.
std::vector<const PackChunk*> SortedById(std::span<const PackChunk> chunks) {
  std::vector<const PackChunk*> sorted(chunks.size());
  std::transform(chunks.begin(), chunks.end(), sorted.begin(),
                 [](const PackChunk& chunk) { return &chunk; });
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const PackChunk* a, const PackChunk* b) { return a->id < b->id; });
  return sorted;
}

class RocksChunkIndex final : public ChunkIndex {
 public:
  Status Init(const ChunkIndexOptions& options);

  Status AddPack(const PackId& pack, std::span<const PackChunk> chunks, bool published) override;
  Result<std::optional<ChunkLocation>> Find(const ChunkId& id) override;
  Status FindMany(std::span<const ChunkId> ids,
                  std::vector<std::optional<ChunkLocation>>* out) override;
  Result<bool> HasPack(const PackId& pack) override;
  Status ForEachPack(const std::function<Status(const PackId&, bool)>& visit) override;
  Status MarkPublished(std::span<const PackId> packs) override;
  Result<bool> HasSegment(const Digest& segment) override;
  Status AddSegment(const Digest& segment) override;
  Status ForEachSegment(const std::function<Status(const Digest&)>& visit) override;
  uint64_t ApproximateChunkCount() override;

 private:
  struct PackSlot {
    uint64_t number = 0;  // numbers start at 1: 0 is an empty slot
    PackId pack;
  };

  Status CheckSchema();
  Status LoadNextPackNumber();
  Status FindBatch(std::span<const ChunkId> ids, std::optional<ChunkLocation>* out);
  Result<ChunkLocation> Locate(std::string_view chunk_record);
  Result<PackId> PackOfNumber(uint64_t number);
  Result<std::optional<PackRecord>> FindPack(const PackId& pack);

  RocksHandle rocks_;
  // Serialises check-then-write on packs; readers never take it.
  std::mutex pack_mutex_;
  uint64_t next_pack_number_ = 1;
  // Direct-mapped by number: a stream of hits names few packs, mostly neighbours.
  std::shared_mutex pack_cache_mutex_;
  std::vector<PackSlot> pack_cache_;
};

Status RocksChunkIndex::Init(const ChunkIndexOptions& options) {
  SNAP_RETURN_IF_ERROR(internal::OpenRocks(options.path, options.memory_bytes, &rocks_));
  pack_cache_.resize(kPackCacheSlots);
  SNAP_RETURN_IF_ERROR(CheckSchema().WithContext("index " + options.path));
  return LoadNextPackNumber().WithContext("index " + options.path);
}

Status RocksChunkIndex::CheckSchema() {
  std::string value;
  const rocksdb::Status got =
      rocks_.db->Get({}, rocks_.meta, AsSlice(internal::kSchemaKey), &value);
  if (got.IsNotFound()) {
    // Fresh, or killed before this write, which precedes every other.
    Bytes version;
    ByteWriter(&version).U32(internal::kSchemaVersion);
    const rocksdb::Status put =
        rocks_.db->Put({}, rocks_.meta, AsSlice(internal::kSchemaKey), AsSlice(AsText(version)));
    return put.ok() ? Status::Ok() : FromRocks(put, "write the schema version");
  }
  if (!got.ok()) return FromRocks(got, "read the schema version");
  ByteReader reader(AsBytes(value));
  const uint32_t version = reader.U32();
  if (!reader.ok() || !reader.empty() || version != internal::kSchemaVersion) {
    return Status::Corruption(fmt::format("schema version {} is unknown, expected {}", version,
                                          internal::kSchemaVersion));
  }
  return Status::Ok();
}

Status RocksChunkIndex::LoadNextPackNumber() {
  const std::unique_ptr<rocksdb::Iterator> it(rocks_.db->NewIterator({}, rocks_.packs));
  it->SeekForPrev(internal::EncodePackNumberKey(~uint64_t{0}));
  if (it->Valid() && it->key().starts_with(std::string(1, internal::kPackByNumber))) {
    SNAP_ASSIGN_OR_RETURN(const uint64_t last,
                          internal::DecodePackNumberKey(it->key().ToStringView()));
    next_pack_number_ = last + 1;
  }
  return it->status().ok() ? Status::Ok() : FromRocks(it->status(), "read packs");
}

Status RocksChunkIndex::AddPack(const PackId& pack, std::span<const PackChunk> chunks,
                                bool published) {
  const std::lock_guard lock(pack_mutex_);
  SNAP_ASSIGN_OR_RETURN(const std::optional<PackRecord> known, FindPack(pack));
  if (known.has_value()) return Status::Ok();

  // Counted up even when the write fails, after which it is unknown what the log holds.
  const uint64_t number = next_pack_number_++;
  rocksdb::WriteBatch batch;
  Bytes value;
  const auto put = [&batch](rocksdb::ColumnFamilyHandle* family, rocksdb::Slice key,
                            rocksdb::Slice content) { return batch.Put(family, key, content); };
  rocksdb::Status status =
      put(rocks_.packs, internal::EncodePackNumberKey(number), AsSlice(internal::DigestText(pack)));
  if (status.ok()) {
    status = put(rocks_.packs, internal::EncodePackIdKey(pack),
                 internal::EncodePackRecord({number, published}));
  }
  for (const PackChunk* chunk : SortedById(chunks)) {
    if (!status.ok()) break;
    const internal::ChunkKey key = internal::EncodeChunkKey(chunk->id);
    value.clear();
    internal::EncodeChunkRecord(
        {number, chunk->frame_offset, chunk->frame_length, chunk->chunk_in_frame}, &value);
    status = put(rocks_.chunks, {key.data(), key.size()}, AsSlice(AsText(value)));
  }
  if (status.ok()) status = rocks_.db->Write({}, &batch);
  return status.ok() ? Status::Ok() : FromRocks(status, "add pack " + pack.ToHex());
}

Result<std::optional<ChunkLocation>> RocksChunkIndex::Find(const ChunkId& id) {
  std::optional<ChunkLocation> location;
  SNAP_RETURN_IF_ERROR(FindBatch({&id, 1}, &location));
  return location;
}

Status RocksChunkIndex::FindMany(std::span<const ChunkId> ids,
                                 std::vector<std::optional<ChunkLocation>>* out) {
  out->assign(ids.size(), std::nullopt);
  for (size_t at = 0; at < ids.size(); at += kFindBatch) {
    const size_t count = std::min(kFindBatch, ids.size() - at);
    SNAP_RETURN_IF_ERROR(FindBatch(ids.subspan(at, count), out->data() + at));
  }
  return Status::Ok();
}

Status RocksChunkIndex::FindBatch(std::span<const ChunkId> ids, std::optional<ChunkLocation>* out) {
  const size_t count = ids.size();
  std::vector<internal::ChunkKey> keys(count);
  std::vector<rocksdb::Slice> slices(count);
  std::vector<rocksdb::PinnableSlice> values(count);
  std::vector<rocksdb::Status> statuses(count);
  for (size_t n = 0; n < count; ++n) {
    keys[n] = internal::EncodeChunkKey(ids[n]);
    slices[n] = {keys[n].data(), keys[n].size()};
  }
  rocks_.db->MultiGet({}, rocks_.chunks, count, slices.data(), values.data(), statuses.data());
  for (size_t n = 0; n < count; ++n) {
    if (statuses[n].IsNotFound()) continue;
    if (!statuses[n].ok()) return FromRocks(statuses[n], "find chunk " + ids[n].ToHex());
    SNAP_ASSIGN_OR_RETURN(out[n], Locate(values[n].ToStringView()));
  }
  return Status::Ok();
}

Result<ChunkLocation> RocksChunkIndex::Locate(std::string_view chunk_record) {
  SNAP_ASSIGN_OR_RETURN(const ChunkRecord record, internal::DecodeChunkRecord(chunk_record));
  SNAP_ASSIGN_OR_RETURN(const PackId pack, PackOfNumber(record.pack_number));
  return ChunkLocation{pack, record.frame_offset, record.frame_length, record.chunk_in_frame};
}

Result<PackId> RocksChunkIndex::PackOfNumber(uint64_t number) {
  PackSlot& slot = pack_cache_[number % kPackCacheSlots];
  {
    const std::shared_lock lock(pack_cache_mutex_);
    if (slot.number == number && number != 0) return slot.pack;
  }
  std::string value;
  const rocksdb::Status status =
      rocks_.db->Get({}, rocks_.packs, internal::EncodePackNumberKey(number), &value);
  if (status.IsNotFound()) {
    return Status::Corruption(fmt::format("index: chunk in unknown pack number {}", number));
  }
  if (!status.ok()) return FromRocks(status, fmt::format("read pack number {}", number));
  SNAP_ASSIGN_OR_RETURN(const PackId pack, internal::DecodeDigest(value));
  const std::unique_lock lock(pack_cache_mutex_);
  slot = {number, pack};
  return pack;
}

Result<std::optional<PackRecord>> RocksChunkIndex::FindPack(const PackId& pack) {
  std::string value;
  const rocksdb::Status status =
      rocks_.db->Get({}, rocks_.packs, internal::EncodePackIdKey(pack), &value);
  if (status.IsNotFound()) return std::optional<PackRecord>();
  if (!status.ok()) return FromRocks(status, "look up pack " + pack.ToHex());
  SNAP_ASSIGN_OR_RETURN(const PackRecord record, internal::DecodePackRecord(value));
  return std::optional<PackRecord>(record);
}

Result<bool> RocksChunkIndex::HasPack(const PackId& pack) {
  SNAP_ASSIGN_OR_RETURN(const std::optional<PackRecord> record, FindPack(pack));
  return record.has_value();
}

Status RocksChunkIndex::ForEachPack(const std::function<Status(const PackId&, bool)>& visit) {
  const std::string prefix(1, internal::kPackById);
  const std::unique_ptr<rocksdb::Iterator> it(rocks_.db->NewIterator({}, rocks_.packs));
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) {
    SNAP_ASSIGN_OR_RETURN(const PackId pack,
                          internal::DecodeDigest(it->key().ToStringView().substr(prefix.size())));
    SNAP_ASSIGN_OR_RETURN(const PackRecord record,
                          internal::DecodePackRecord(it->value().ToStringView()));
    SNAP_RETURN_IF_ERROR(visit(pack, record.published));
  }
  return it->status().ok() ? Status::Ok() : FromRocks(it->status(), "read packs");
}

Status RocksChunkIndex::MarkPublished(std::span<const PackId> packs) {
  const std::lock_guard lock(pack_mutex_);
  rocksdb::WriteBatch batch;
  for (const PackId& pack : packs) {
    SNAP_ASSIGN_OR_RETURN(const std::optional<PackRecord> record, FindPack(pack));
    if (!record.has_value()) {
      return Status::NotFound(fmt::format("index: pack {} is not in it", pack.ToHex()));
    }
    const rocksdb::Status put = batch.Put(rocks_.packs, internal::EncodePackIdKey(pack),
                                          internal::EncodePackRecord({record->number, true}));
    if (!put.ok()) return FromRocks(put, "mark packs published");
  }
  const rocksdb::Status status = rocks_.db->Write({}, &batch);
  return status.ok() ? Status::Ok() : FromRocks(status, "mark packs published");
}

Result<bool> RocksChunkIndex::HasSegment(const Digest& segment) {
  std::string value;
  const rocksdb::Status status =
      rocks_.db->Get({}, rocks_.segments, AsSlice(internal::DigestText(segment)), &value);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return FromRocks(status, "look up segment " + segment.ToHex());
  return true;
}

Status RocksChunkIndex::AddSegment(const Digest& segment) {
  const rocksdb::Status status =
      rocks_.db->Put({}, rocks_.segments, AsSlice(internal::DigestText(segment)), {});
  return status.ok() ? Status::Ok() : FromRocks(status, "add segment " + segment.ToHex());
}

Status RocksChunkIndex::ForEachSegment(const std::function<Status(const Digest&)>& visit) {
  const std::unique_ptr<rocksdb::Iterator> it(rocks_.db->NewIterator({}, rocks_.segments));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    SNAP_ASSIGN_OR_RETURN(const Digest segment, internal::DecodeDigest(it->key().ToStringView()));
    SNAP_RETURN_IF_ERROR(visit(segment));
  }
  return it->status().ok() ? Status::Ok() : FromRocks(it->status(), "read segments");
}

uint64_t RocksChunkIndex::ApproximateChunkCount() {
  uint64_t count = 0;
  // Without the property the estimate is 0, which it may be anyway.
  rocks_.db->GetIntProperty(rocks_.chunks, rocksdb::DB::Properties::kEstimateNumKeys, &count);
  return count;
}

}  // namespace

Result<std::unique_ptr<ChunkIndex>> ChunkIndex::Open(const ChunkIndexOptions& options) {
  std::error_code error;
  std::filesystem::create_directories(options.path, error);
  std::error_code type_error;
  const auto type = std::filesystem::status(options.path, type_error).type();
  if (type != std::filesystem::file_type::directory) {
    if (std::filesystem::exists(std::filesystem::file_status(type))) {
      return NotAFolder(options.path);
    }
    return Status::FromErrno(error.value(), "make index folder " + options.path);
  }
  auto index = std::make_unique<RocksChunkIndex>();
  SNAP_RETURN_IF_ERROR(index->Init(options));
  return std::unique_ptr<ChunkIndex>(std::move(index));
}

Status ChunkIndex::Destroy(const std::string& path) {
  std::error_code error;
  const auto type = std::filesystem::symlink_status(path, error).type();
  if (type == std::filesystem::file_type::not_found) return Status::Ok();
  if (type == std::filesystem::file_type::none) {
    return Status::FromErrno(error.value(), "look at index folder " + path);
  }
  if (type != std::filesystem::file_type::directory) return NotAFolder(path);
  SNAP_ASSIGN_OR_RETURN(const auto lock, internal::FolderLock::Take(path));
  std::filesystem::remove_all(path, error);
  return error ? Status::FromErrno(error.value(), "remove index folder " + path) : Status::Ok();
}

}  // namespace snapstore
