#include "index/internal/spool.h"

#include <fcntl.h>

#include <algorithm>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

constexpr char kName[] = "index spool";

}  // namespace

Result<std::unique_ptr<Spool>> Spool::Create(const std::string& folder, size_t buffer_bytes) {
  Result<UniqueFd> file = OpenFile(folder, O_RDWR | O_TMPFILE, 0600);
  if (!file.ok()) {
    // Not every file system can make a file without a name.
    const std::string path = folder + "/spool";
    file = OpenFile(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (!file.ok()) return file.status();
    unlink(path.c_str());
  }
  const size_t block = std::clamp<size_t>(buffer_bytes / kParts, 4 << 10, 64 << 10);
  return std::unique_ptr<Spool>(new Spool(std::move(*file), block / sizeof(BaseRecord)));
}

Status Spool::Add(const BaseRecord& record) {
  Part& part = parts_[record.Prefix() >> (64 - kPartBits)];
  part.buffer.push_back(record);
  ++part.count;
  ++count_;
  return part.buffer.size() < block_records_ ? Status() : WriteOut(&part);
}

Status Spool::WriteOut(Part* part) {
  if (part->buffer.empty()) return {};
  const ByteSpan bytes(reinterpret_cast<const uint8_t*>(part->buffer.data()),
                       part->buffer.size() * sizeof(BaseRecord));
  SNAP_RETURN_IF_ERROR(PwriteFull(file_.get(), bytes, size_, kName));
  part->blocks.push_back(size_);
  size_ += bytes.size();
  part->buffer.clear();
  return {};
}

Status Spool::Seal() {
  for (Part& part : parts_) {
    SNAP_RETURN_IF_ERROR(WriteOut(&part));
    part.buffer = {};
  }
  return {};
}

Status Spool::Read(size_t part, uint64_t first, uint64_t last, std::vector<BaseRecord>* out) {
  std::vector<BaseRecord> block(block_records_);
  uint64_t left = parts_[part].count;
  for (const uint64_t offset : parts_[part].blocks) {
    block.resize(std::min<uint64_t>(left, block_records_));
    const MutableByteSpan bytes(reinterpret_cast<uint8_t*>(block.data()),
                                block.size() * sizeof(BaseRecord));
    SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(file_.get(), bytes, offset, kName));
    if (got != bytes.size()) return Status::Io("index spool is cut short");
    left -= block.size();
    std::copy_if(block.begin(), block.end(), std::back_inserter(*out),
                 [first, last](const BaseRecord& record) {
                   return first <= record.Prefix() && record.Prefix() <= last;
                 });
  }
  return {};
}

void Spool::Discard(size_t part) {
  // Where the file system cannot, the space comes back with the spool's end.
  uint64_t left = parts_[part].count;
  for (const uint64_t offset : parts_[part].blocks) {
    const uint64_t records = std::min<uint64_t>(left, block_records_);
    if (fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(offset),
                  static_cast<off_t>(records * sizeof(BaseRecord))) != 0) {
      break;
    }
    left -= records;
  }
  parts_[part].blocks = {};
}

}  // namespace snapstore::internal
