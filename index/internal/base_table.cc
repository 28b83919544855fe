#include "index/internal/base_table.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

constexpr std::string_view kMagic = "SNAPBASE";
constexpr size_t kHeaderBytes = 40;
constexpr uint64_t kDirectoryOffset = 4096;
constexpr size_t kBufferBytes = 1 << 20;
// 15 filter bits a record, one false hit in 300, and reads of 1 KiB; memory often allows less.
constexpr uint64_t kRecordsPerBlock = 32;
// Beyond this a block is not read as a whole. Hashes are uniform: only a made-up index gets here.
constexpr uint64_t kRecordsAtOnce = 512;
constexpr int kProbes = 4;

uint64_t MulHigh(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
}

uint64_t PrefixOf(const ChunkId& id) { return __builtin_bswap64(LoadLe<uint64_t>(id.hash.data())); }

// Calls `visit` with word and mask of each of the filter's bits for `hash`. From the hash's second
// half: the first picks the block.
template <typename Visit>
void ForEachProbe(const std::array<uint8_t, 16>& hash, Visit visit) {
  constexpr uint64_t kBits = DirectoryBlock::kWords * 32;
  uint64_t rest = LoadLe<uint64_t>(hash.data() + 8);
  for (int probe = 0; probe < kProbes; ++probe, rest >>= 16) {
    const uint64_t bit = (rest & 0xffff) * kBits >> 16;
    visit(bit / 32, uint32_t{1} << (bit % 32));
  }
}

bool MayHold(const DirectoryBlock& block, const ChunkId& id) {
  bool all = true;
  ForEachProbe(id.hash,
               [&](uint64_t word, uint32_t mask) { all &= (block.filter[word] & mask) != 0; });
  return all;
}

uint16_t CheckOf(const BaseRecord& record) {
  return static_cast<uint16_t>(XXH3_64bits(&record, offsetof(BaseRecord, check)));
}

template <typename T>
ByteSpan AsByteSpan(const T* data, size_t count) {
  return {reinterpret_cast<const uint8_t*>(data), count * sizeof(T)};
}

}  // namespace

Result<std::unique_ptr<BaseTable>> BaseTable::Open(const std::string& path,
                                                   size_t directory_bytes) {
  Result<UniqueFd> file = OpenFile(path, O_RDONLY);
  if (file.status().Is(StatusCode::kNotFound)) {
    return Status::Corruption(file.status().message());
  }
  if (!file.ok()) return file.status();
  std::unique_ptr<BaseTable> table(new BaseTable(std::move(*file), path));
  SNAP_RETURN_IF_ERROR(table->ReadHeader());
  SNAP_RETURN_IF_ERROR(table->ReadDirectory(directory_bytes));
  // Neighbouring look-ups have nothing to do with each other.
  posix_fadvise(table->file_.get(), 0, 0, POSIX_FADV_RANDOM);
  return table;
}

Status BaseTable::ReadHeader() {
  uint8_t bytes[kHeaderBytes];
  SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(file_.get(), bytes, 0, path_));
  ByteReader reader({bytes, got});
  const bool magic = AsText(reader.Raw(kMagic.size())) == kMagic;
  count_ = reader.U64();
  file_blocks_ = reader.U64();
  directory_checksum_ = reader.U64();
  const uint64_t header_checksum = reader.U64();
  struct stat info;
  if (fstat(file_.get(), &info) != 0) return Status::FromErrno(errno, "stat " + path_);
  if (!magic || !reader.ok() ||
      header_checksum != XXH3_64bits(bytes, kHeaderBytes - sizeof(uint64_t)) ||
      static_cast<uint64_t>(info.st_size) !=
          kDirectoryOffset + file_blocks_ * sizeof(DirectoryBlock) + count_ * sizeof(BaseRecord)) {
    return Status::Corruption(path_ + " is damaged");
  }
  return {};
}

Status BaseTable::ReadDirectory(size_t directory_bytes) {
  const uint64_t blocks_max = std::max<uint64_t>(directory_bytes / sizeof(DirectoryBlock), 1);
  fold_ = (file_blocks_ + blocks_max - 1) / blocks_max;
  const uint64_t blocks = (file_blocks_ + fold_ - 1) / fold_;
  directory_.resize(blocks + 1);
  for (uint64_t b = 0; b < blocks; ++b) {
    directory_[b].first_record = std::numeric_limits<uint32_t>::max();
  }
  directory_[blocks].first_record = static_cast<uint32_t>(count_);

  std::vector<DirectoryBlock> buffer(kBufferBytes / sizeof(DirectoryBlock));
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (uint64_t at = 0; at < file_blocks_;) {
    const size_t wanted = std::min<uint64_t>(buffer.size(), file_blocks_ - at);
    const MutableByteSpan bytes(reinterpret_cast<uint8_t*>(buffer.data()),
                                wanted * sizeof(DirectoryBlock));
    SNAP_ASSIGN_OR_RETURN(
        const size_t got,
        PreadFull(file_.get(), bytes, kDirectoryOffset + at * sizeof(DirectoryBlock), path_));
    if (got != bytes.size()) return Status::Corruption(path_ + " is cut short");
    XXH3_64bits_update(state.get(), bytes.data(), bytes.size());
    for (size_t n = 0; n < wanted; ++n, ++at) {
      DirectoryBlock& block = directory_[at / fold_];
      block.first_record = std::min(block.first_record, buffer[n].first_record);
      for (size_t w = 0; w < DirectoryBlock::kWords; ++w) block.filter[w] |= buffer[n].filter[w];
    }
  }
  if (XXH3_64bits_digest(state.get()) != directory_checksum_) {
    return Status::Corruption(path_ + ": directory is damaged");
  }
  return {};
}

size_t BaseTable::BlockOf(uint64_t prefix) const {
  const uint64_t block = MulHigh(prefix, file_blocks_);
  return fold_ == 1 ? block : block / fold_;
}

Status BaseTable::Find(std::span<const ChunkId> ids,
                       const std::function<Status(size_t, const BaseRecord&)>& found) const {
  constexpr size_t kBatch = 256;
  std::array<uint32_t, kBatch> blocks;
  std::vector<Candidate> candidates;
  for (size_t from = 0; from < ids.size(); from += kBatch) {
    const std::span<const ChunkId> batch = ids.subspan(from, std::min(kBatch, ids.size() - from));
    // Ask for all cache lines before looking at the first: they arrive together.
    for (size_t n = 0; n < batch.size(); ++n) {
      blocks[n] = static_cast<uint32_t>(BlockOf(PrefixOf(batch[n])));
      __builtin_prefetch(&directory_[blocks[n]]);
      __builtin_prefetch(&directory_[blocks[n]].filter.back());
    }
    candidates.clear();
    for (size_t n = 0; n < batch.size(); ++n) {
      const DirectoryBlock* block = &directory_[blocks[n]];
      if (MayHold(*block, batch[n])) {
        candidates.push_back({from + n, block[0].first_record, block[1].first_record});
      }
    }
    for (const Candidate& candidate : candidates) {
      BaseRecord record;
      SNAP_ASSIGN_OR_RETURN(const bool hit, Search(ids[candidate.position], candidate, &record));
      if (hit) SNAP_RETURN_IF_ERROR(found(candidate.position, record));
    }
  }
  return {};
}

Result<bool> BaseTable::Search(const ChunkId& id, Candidate candidate, BaseRecord* record) const {
  std::array<BaseRecord, kRecordsAtOnce> records;
  while (candidate.end - candidate.begin > kRecordsAtOnce) {
    const uint64_t middle = candidate.begin + (candidate.end - candidate.begin) / 2;
    SNAP_RETURN_IF_ERROR(ReadRecords(middle, {records.data(), 1}));
    SNAP_RETURN_IF_ERROR(Verify(records[0]));
    (records[0].Id() <= id ? candidate.begin : candidate.end) = middle;
  }
  if (candidate.begin >= candidate.end) return false;
  const std::span<BaseRecord> read(records.data(), candidate.end - candidate.begin);
  SNAP_RETURN_IF_ERROR(ReadRecords(candidate.begin, read));
  const auto it =
      std::lower_bound(read.begin(), read.end(), id,
                       [](const BaseRecord& a, const ChunkId& wanted) { return a.Id() < wanted; });
  if (it != read.end() && it->Id() == id) {
    *record = *it;
    SNAP_RETURN_IF_ERROR(Verify(*record));
    return true;
  }
  // The filter said that it may be here: a damaged hash would hide it.
  for (const BaseRecord& each : read) SNAP_RETURN_IF_ERROR(Verify(each));
  return false;
}

Status BaseTable::Verify(const BaseRecord& record) const {
  if (record.check == CheckOf(record)) return {};
  return Status::Corruption(path_ + ": a record is damaged");
}

Status BaseTable::ReadRecords(uint64_t first, std::span<BaseRecord> out) const {
  const MutableByteSpan bytes(reinterpret_cast<uint8_t*>(out.data()), out.size_bytes());
  const uint64_t offset =
      kDirectoryOffset + file_blocks_ * sizeof(DirectoryBlock) + first * sizeof(BaseRecord);
  SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(file_.get(), bytes, offset, path_));
  return got == bytes.size() ? Status() : Status::Corruption(path_ + " is cut short");
}

BaseCursor::BaseCursor(const BaseTable* table) : table_(table) {}

Status BaseCursor::TakeUpTo(uint64_t last, std::vector<BaseRecord>* out) {
  if (table_ == nullptr) return {};
  while (true) {
    for (; used_ < buffer_.size(); ++used_) {
      const BaseRecord& record = buffer_[used_];
      if (record.Prefix() > last) return {};
      SNAP_RETURN_IF_ERROR(table_->Verify(record));
      out->push_back(record);
    }
    if (next_ == table_->count_) return {};
    buffer_.resize(std::min<uint64_t>(kBufferBytes / sizeof(BaseRecord), table_->count_ - next_));
    used_ = 0;
    SNAP_RETURN_IF_ERROR(table_->ReadRecords(next_, buffer_));
    next_ += buffer_.size();
  }
}

struct BaseTableWriter::Digester {
  Digester() : state(XXH3_createState()) { XXH3_64bits_reset(state); }
  ~Digester() { XXH3_freeState(state); }
  Digester(const Digester&) = delete;
  Digester& operator=(const Digester&) = delete;
  XXH3_state_t* const state;
};

Result<std::unique_ptr<BaseTableWriter>> BaseTableWriter::Create(const std::string& path,
                                                                 uint64_t records,
                                                                 size_t directory_bytes) {
  if (records >= std::numeric_limits<uint32_t>::max()) {
    return Status::Unsupported(fmt::format("index: {} chunks are too many for one table", records));
  }
  const uint64_t blocks_max = std::max<uint64_t>(directory_bytes / sizeof(DirectoryBlock), 1);
  const uint64_t blocks = std::clamp<uint64_t>(records / kRecordsPerBlock, 1, blocks_max);
  SNAP_ASSIGN_OR_RETURN(UniqueFd file, OpenFile(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
  return std::unique_ptr<BaseTableWriter>(new BaseTableWriter(std::move(file), path, blocks));
}

BaseTableWriter::BaseTableWriter(UniqueFd file, std::string path, uint64_t blocks)
    : file_(std::move(file)),
      path_(std::move(path)),
      blocks_(blocks),
      digester_(std::make_unique<Digester>()) {
  directory_.offset = kDirectoryOffset;
  records_.offset = kDirectoryOffset + blocks * sizeof(DirectoryBlock);
}

BaseTableWriter::~BaseTableWriter() = default;

Status BaseTableWriter::WriteOut(Region* region) {
  SNAP_RETURN_IF_ERROR(PwriteFull(file_.get(), region->buffer, region->offset, path_));
  // Under way before Finish waits for it.
  sync_file_range(file_.get(), static_cast<off64_t>(region->offset),
                  static_cast<off64_t>(region->buffer.size()), SYNC_FILE_RANGE_WRITE);
  region->offset += region->buffer.size();
  region->buffer.clear();
  return {};
}

Status BaseTableWriter::Append(Region* region, ByteSpan bytes) {
  region->buffer.insert(region->buffer.end(), bytes.begin(), bytes.end());
  return region->buffer.size() < kBufferBytes ? Status() : WriteOut(region);
}

Status BaseTableWriter::FinishBlock() {
  const ByteSpan bytes = AsByteSpan(&block_, 1);
  XXH3_64bits_update(digester_->state, bytes.data(), bytes.size());
  SNAP_RETURN_IF_ERROR(Append(&directory_, bytes));
  ++block_number_;
  block_ = {.first_record = static_cast<uint32_t>(count_), .filter = {}};
  return {};
}

Status BaseTableWriter::Add(BaseRecord record) {
  const uint64_t block = MulHigh(record.Prefix(), blocks_);
  SNAP_CHECK(block >= block_number_);
  while (block_number_ < block) SNAP_RETURN_IF_ERROR(FinishBlock());
  if (count_ == std::numeric_limits<uint32_t>::max() - 1) {
    return Status::Unsupported("index: too many chunks for one table");
  }
  ForEachProbe(record.hash, [this](uint64_t word, uint32_t mask) { block_.filter[word] |= mask; });
  record.check = CheckOf(record);
  ++count_;
  return Append(&records_, AsByteSpan(&record, 1));
}

Status BaseTableWriter::Finish() {
  while (block_number_ < blocks_) SNAP_RETURN_IF_ERROR(FinishBlock());
  SNAP_RETURN_IF_ERROR(WriteOut(&directory_));
  SNAP_RETURN_IF_ERROR(WriteOut(&records_));
  Bytes header;
  ByteWriter writer(&header);
  writer.Raw(AsBytes(kMagic));
  writer.U64(count_);
  writer.U64(blocks_);
  writer.U64(XXH3_64bits_digest(digester_->state));
  writer.U64(XXH3_64bits(header.data(), header.size()));
  // An empty table still has its first page.
  header.resize(kDirectoryOffset);
  SNAP_RETURN_IF_ERROR(PwriteFull(file_.get(), header, 0, path_));
  return SyncFd(file_.get(), path_);
}

}  // namespace snapstore::internal
