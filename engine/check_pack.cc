#include "engine/check_pack.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/check_report.h"

namespace snapstore {
namespace {

constexpr uint64_t kWindowBytes = 1 << 20;

// Keeps the first finding.
void Note(const Status& status, PackVerdict* verdict) {
  if (verdict->status.ok()) verdict->status = status;
}

}  // namespace

Result<PackVerdict> PackScrubber::CheckFooter(const PackPlace& place, uint64_t* bytes_read) {
  Result<PackFooter> footer =
      ReadPackFooter(*store_, sealer_, place.kind, place.id, place.size, bytes_read);
  if (!footer.ok()) {
    if (!IsDamage(footer.status())) return footer.status();
    return CheckBytes(place, bytes_read);
  }
  PackVerdict verdict;
  verdict.have_footer = true;
  verdict.listed = std::move(footer->chunks);
  verdict.intact = verdict.listed;
  return verdict;
}

Result<PackVerdict> PackScrubber::CheckBytes(const PackPlace& place, uint64_t* bytes_read) {
  Result<PackVerdict> verdict = ReadBytes(place, bytes_read);
  if (!verdict.ok() || verdict->status.ok()) return verdict;
  return ReadBytes(place, bytes_read);
}

Result<PackVerdict> PackScrubber::ReadBytes(const PackPlace& place, uint64_t* bytes_read) {
  place_ = place;
  buffer_.clear();
  buffer_begin_ = 0;
  fetched_ = 0;
  PackVerdict verdict;
  Result<PackFooter> footer =
      ReadPackFooter(*store_, sealer_, place.kind, place.id, place.size, &fetched_);
  if (footer.ok()) {
    verdict.have_footer = true;
    verdict.listed = std::move(footer->chunks);
  } else {
    if (!IsDamage(footer.status())) return footer.status();
    Note(footer.status(), &verdict);
  }
  // A pack of impossible size has nothing worth reading.
  const Status read = place.size > kPackBytesMax ? verdict.status : ReadAll(&verdict);
  *bytes_read += fetched_;
  (void)hash_.Finish();  // afresh, also when reading ended early
  if (!read.ok()) {
    if (!IsDamage(read)) return read;
    Note(read, &verdict);
  }
  return verdict;
}

Status PackScrubber::Window(uint64_t begin, uint64_t end, ByteSpan* out) {
  SNAP_CHECK(begin >= buffer_begin_ && begin <= end && end <= place_.size);
  const uint64_t have_end = buffer_begin_ + buffer_.size();
  if (end > have_end) {
    const uint64_t keep_from = std::min(begin, have_end);
    buffer_.erase(buffer_.begin(),
                  buffer_.begin() + static_cast<ptrdiff_t>(keep_from - buffer_begin_));
    buffer_begin_ = keep_from;
    const uint64_t new_end = std::min(place_.size, std::max(end, have_end + kWindowBytes));
    const size_t old_size = buffer_.size();
    buffer_.resize(new_end - buffer_begin_);
    const MutableByteSpan fresh = MutableByteSpan(buffer_).subspan(old_size);
    SNAP_RETURN_IF_ERROR(store_->GetRange(PackKey(place_.kind, place_.id), have_end, fresh));
    fetched_ += fresh.size();
    hash_.Update(fresh);
  }
  *out = ByteSpan(buffer_).subspan(begin - buffer_begin_, end - begin);
  return {};
}

Status PackScrubber::ReadAll(PackVerdict* verdict) {
  ByteSpan bytes;
  const uint64_t header_bytes = std::min<uint64_t>(PackHeaderBytes(sealer_), place_.size);
  SNAP_RETURN_IF_ERROR(Window(0, header_bytes, &bytes));
  const Result<Sealer::Salt> salt = ParsePackHeader(sealer_, bytes, place_.kind);
  if (!salt.ok()) Note(salt.status(), verdict);
  salt_ = salt.ok() ? *salt : Sealer::Salt();
  SNAP_RETURN_IF_ERROR(verdict->have_footer ? CheckListedFrames(verdict) : SalvageFrames(verdict));
  for (uint64_t at = buffer_begin_ + buffer_.size(); at < place_.size;
       at = buffer_begin_ + buffer_.size()) {
    SNAP_RETURN_IF_ERROR(Window(at, std::min(place_.size, at + kWindowBytes), &bytes));
  }
  if (hash_.Finish() != place_.id) {
    Note(Status::Corruption("pack does not match its name"), verdict);
  }
  return {};
}

Status PackScrubber::CheckListedFrames(PackVerdict* verdict) {
  const std::span<const PackChunk> all(verdict->listed);
  uint64_t expected = PackHeaderBytes(sealer_);
  for (size_t begin = 0; begin < all.size();) {
    size_t end = begin + 1;
    while (end < all.size() && all[end].chunk_in_frame != 0) ++end;
    if (all[begin].frame_offset != expected) {
      Note(Status::Corruption(fmt::format("no frame begins at offset {} as it should", expected)),
           verdict);
      return {};
    }
    expected += all[begin].frame_length;
    SNAP_RETURN_IF_ERROR(CheckFrame(all.subspan(begin, end - begin), verdict));
    begin = end;
  }
  return {};
}

Status PackScrubber::CheckFrame(std::span<const PackChunk> chunks, PackVerdict* verdict) {
  const uint64_t offset = chunks.front().frame_offset;
  const std::string name = fmt::format("frame at offset {}", offset);
  ByteSpan stored;
  SNAP_RETURN_IF_ERROR(Window(offset, offset + chunks.front().frame_length, &stored));
  if (Status status = decoder_.Decode({place_.kind, offset}, stored, &frame_); !status.ok()) {
    Note(status.WithContext(name), verdict);
    return {};
  }
  Note(CheckSalt(stored).WithContext(name), verdict);
  if (frame_.chunk_count() != chunks.size()) {
    Note(Status::Corruption(name + " holds another number of chunks than the footer says"),
         verdict);
  }
  for (size_t i = 0; i < std::min(chunks.size(), frame_.chunk_count()); ++i) {
    if (ComputeChunkId(secret_, frame_.chunk(i)) == chunks[i].id) {
      verdict->intact.push_back(chunks[i]);
    } else {
      Note(Status::Corruption(
               fmt::format("{}: chunk {} does not match its id", name, chunks[i].id.ToHex())),
           verdict);
    }
  }
  return {};
}

Status PackScrubber::CheckSalt(ByteSpan stored) const {
  if (!sealer_.encrypted() || FrameSalt(stored) == salt_) return {};
  return Status::Corruption("it is another pack's");
}

Status PackScrubber::SalvageFrames(PackVerdict* verdict) {
  uint64_t offset = PackHeaderBytes(sealer_);
  while (offset + kFrameHeaderBytes <= place_.size) {
    ByteSpan bytes;
    SNAP_RETURN_IF_ERROR(Window(offset, offset + kFrameHeaderBytes, &bytes));
    const uint64_t length = StoredFrameLength(bytes);
    if (length > kFrameStoredMax || offset + length > place_.size) return {};
    SNAP_RETURN_IF_ERROR(Window(offset, offset + length, &bytes));
    if (!decoder_.Decode({place_.kind, offset}, bytes, &frame_).ok()) return {};
    for (size_t i = 0; i < frame_.chunk_count(); ++i) {
      verdict->intact.push_back({ComputeChunkId(secret_, frame_.chunk(i)),
                                 static_cast<uint32_t>(offset), static_cast<uint32_t>(length),
                                 static_cast<uint16_t>(i)});
    }
    offset += length;
  }
  return {};
}

}  // namespace snapstore
