#include "tools/snapstore/ebs/ebs_volume_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"

namespace snapstore::cli {
namespace {

constexpr uint64_t kGiB = 1ull << 30;
constexpr uint64_t kVolumeGibMax = 1ull << 20;  // sixteen times what EBS has
constexpr uint64_t kBlockBytesMin = 4096;
constexpr uint64_t kBlockBytesMax = 1 << 20;  // what the engine asks for at once
// The most and the fewest that the service gives (maxResults).
constexpr int kPageSize = 10'000;
constexpr int kSmallPageSize = 100;
// A page may be empty though others follow ("ListSnapshotBlocks", Amazon EBS API Reference); so
// many in a row are no list.
constexpr int kEmptyPagesMax = 1000;

}  // namespace

Ec2Result<std::unique_ptr<EbsVolumeReader>> EbsVolumeReader::Open(EbsDirect* direct,
                                                                  EbsVolumeSource source) {
  if (source.volume_gib == 0 || source.volume_gib > kVolumeGibMax) {
    return Status::Io(fmt::format("{} is said to be of a volume of {} GiB", source.snapshot_id,
                                  source.volume_gib));
  }
  std::unique_ptr<EbsVolumeReader> reader(new EbsVolumeReader(direct, std::move(source)));
  Ec2Result<EbsBlockList> page = reader->Ask(0, "", kPageSize);
  if (!page.ok()) return page.failure();
  reader->block_bytes_ = page->block_bytes;
  reader->size_ = reader->source_.volume_gib * kGiB;
  if (page->block_bytes < kBlockBytesMin || page->block_bytes > kBlockBytesMax ||
      (page->block_bytes & (page->block_bytes - 1)) != 0) {
    return Status::Io(fmt::format("{}: blocks of {} bytes are not understood",
                                  reader->source_.snapshot_id, page->block_bytes));
  }
  if (Status status = reader->Check(*page, 0); !status.ok()) return status;
  reader->page_ = *std::move(page);
  return reader;
}

Ec2Result<EbsBlockList> EbsVolumeReader::Ask(uint64_t start, const std::string& token, int size) {
  return direct_->ListPage({.snapshot_id = source_.snapshot_id,
                            .first = source_.earlier,
                            .start = start,
                            .token = token,
                            .size = size});
}

Status EbsVolumeReader::Check(const EbsBlockList& page, uint64_t least) const {
  const std::string what = fmt::format("the list of {}'s blocks", source_.snapshot_id);
  if (page.block_bytes != block_bytes_) {
    return Status::Io(fmt::format("{}: blocks of {} bytes became blocks of {}", what, block_bytes_,
                                  page.block_bytes));
  }
  if (page.volume_gib != source_.volume_gib) {
    return Status::Io(fmt::format("{}: a volume of {} GiB; EC2 says {} GiB", what, page.volume_gib,
                                  source_.volume_gib));
  }
  const uint64_t count = size_ / block_bytes_;
  for (const EbsBlock& block : page.blocks) {
    if (block.index < least) {
      return Status::Io(
          fmt::format("{}: block {} comes after block {}", what, block.index, least - 1));
    }
    if (block.index >= count) {
      return Status::Io(
          fmt::format("{}: block {}, but the volume has {}", what, block.index, count));
    }
    if (block.token.empty() && source_.earlier.empty()) {
      return Status::Io(fmt::format("{}: block {} has no token", what, block.index));
    }
    least = block.index + 1;
  }
  return {};
}

Status EbsVolumeReader::Note(Status status) {
  if (!status.ok()) failed_ = true;
  return status;
}

Status EbsVolumeReader::NextPart(uint64_t offset, uint64_t* begin, uint64_t* end) {
  return Note(Find(offset, begin, end));
}

Status EbsVolumeReader::NextPage() {
  Ec2Result<EbsBlockList> page = Ask(0, page_.next_token, kPageSize);
  if (!page.ok()) return page.status();
  SNAP_RETURN_IF_ERROR(Check(*page, least_));
  empty_pages_ = page->blocks.empty() ? empty_pages_ + 1 : 0;
  if (empty_pages_ > kEmptyPagesMax) {
    return Status::Io(fmt::format("the list of {}'s blocks: {} pages without a block",
                                  source_.snapshot_id, empty_pages_));
  }
  page_ = *std::move(page);
  next_ = 0;
  return {};
}

Status EbsVolumeReader::Find(uint64_t offset, uint64_t* begin, uint64_t* end) {
  *begin = *end = size_;
  while (true) {
    while (next_ < page_.blocks.size() && page_.blocks[next_].index * block_bytes_ < offset) {
      ++next_;
    }
    if (next_ < page_.blocks.size()) break;
    if (!page_.blocks.empty()) least_ = page_.blocks.back().index + 1;
    if (page_.next_token.empty()) return {};
    SNAP_RETURN_IF_ERROR(NextPage());
  }
  const std::lock_guard lock(mutex_);
  *begin = *end = page_.blocks[next_].index * block_bytes_;
  for (; next_ < page_.blocks.size(); ++next_) {
    EbsBlock& block = page_.blocks[next_];
    if (block.index * block_bytes_ != *end) break;
    tokens_[block.index] = std::move(block.token);
    *end += block_bytes_;
  }
  return {};
}

Status EbsVolumeReader::ReadAt(uint64_t offset, std::span<uint8_t> out) {
  if (offset % block_bytes_ != 0 || out.size() != block_bytes_) {
    return Note(Status::Internal(fmt::format("{} bytes at {} are no block", out.size(), offset)));
  }
  return Note(ReadBlock(offset / block_bytes_, out));
}

Status EbsVolumeReader::ReadBlock(uint64_t index, std::span<uint8_t> out) {
  std::string token;
  {
    const std::lock_guard lock(mutex_);
    const auto found = tokens_.find(index);
    if (found == tokens_.end()) return Status::Internal(fmt::format("block {} unasked", index));
    token = found->second;
  }
  if (token.empty()) {  // the earlier snapshot had it, this one does not
    std::fill(out.begin(), out.end(), uint8_t{0});
  } else {
    Ec2Result<Bytes> bytes = direct_->GetSnapshotBlock(source_.snapshot_id, index, token);
    // The one code for a token that has expired, among others.
    if (!bytes.ok() && bytes.code() == "ValidationException") {
      SNAP_ASSIGN_OR_RETURN(token, FreshToken(index, token));
      bytes = direct_->GetSnapshotBlock(source_.snapshot_id, index, token);
    }
    if (!bytes.ok()) return bytes.status();
    if (bytes->size() != out.size()) {
      return Status::Io(fmt::format("block {} of {}: {} bytes in place of {}", index,
                                    source_.snapshot_id, bytes->size(), out.size()));
    }
    std::copy(bytes->begin(), bytes->end(), out.begin());
    ++blocks_read_;
  }
  const std::lock_guard lock(mutex_);
  tokens_.erase(index);
  return {};
}

// Others that have expired with it are replaced on the way.
Result<std::string> EbsVolumeReader::FreshToken(uint64_t index, const std::string& expired) {
  const std::lock_guard listing(listing_mutex_);
  {
    const std::lock_guard lock(mutex_);
    if (tokens_[index] != expired) return tokens_[index];
  }
  Ec2Result<EbsBlockList> page = Ask(index, "", kSmallPageSize);
  if (!page.ok()) return page.status();
  SNAP_RETURN_IF_ERROR(Check(*page, index));
  if (page->blocks.empty() || page->blocks[0].index != index || page->blocks[0].token.empty()) {
    return Status::Io(fmt::format("the list of {}'s blocks does not have block {} any more",
                                  source_.snapshot_id, index));
  }
  std::string token = page->blocks[0].token;
  const std::lock_guard lock(mutex_);
  for (EbsBlock& block : page->blocks) {
    const auto found = tokens_.find(block.index);
    if (found != tokens_.end()) found->second = std::move(block.token);
  }
  return token;
}

}  // namespace snapstore::cli
