// The load: what it collects, and the half of RocksChunkIndex that takes it in.
#include <fmt/format.h>
#include <rocksdb/convenience.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/status_macros.h"
#include "index/internal/rocks_chunk_index.h"

namespace snapstore::internal {
namespace {

constexpr char kBasePrefix[] = "base-";
constexpr size_t kSortBytesMin = 2 << 20;
// Greater than every key of the family, all of which have 20 bytes.
const std::string kBeyondChunkKeys(21, '\xff');

// Sorts so that of records with the same id the last one wins, and writes them.
class Sorter {
 public:
  explicit Sorter(BaseTableWriter* writer) : writer_(writer) {}

  static constexpr size_t kBytesPerRecord = sizeof(BaseRecord) + 2 * sizeof(uint64_t);

  // To be filled by the caller.
  std::vector<BaseRecord>* records() { return &records_; }

  Status WriteOut() {
    constexpr size_t kAhead = 16;
    order_.clear();
    order_.reserve(records_.size());
    for (uint32_t n = 0; n < records_.size(); ++n) order_.push_back({records_[n].Prefix(), n});
    std::sort(order_.begin(), order_.end(), [this](const Entry& a, const Entry& b) {
      return a.prefix != b.prefix ? a.prefix < b.prefix : Less(a.position, b.position);
    });
    for (size_t n = 0; n < order_.size(); ++n) {
      // Out of order in memory, and more than the CPU's caches hold.
      if (n + kAhead < order_.size()) __builtin_prefetch(&records_[order_[n + kAhead].position]);
      const BaseRecord& record = records_[order_[n].position];
      const bool last = n + 1 == order_.size() || order_[n + 1].prefix != order_[n].prefix ||
                        records_[order_[n + 1].position].Id() != record.Id();
      if (last) SNAP_RETURN_IF_ERROR(writer_->Add(record));
    }
    records_.clear();
    return {};
  }

 private:
  struct Entry {
    uint64_t prefix;  // here, so that comparing seldom goes to the record
    uint32_t position;
  };

  bool Less(uint32_t a, uint32_t b) const {
    const ChunkId first = records_[a].Id();
    const ChunkId second = records_[b].Id();
    return first == second ? a < b : first < second;
  }

  BaseTableWriter* const writer_;
  std::vector<BaseRecord> records_;
  std::vector<Entry> order_;
};

// All chunks of the family in order.
class DeltaCursor {
 public:
  explicit DeltaCursor(std::unique_ptr<rocksdb::Iterator> it) : it_(std::move(it)) {
    it_->SeekToFirst();
  }
  Status TakeUpTo(uint64_t last, std::vector<BaseRecord>* out) {
    for (; it_->Valid(); it_->Next()) {
      SNAP_ASSIGN_OR_RETURN(const BaseRecord record,
                            DecodeChunk(it_->key().ToStringView(), it_->value().ToStringView()));
      if (record.Prefix() > last) return {};
      out->push_back(record);
    }
    return it_->status().ok() ? Status() : FromRocks(it_->status(), "read chunks");
  }

 private:
  const std::unique_ptr<rocksdb::Iterator> it_;
};

class RocksChunkLoad final : public ChunkLoad {
 public:
  RocksChunkLoad(RocksChunkIndex* index, std::unique_ptr<Spool> spool)
      : index_(index), spool_(std::move(spool)) {}
  ~RocksChunkLoad() override { index_->EndLoad(); }

  Status AddPack(const PackId& pack, std::span<const PackChunk> chunks, bool published) override {
    SNAP_ASSIGN_OR_RETURN(const bool known, HasPack(pack));
    if (known) return {};
    const uint64_t number = index_->TakePackNumber();
    for (const PackChunk& chunk : chunks) {
      SNAP_ASSIGN_OR_RETURN(const BaseRecord record,
                            MakeBaseRecord(chunk.id, {number, chunk.frame_offset,
                                                      chunk.frame_length, chunk.chunk_in_frame}));
      SNAP_RETURN_IF_ERROR(spool_->Add(record));
    }
    // Last: of a pack that came in half nobody must learn.
    names_.packs[pack] = {{number, published}, /*is_new=*/true};
    return {};
  }

  Result<bool> HasPack(const PackId& pack) override {
    if (names_.packs.contains(pack)) return true;
    return index_->HasPack(pack);
  }

  Status MarkPublished(std::span<const PackId> packs) override {
    std::map<PackId, LoadedPack> marked;
    for (const PackId& pack : packs) {
      LoadedPack loaded;
      if (const auto it = names_.packs.find(pack); it != names_.packs.end()) {
        loaded = it->second;
      } else {
        SNAP_ASSIGN_OR_RETURN(const std::optional<PackRecord> record, index_->FindPack(pack));
        if (!record.has_value()) {
          return Status::NotFound(fmt::format("index: pack {} is not in it", pack.ToHex()));
        }
        loaded.record = *record;
      }
      loaded.record.published = true;
      marked[pack] = loaded;
    }
    for (const auto& [pack, loaded] : marked) names_.packs[pack] = loaded;
    return {};
  }

  Status AddSegment(const Digest& segment) override {
    names_.segments.push_back(segment);
    return {};
  }

  Status Commit(const Progress& progress) override {
    if (spool_ == nullptr) return Status::Internal("index: the load is spent");
    const std::unique_ptr<Spool> spool = std::move(spool_);
    SNAP_RETURN_IF_ERROR(spool->Seal());
    return index_->CommitLoad(spool.get(), progress, &names_);
  }

 private:
  RocksChunkIndex* const index_;
  std::unique_ptr<Spool> spool_;
  LoadedNames names_;
};

}  // namespace

Result<std::unique_ptr<ChunkLoad>> RocksChunkIndex::StartLoad() {
  if (loading_.exchange(true)) return Status::Conflict("index: another load is going on");
  Result<std::unique_ptr<Spool>> spool = Spool::Create(path_, memory_bytes_ / 8);
  if (!spool.ok()) {
    EndLoad();
    return spool.status();
  }
  SetCacheCapacity();
  return std::unique_ptr<ChunkLoad>(std::make_unique<RocksChunkLoad>(this, std::move(*spool)));
}

void RocksChunkIndex::EndLoad() {
  loading_ = false;
  SetCacheCapacity();
}

uint64_t RocksChunkIndex::TakePackNumber() {
  const std::lock_guard lock(pack_mutex_);
  return next_pack_number_++;
}

std::string RocksChunkIndex::BasePath(uint64_t generation) const {
  return fmt::format("{}/{}{}", path_, kBasePrefix, generation);
}

// What directory and filter leave; while loading, less, for the load's own memory.
void RocksChunkIndex::SetCacheCapacity() {
  const std::shared_lock lock(base_mutex_);
  const size_t directory = base_ == nullptr ? 0 : base_->directory_bytes();
  const size_t rest = memory_bytes_ - directory - FilterBytes();
  rocks_.cache->SetCapacity(loading_ ? std::min(rest, memory_bytes_ / 4) : rest);
}

Status RocksChunkIndex::OpenBase() {
  std::string value;
  const rocksdb::Status got =
      rocks_.db->Get({}, rocks_.meta, {kBaseKey.data(), kBaseKey.size()}, &value);
  if (!got.ok() && !got.IsNotFound()) return FromRocks(got, "read the base table's name");
  if (got.ok()) {
    ByteReader reader(AsBytes(value));
    generation_ = reader.U64();
    if (!reader.ok()) return Status::Corruption("index: malformed name of the base table");
    SNAP_ASSIGN_OR_RETURN(base_, BaseTable::Open(BasePath(generation_), DirectoryBytesMax()));
  }
  SetCacheCapacity();
  RemoveOtherBases();
  return {};
}

void RocksChunkIndex::RemoveOtherBases() {
  // Left by loads that were killed; a failure costs disk space until the next time.
  std::error_code error;
  for (std::filesystem::directory_iterator it(path_, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(kBasePrefix) && it->path().string() != BasePath(generation_)) {
      std::error_code ignored;
      std::filesystem::remove(it->path(), ignored);
    }
  }
}

Status RocksChunkIndex::CommitLoad(Spool* spool, const ChunkLoad::Progress& progress,
                                   LoadedNames* names) {
  const std::lock_guard lock(pack_mutex_);
  const uint64_t generation = generation_ + 1;
  if (const Status written = WriteBase(BasePath(generation), spool, progress); !written.ok()) {
    unlink(BasePath(generation).c_str());
    return written.WithContext("load");
  }
  rocksdb::WriteBatch batch;
  SNAP_RETURN_IF_ERROR(FillNames(names, &batch));
  const bool had_delta = !delta_empty_;
  SNAP_RETURN_IF_ERROR(SwitchBase(generation, &batch).WithContext("load"));
  if (had_delta) EmptyDelta();
  RemoveOtherBases();
  return {};
}

Status RocksChunkIndex::WriteBase(const std::string& path, Spool* spool,
                                  const ChunkLoad::Progress& progress) {
  rocksdb::ReadOptions options;
  options.fill_cache = false;
  options.readahead_size = 1 << 20;
  DeltaCursor delta(
      std::unique_ptr<rocksdb::Iterator>(rocks_.db->NewIterator(options, rocks_.chunks)));
  // Nobody replaces the table meanwhile: that takes pack_mutex_.
  BaseCursor base(base_.get());
  const uint64_t old_count = ApproximateChunkCount();
  SNAP_ASSIGN_OR_RETURN(
      const std::unique_ptr<BaseTableWriter> writer,
      BaseTableWriter::Create(path, old_count + spool->count(), DirectoryBytesMax()));
  Sorter sorter(writer.get());
  const uint64_t at_once = std::max(memory_bytes_ / 4, kSortBytesMin) / Sorter::kBytesPerRecord;
  for (size_t part = 0; part < Spool::kParts; ++part) {
    // As many passes as it takes for a pass to fit into memory; hashes are uniform.
    const uint64_t expected = spool->PartCount(part) + old_count / Spool::kParts;
    int pass_bits = 0;
    while (pass_bits < 24 && expected >> pass_bits > at_once) ++pass_bits;
    const int shift = 64 - Spool::kPartBits - pass_bits;
    for (uint64_t pass = 0; pass < uint64_t{1} << pass_bits; ++pass) {
      const uint64_t first = (uint64_t{part} << pass_bits | pass) << shift;
      const uint64_t last = first | ((uint64_t{1} << shift) - 1);
      // In this order, as later ones win.
      SNAP_RETURN_IF_ERROR(base.TakeUpTo(last, sorter.records()));
      SNAP_RETURN_IF_ERROR(delta.TakeUpTo(last, sorter.records()));
      SNAP_RETURN_IF_ERROR(spool->Read(part, first, last, sorter.records()));
      SNAP_RETURN_IF_ERROR(sorter.WriteOut());
    }
    spool->Discard(part);
    if (progress != nullptr) {
      const uint64_t total = old_count + spool->count();
      SNAP_RETURN_IF_ERROR(progress(total * (part + 1) / Spool::kParts, total));
    }
  }
  SNAP_RETURN_IF_ERROR(writer->Finish());
  return SyncDirectory(path_);
}

Status RocksChunkIndex::FillNames(LoadedNames* names, rocksdb::WriteBatch* batch) {
  rocksdb::Status status;
  for (auto& [pack, loaded] : names->packs) {
    // Somebody may have published it since the load began.
    SNAP_ASSIGN_OR_RETURN(const std::optional<PackRecord> now, FindPack(pack));
    loaded.record.published |= now.has_value() && now->published;
    if (loaded.is_new) {
      status = batch->Put(rocks_.packs, EncodePackNumberKey(loaded.record.number),
                          rocksdb::Slice(DigestText(pack).data(), DigestText(pack).size()));
    }
    if (status.ok()) {
      status = batch->Put(rocks_.packs, EncodePackIdKey(pack), EncodePackRecord(loaded.record));
    }
    if (!status.ok()) return FromRocks(status, "load packs");
  }
  for (const Digest& segment : names->segments) {
    const std::string_view name = DigestText(segment);
    status = batch->Put(rocks_.segments, rocksdb::Slice(name.data(), name.size()), {});
    if (!status.ok()) return FromRocks(status, "load segments");
  }
  return {};
}

Status RocksChunkIndex::SwitchBase(uint64_t generation, rocksdb::WriteBatch* batch) {
  Bytes value;
  ByteWriter(&value).U64(generation);
  rocksdb::Status status = batch->Put(rocks_.meta, {kBaseKey.data(), kBaseKey.size()},
                                      {reinterpret_cast<const char*>(value.data()), value.size()});
  if (status.ok() && !delta_empty_) {
    status = batch->DeleteRange(rocks_.chunks, {}, kBeyondChunkKeys);
  }
  const std::lock_guard lock(base_mutex_);
  // Synced: the table is durable and must not name packs that a power cut takes away.
  rocksdb::WriteOptions options;
  options.sync = true;
  if (status.ok()) status = rocks_.db->Write(options, batch);
  // The table stays: the log may hold the batch all the same. The next Open clears up.
  if (!status.ok()) return FromRocks(status, "make the base table current");
  generation_ = generation;
  delta_empty_ = true;
  delta_filter_->Clear();
  base_.reset();  // first, as its memory is needed
  Result<std::unique_ptr<BaseTable>> base =
      BaseTable::Open(BasePath(generation), DirectoryBytesMax());
  base_status_ = base.status();
  if (base.ok()) base_ = std::move(*base);
  return base_status_;
}

void RocksChunkIndex::EmptyDelta() {
  // Only space and speed depend on the outcome: the range is deleted already.
  rocksdb::DeleteFilesInRange(rocks_.db.get(), rocks_.chunks, nullptr, nullptr)
      .PermitUncheckedError();
  rocks_.db->CompactRange({}, rocks_.chunks, nullptr, nullptr).PermitUncheckedError();
}

}  // namespace snapstore::internal
