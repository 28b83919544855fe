#include "index/internal/rocks_chunk_index.h"

#include <fmt/format.h>
#include <rocksdb/transaction_log.h>

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>

#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

constexpr size_t kFindBatch = 512;  // bounds what one MultiGet pins
// A load writes all chunks again. Below this many it costs more than it saves...
constexpr uint64_t kLoadLeast = 500'000;
// ...and so it does when it brings less than this part of them.
constexpr uint64_t kLoadPart = 8;

// Fewer chunks are sooner read than a filter's file.
constexpr uint64_t kFilterLeast = 20'000;
// A log that Open reads in the time of a few syncs.
constexpr uint64_t kLogBytesKept = 256 << 10;

rocksdb::Slice AsSlice(std::string_view text) { return {text.data(), text.size()}; }

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

}  // namespace

Status RocksChunkIndex::Init(const ChunkIndexOptions& options) {
  path_ = options.path;
  memory_bytes_ = std::max(options.memory_bytes, kMemoryBytesMin);
  SNAP_RETURN_IF_ERROR(OpenRocks(path_, memory_bytes_, &rocks_));
  // 40 bytes each, a fiftieth of the memory.
  pack_cache_.resize(std::bit_floor(memory_bytes_ / 2048));
  SNAP_RETURN_IF_ERROR(CheckSchema().WithContext("index " + path_));
  SNAP_RETURN_IF_ERROR(LoadNextPackNumber().WithContext("index " + path_));
  SNAP_RETURN_IF_ERROR(OpenDelta());
  return OpenBase();
}

Status RocksChunkIndex::OpenDelta() {
  delta_filter_ = std::make_unique<DeltaFilter>(FilterBytes());
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.readahead_size = 1 << 20;
  const std::unique_ptr<rocksdb::Iterator> it(rocks_.db->NewIterator(options, rocks_.chunks));
  it->SeekToFirst();
  delta_empty_ = !it->Valid();
  if (!delta_empty_ && !delta_filter_->Load(FilterPath(), FilterToken())) {
    delta_filter_->Reserve();
    for (; it->Valid(); it->Next()) {
      SNAP_ASSIGN_OR_RETURN(const ChunkId id, DecodeChunkKey(it->key().ToStringView()));
      delta_filter_->Add(id);
    }
  }
  // From here on it would get out of date.
  unlink(FilterPath().c_str());
  return it->status().ok() ? Status::Ok() : FromRocks(it->status(), "read chunks");
}

RocksChunkIndex::~RocksChunkIndex() {
  if (rocks_.db == nullptr) return;
  if (DeltaCount() >= kFilterLeast && !delta_filter_->Save(FilterPath(), FilterToken()).ok()) {
    unlink(FilterPath().c_str());
  }
  // The next Open would read the log and then write the same files.
  rocksdb::VectorLogPtr logs;
  if (!rocks_.db->GetSortedWalFiles(logs).ok()) return;
  uint64_t bytes = 0;
  for (const auto& log : logs) bytes += log->SizeFileBytes();
  if (bytes < kLogBytesKept) return;
  // What cannot be written stays in the log.
  rocks_.db->Flush({}, {rocks_.chunks, rocks_.packs, rocks_.segments, rocks_.meta})
      .PermitUncheckedError();
}

Status RocksChunkIndex::CheckSchema() {
  std::string value;
  const rocksdb::Status got = rocks_.db->Get({}, rocks_.meta, AsSlice(kSchemaKey), &value);
  if (got.IsNotFound()) {
    // Fresh, or killed before this write, which precedes every other.
    Bytes version;
    ByteWriter(&version).U32(kSchemaVersion);
    const rocksdb::Status put =
        rocks_.db->Put({}, rocks_.meta, AsSlice(kSchemaKey), AsSlice(AsText(version)));
    return put.ok() ? Status::Ok() : FromRocks(put, "write the schema version");
  }
  if (!got.ok()) return FromRocks(got, "read the schema version");
  ByteReader reader(AsBytes(value));
  const uint32_t version = reader.U32();
  if (!reader.ok() || !reader.empty() || version != kSchemaVersion) {
    return Status::Corruption(
        fmt::format("schema version {} is unknown, expected {}", version, kSchemaVersion));
  }
  return Status::Ok();
}

Status RocksChunkIndex::LoadNextPackNumber() {
  const std::unique_ptr<rocksdb::Iterator> it(rocks_.db->NewIterator({}, rocks_.packs));
  it->SeekForPrev(EncodePackNumberKey(~uint64_t{0}));
  if (it->Valid() && it->key().starts_with(std::string(1, kPackByNumber))) {
    SNAP_ASSIGN_OR_RETURN(const uint64_t last, DecodePackNumberKey(it->key().ToStringView()));
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
      put(rocks_.packs, EncodePackNumberKey(number), AsSlice(DigestText(pack)));
  if (status.ok()) {
    status = put(rocks_.packs, EncodePackIdKey(pack), EncodePackRecord({number, published}));
  }
  for (const PackChunk* chunk : SortedById(chunks)) {
    if (!status.ok()) break;
    const ChunkKey key = EncodeChunkKey(chunk->id);
    value.clear();
    EncodeChunkRecord({number, chunk->frame_offset, chunk->frame_length, chunk->chunk_in_frame},
                      &value);
    status = put(rocks_.chunks, {key.data(), key.size()}, AsSlice(AsText(value)));
  }
  if (!chunks.empty()) {
    // Before anybody can find them in the database.
    delta_filter_->Reserve();
    for (const PackChunk& chunk : chunks) delta_filter_->Add(chunk.id);
    delta_empty_ = false;
  }
  if (status.ok()) status = rocks_.db->Write({}, &batch);
  return status.ok() ? Status::Ok() : FromRocks(status, "add pack " + pack.ToHex());
}

Result<std::optional<ChunkLocation>> RocksChunkIndex::Find(const ChunkId& id) {
  std::vector<std::optional<ChunkLocation>> location;
  SNAP_RETURN_IF_ERROR(FindMany({&id, 1}, &location));
  return location.front();
}

Status RocksChunkIndex::FindMany(std::span<const ChunkId> ids,
                                 std::vector<std::optional<ChunkLocation>>* out) {
  out->assign(ids.size(), std::nullopt);
  for (size_t at = 0; at < ids.size(); at += kFindBatch) {
    const std::span<const ChunkId> batch = ids.subspan(at, std::min(kFindBatch, ids.size() - at));
    const std::shared_lock lock(base_mutex_);
    SNAP_RETURN_IF_ERROR(base_status_);
    if (!delta_empty_) SNAP_RETURN_IF_ERROR(FindInDelta(batch, out->data() + at));
    if (base_ != nullptr) SNAP_RETURN_IF_ERROR(FindInBase(batch, out->data() + at));
  }
  return Status::Ok();
}

Status RocksChunkIndex::FindInDelta(std::span<const ChunkId> ids,
                                    std::optional<ChunkLocation>* out) {
  for (const ChunkId& id : ids) delta_filter_->Prefetch(id);
  std::vector<size_t> asked;
  for (size_t n = 0; n < ids.size(); ++n) {
    if (delta_filter_->MayHold(ids[n])) asked.push_back(n);
  }
  const size_t count = asked.size();
  if (count == 0) return Status::Ok();
  std::vector<ChunkKey> keys(count);
  std::vector<rocksdb::Slice> slices(count);
  std::vector<rocksdb::PinnableSlice> values(count);
  std::vector<rocksdb::Status> statuses(count);
  for (size_t n = 0; n < count; ++n) {
    keys[n] = EncodeChunkKey(ids[asked[n]]);
    slices[n] = {keys[n].data(), keys[n].size()};
  }
  rocks_.db->MultiGet({}, rocks_.chunks, count, slices.data(), values.data(), statuses.data());
  for (size_t n = 0; n < count; ++n) {
    if (statuses[n].IsNotFound()) continue;
    if (!statuses[n].ok()) return FromRocks(statuses[n], "find chunk " + ids[asked[n]].ToHex());
    SNAP_ASSIGN_OR_RETURN(const ChunkRecord record, DecodeChunkRecord(values[n].ToStringView()));
    SNAP_ASSIGN_OR_RETURN(out[asked[n]], Locate(record));
  }
  return Status::Ok();
}

Status RocksChunkIndex::FindInBase(std::span<const ChunkId> ids,
                                   std::optional<ChunkLocation>* out) {
  return base_->Find(ids, [this, out](size_t n, const BaseRecord& found) -> Status {
    if (out[n].has_value()) return {};
    SNAP_ASSIGN_OR_RETURN(out[n], Locate({found.pack_number, found.frame_offset, found.frame_length,
                                          found.chunk_in_frame}));
    return {};
  });
}

Result<std::optional<ChunkLocation>> RocksChunkIndex::Locate(const ChunkRecord& record) {
  SNAP_ASSIGN_OR_RETURN(const std::optional<PackId> pack, PackOfNumber(record.pack_number));
  if (!pack.has_value()) return std::optional<ChunkLocation>();
  return std::optional(
      ChunkLocation{*pack, record.frame_offset, record.frame_length, record.chunk_in_frame});
}

Result<std::optional<PackId>> RocksChunkIndex::PackOfNumber(uint64_t number) {
  PackSlot& slot = pack_cache_[number % pack_cache_.size()];
  {
    const std::shared_lock lock(pack_cache_mutex_);
    if (slot.number == number && number != 0) return std::optional(slot.pack);
  }
  std::string value;
  const rocksdb::Status status =
      rocks_.db->Get({}, rocks_.packs, EncodePackNumberKey(number), &value);
  if (status.IsNotFound()) {
    return Status::Corruption(fmt::format("index: chunk in unknown pack number {}", number));
  }
  if (!status.ok()) return FromRocks(status, fmt::format("read pack number {}", number));
  if (value.empty()) return std::optional<PackId>();
  SNAP_ASSIGN_OR_RETURN(const PackId pack, DecodeDigest(value));
  const std::unique_lock lock(pack_cache_mutex_);
  slot = {number, pack};
  return std::optional(pack);
}

Result<std::optional<PackRecord>> RocksChunkIndex::FindPack(const PackId& pack) {
  std::string value;
  const rocksdb::Status status = rocks_.db->Get({}, rocks_.packs, EncodePackIdKey(pack), &value);
  if (status.IsNotFound()) return std::optional<PackRecord>();
  if (!status.ok()) return FromRocks(status, "look up pack " + pack.ToHex());
  SNAP_ASSIGN_OR_RETURN(const PackRecord record, DecodePackRecord(value));
  return std::optional<PackRecord>(record);
}

Result<bool> RocksChunkIndex::HasPack(const PackId& pack) {
  SNAP_ASSIGN_OR_RETURN(const std::optional<PackRecord> record, FindPack(pack));
  return record.has_value();
}

Status RocksChunkIndex::ForEachPack(const std::function<Status(const PackId&, bool)>& visit) {
  const std::string prefix(1, kPackById);
  const std::unique_ptr<rocksdb::Iterator> it(rocks_.db->NewIterator({}, rocks_.packs));
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix); it->Next()) {
    SNAP_ASSIGN_OR_RETURN(const PackId pack,
                          DecodeDigest(it->key().ToStringView().substr(prefix.size())));
    SNAP_ASSIGN_OR_RETURN(const PackRecord record, DecodePackRecord(it->value().ToStringView()));
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
    const rocksdb::Status put =
        batch.Put(rocks_.packs, EncodePackIdKey(pack), EncodePackRecord({record->number, true}));
    if (!put.ok()) return FromRocks(put, "mark packs published");
  }
  const rocksdb::Status status = rocks_.db->Write({}, &batch);
  return status.ok() ? Status::Ok() : FromRocks(status, "mark packs published");
}

Status RocksChunkIndex::DropPacks(std::span<const PackId> packs) {
  const std::lock_guard lock(pack_mutex_);
  rocksdb::WriteBatch batch;
  std::vector<uint64_t> numbers;
  for (const PackId& pack : packs) {
    SNAP_ASSIGN_OR_RETURN(const std::optional<PackRecord> record, FindPack(pack));
    if (!record.has_value()) continue;
    numbers.push_back(record->number);
    rocksdb::Status put = batch.Delete(rocks_.packs, EncodePackIdKey(pack));
    if (put.ok()) put = batch.Put(rocks_.packs, EncodePackNumberKey(record->number), {});
    if (!put.ok()) return FromRocks(put, "drop packs");
  }
  const rocksdb::Status status = rocks_.db->Write({}, &batch);
  if (!status.ok()) return FromRocks(status, "drop packs");
  const std::unique_lock cache_lock(pack_cache_mutex_);
  for (const uint64_t number : numbers) {
    PackSlot& slot = pack_cache_[number % pack_cache_.size()];
    if (slot.number == number) slot = {};
  }
  return Status::Ok();
}

Status RocksChunkIndex::DropSegments(std::span<const Digest> segments) {
  rocksdb::WriteBatch batch;
  for (const Digest& segment : segments) {
    const rocksdb::Status put = batch.Delete(rocks_.segments, AsSlice(DigestText(segment)));
    if (!put.ok()) return FromRocks(put, "drop segments");
  }
  const rocksdb::Status status = rocks_.db->Write({}, &batch);
  return status.ok() ? Status::Ok() : FromRocks(status, "drop segments");
}

Result<bool> RocksChunkIndex::HasSegment(const Digest& segment) {
  std::string value;
  const rocksdb::Status status =
      rocks_.db->Get({}, rocks_.segments, AsSlice(DigestText(segment)), &value);
  if (status.IsNotFound()) return false;
  if (!status.ok()) return FromRocks(status, "look up segment " + segment.ToHex());
  return true;
}

Status RocksChunkIndex::AddSegment(const Digest& segment) {
  const rocksdb::Status status =
      rocks_.db->Put({}, rocks_.segments, AsSlice(DigestText(segment)), {});
  return status.ok() ? Status::Ok() : FromRocks(status, "add segment " + segment.ToHex());
}

Status RocksChunkIndex::ForEachSegment(const std::function<Status(const Digest&)>& visit) {
  const std::unique_ptr<rocksdb::Iterator> it(rocks_.db->NewIterator({}, rocks_.segments));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    SNAP_ASSIGN_OR_RETURN(const Digest segment, DecodeDigest(it->key().ToStringView()));
    SNAP_RETURN_IF_ERROR(visit(segment));
  }
  return it->status().ok() ? Status::Ok() : FromRocks(it->status(), "read segments");
}

uint64_t RocksChunkIndex::DeltaCount() {
  uint64_t count = 0;
  // Without the property the estimate is 0, which it may be anyway.
  if (!delta_empty_) {
    rocks_.db->GetIntProperty(rocks_.chunks, rocksdb::DB::Properties::kEstimateNumKeys, &count);
  }
  return count;
}

uint64_t RocksChunkIndex::ApproximateChunkCount() {
  const std::shared_lock lock(base_mutex_);
  return DeltaCount() + (base_ == nullptr ? 0 : base_->count());
}

bool RocksChunkIndex::LoadPays(uint64_t chunks) {
  const std::shared_lock lock(base_mutex_);
  const uint64_t base = base_ == nullptr ? 0 : base_->count();
  return DeltaCount() + chunks >= std::max(kLoadLeast, base / kLoadPart);
}

}  // namespace snapstore::internal
