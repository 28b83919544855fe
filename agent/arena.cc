#include "agent/arena.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "base/memory_limit.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kFirstPieceBytes = 64 << 10;
constexpr uint64_t kNextPieceBytes = 4 << 20;
constexpr uint64_t kHugePageBytes = 2 << 20;
// A pipe's content at most.
constexpr size_t kBounceBytes = 1 << 20;

uint64_t RoundUp(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

}  // namespace

uint64_t DefaultArenaLimit() {
  struct sysinfo info {};
  const uint64_t total =
      sysinfo(&info) == 0 ? static_cast<uint64_t>(info.totalram) * info.mem_unit : 2ull << 30;
  return std::min(total, CgroupMemoryLimit().value_or(total)) / 2;
}

Result<std::unique_ptr<Arena>> Arena::Create(uint64_t bytes_max,
                                             const SpoolOptions& spool_options) {
  bytes_max = RoundUp(std::max(bytes_max, kNextPieceBytes), kHugePageBytes);
  std::unique_ptr<Spool> spool;
  if (!spool_options.directory.empty() && spool_options.limit.value_or(1) != 0) {
    SNAP_ASSIGN_OR_RETURN(spool, Spool::Create(spool_options));
  }
  const uint64_t addresses = bytes_max + (spool == nullptr ? 0 : spool->bytes_max());
  void* base = mmap(nullptr, addresses, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return Status::FromErrno(errno, fmt::format("reserve {} bytes for checkpoints", addresses));
  }
  std::unique_ptr<Arena> arena(new Arena(static_cast<uint8_t*>(base), bytes_max, std::move(spool)));
  if (arena->spool_ != nullptr) {
    SNAP_RETURN_IF_ERROR(arena->MapSpool());
    arena->bounce_.resize(kBounceBytes);
  }
  // A matter of speed and secrecy only; kernels without these serve as well. Without DONTFORK every
  // page written while a child of ours lives (the one that waits for CRIU) would be copied first.
  (void)madvise(base, bytes_max, MADV_DONTFORK);
  (void)madvise(base, bytes_max, MADV_HUGEPAGE);
  (void)madvise(base, bytes_max, MADV_DONTDUMP);
  return arena;
}

Arena::~Arena() {
  const uint64_t bytes = Limit();
  // Its guard first: the addresses are others' afterwards.
  spool_.reset();
  munmap(base_, bytes);
}

Status Arena::MapSpool() {
  SNAP_RETURN_IF_ERROR(spool_->MapAt(base_ + bytes_max_));
  (void)madvise(base_ + bytes_max_, spool_->bytes_max(), MADV_DONTFORK);
  (void)madvise(base_ + bytes_max_, spool_->bytes_max(), MADV_DONTDUMP);
  return Status::Ok();
}

Status Arena::Prepare(uint64_t bytes) {
  const uint64_t memory = RoundUp(std::min(bytes, bytes_max_), kHugePageBytes);
  if (memory > ready_) SNAP_RETURN_IF_ERROR(PrepareMemory(memory));
  if (bytes <= bytes_max_ || spool_ == nullptr) return Status::Ok();
  SNAP_RETURN_IF_ERROR(spool_->Reserve(bytes - bytes_max_));
  ready_ = std::max(ready_, bytes_max_ + spool_->reserved());
  return Status::Ok();
}

Status Arena::PrepareMemory(uint64_t bytes) {
  if (madvise(base_ + ready_, bytes - ready_, MADV_POPULATE_WRITE) != 0) {
    if (errno != EINVAL) {
      return Status::NoSpace(
          fmt::format("get {} bytes of memory for checkpoints: not enough is free", bytes));
    }
    for (uint64_t at = ready_; at < bytes; at += kBlockBytes) {
      *const_cast<volatile uint8_t*>(base_ + at) = 0;
    }
  }
  ready_ = bytes;
  return Status::Ok();
}

std::span<uint8_t> Arena::Take(uint64_t bytes) {
  const std::span<uint8_t> piece = TakeNext(bytes);
  if (!piece.empty() || spool_ == nullptr || used_ >= bytes_max_) return piece;
  const uint64_t before = std::exchange(used_, bytes_max_);
  const std::span<uint8_t> behind = TakeNext(bytes);
  if (behind.empty()) used_ = before;
  return behind;
}

std::span<uint8_t> Arena::TakeNext(uint64_t bytes) {
  SNAP_CHECK(bytes % kBlockBytes == 0);
  if (!status_.ok() || bytes > Limit() - used_) return {};
  if (used_ < bytes_max_ && bytes > bytes_max_ - used_) return {};
  if (used_ >= bytes_max_) {
    status_ = spool_->Reserve(used_ + bytes - bytes_max_);
    if (!status_.ok()) return {};
  }
  uint8_t* piece = base_ + used_;
  used_ += bytes;
  used_max_ = std::max(used_max_, used_);
  return {piece, bytes};
}

void Arena::WriteToSpool(const uint8_t* piece, ByteSpan bytes) {
  const Status written = spool_->Write(static_cast<uint64_t>(piece - base_) - bytes_max_, bytes);
  if (status_.ok()) status_ = written;
}

Status Arena::Full(std::string_view what) const {
  if (!status_.ok()) return status_;
  const std::string memory =
      fmt::format("{} does not fit into the checkpoint memory of {} MiB", what, bytes_max_ >> 20);
  if (spool_ == nullptr) return Status::NoSpace(memory + " (--arena-limit)");
  return Status::NoSpace(fmt::format("{} and {} MiB of {} (--arena-limit, --spool-limit)", memory,
                                     spool_->bytes_max() >> 20, spool_->directory()));
}

void Arena::GiveBack(const uint8_t* end, uint64_t bytes) {
  SNAP_CHECK(bytes % kBlockBytes == 0 && bytes <= used_);
  if (end == base_ + used_) used_ -= bytes;
}

Status Arena::ReadStatus() const {
  return spool_ != nullptr && used_ > bytes_max_ ? spool_->ReadStatus() : Status::Ok();
}

void Arena::Clear() {
  const bool again = !ReadStatus().ok();
  ready_ = std::max(ready_, used_max_);
  used_ = 0;
  used_max_ = 0;
  status_ = again ? MapSpool() : Status::Ok();
}

void Arena::Trim(uint64_t bytes) {
  SNAP_CHECK(used_ == 0);
  bytes = RoundUp(bytes, kHugePageBytes);
  // The spool's space stays reserved.
  const uint64_t memory = std::min(ready_, bytes_max_);
  if (bytes >= memory) return;
  // What the kernel does not take is ready all the same.
  if (madvise(base_ + bytes, memory - bytes, MADV_DONTNEED) == 0) ready_ = bytes;
}

Bytes Flatten(const ArenaFile& file) {
  Bytes bytes;
  bytes.reserve(file.size);
  for (const auto& part : file.parts) bytes.insert(bytes.end(), part.begin(), part.end());
  return bytes;
}

std::span<uint8_t> ArenaWriter::Space() {
  if (space_.empty() && !TakePiece()) return {};
  if (!arena_->IsSpool(space_.data())) return space_;
  return std::span(arena_->bounce_).first(std::min(space_.size(), arena_->bounce_.size()));
}

bool ArenaWriter::TakePiece() {
  uint64_t want = file_.parts.empty() ? kFirstPieceBytes : kNextPieceBytes;
  space_ = arena_->TakeNext(want);
  while (space_.empty() && want > Arena::kBlockBytes) {
    want /= 2;
    space_ = arena_->TakeNext(want);
  }
  if (space_.empty()) return false;
  if (file_.parts.empty() ||
      file_.parts.back().data() + file_.parts.back().size() != space_.data()) {
    file_.parts.emplace_back(space_.data(), 0);
  }
  return true;
}

void ArenaWriter::Advance(uint64_t bytes) {
  SNAP_CHECK(bytes <= space_.size());
  if (bytes == 0) return;
  if (arena_->IsSpool(space_.data())) {
    arena_->WriteToSpool(space_.data(), ByteSpan(arena_->bounce_).first(bytes));
  }
  std::span<uint8_t>& part = file_.parts.back();
  part = {part.data(), part.size() + bytes};
  space_ = space_.subspan(bytes);
  file_.size += bytes;
}

ArenaFile ArenaWriter::Finish() {
  const uint64_t spare = space_.size() / Arena::kBlockBytes * Arena::kBlockBytes;
  if (spare != 0) arena_->GiveBack(space_.data() + space_.size(), spare);
  space_ = {};
  if (!file_.parts.empty() && file_.parts.back().empty()) file_.parts.pop_back();
  return std::move(file_);
}

}  // namespace snapstore::agent
