#include "agent/arena.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/memory_limit.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kFirstPieceBytes = 64 << 10;
constexpr uint64_t kNextPieceBytes = 4 << 20;
constexpr uint64_t kHugePageBytes = 2 << 20;

uint64_t RoundUp(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

}  // namespace

uint64_t DefaultArenaLimit() {
  struct sysinfo info {};
  const uint64_t total =
      sysinfo(&info) == 0 ? static_cast<uint64_t>(info.totalram) * info.mem_unit : 2ull << 30;
  return std::min(total, CgroupMemoryLimit().value_or(total)) / 2;
}

Result<std::unique_ptr<Arena>> Arena::Create(uint64_t bytes_max) {
  bytes_max = RoundUp(std::max(bytes_max, kNextPieceBytes), kHugePageBytes);
  void* base = mmap(nullptr, bytes_max, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return Status::FromErrno(errno, fmt::format("reserve {} bytes for checkpoints", bytes_max));
  }
  // A matter of speed and secrecy only; kernels without these serve as well. Without DONTFORK every
  // page written while a child of ours lives (the one that waits for CRIU) would be copied first.
  (void)madvise(base, bytes_max, MADV_DONTFORK);
  (void)madvise(base, bytes_max, MADV_HUGEPAGE);
  (void)madvise(base, bytes_max, MADV_DONTDUMP);
  return std::unique_ptr<Arena>(new Arena(static_cast<uint8_t*>(base), bytes_max));
}

Arena::~Arena() { munmap(base_, bytes_max_); }

Status Arena::Prepare(uint64_t bytes) {
  bytes = RoundUp(std::min(bytes, bytes_max_), kHugePageBytes);
  if (bytes <= ready_) return Status::Ok();
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
  SNAP_CHECK(bytes % kBlockBytes == 0);
  if (bytes > bytes_max_ - used_) return {};
  uint8_t* piece = base_ + used_;
  used_ += bytes;
  used_max_ = std::max(used_max_, used_);
  return {piece, bytes};
}

Status Arena::Full() const {
  return Status::NoSpace(
      fmt::format("the application's memory does not fit into the checkpoint memory of {} MiB "
                  "(--arena-limit)",
                  bytes_max_ >> 20));
}

void Arena::GiveBack(const uint8_t* end, uint64_t bytes) {
  SNAP_CHECK(bytes % kBlockBytes == 0 && bytes <= used_);
  if (end == base_ + used_) used_ -= bytes;
}

void Arena::Clear() {
  ready_ = std::max(ready_, used_max_);
  used_ = 0;
  used_max_ = 0;
}

void Arena::Trim(uint64_t bytes) {
  SNAP_CHECK(used_ == 0);
  bytes = RoundUp(bytes, kHugePageBytes);
  if (bytes >= ready_) return;
  // What the kernel does not take is ready all the same.
  if (madvise(base_ + bytes, ready_ - bytes, MADV_DONTNEED) == 0) ready_ = bytes;
}

Bytes Flatten(const ArenaFile& file) {
  Bytes bytes;
  bytes.reserve(file.size);
  for (const auto& part : file.parts) bytes.insert(bytes.end(), part.begin(), part.end());
  return bytes;
}

std::span<uint8_t> ArenaWriter::Space() {
  if (!space_.empty()) return space_;
  uint64_t want = file_.parts.empty() ? kFirstPieceBytes : kNextPieceBytes;
  space_ = arena_->Take(want);
  while (space_.empty() && want > Arena::kBlockBytes) {
    want /= 2;
    space_ = arena_->Take(want);
  }
  if (space_.empty()) return {};
  if (!file_.parts.empty() &&
      file_.parts.back().data() + file_.parts.back().size() == space_.data()) {
    return space_;
  }
  file_.parts.emplace_back(space_.data(), 0);
  return space_;
}

void ArenaWriter::Advance(uint64_t bytes) {
  SNAP_CHECK(bytes <= space_.size());
  if (bytes == 0) return;
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
