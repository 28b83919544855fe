#include "agent/lazy_space.h"

#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "agent/criu_image.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

// Put in at a time, so that news of a touched page does not wait long.
constexpr uint64_t kCopyBytesMax = 256 << 10;
// For news to be read, or for a mapping to be made.
constexpr std::chrono::microseconds kPause{100};

}  // namespace

Result<LazySpace::News> LazySpace::ReadNews() {
  std::unique_lock lock(mutex_);
  has_news_ = true;
  turn_.wait(lock, [this] { return putting_ == 0; });
  Result<News> news = ReadNewsLocked();
  has_news_ = false;
  turn_.notify_all();
  return news;
}

Result<LazySpace::News> LazySpace::ReadNewsLocked() {
  News news;
  while (true) {
    std::array<uffd_msg, 16> messages;
    const ssize_t got = read(fd_.get(), messages.data(), sizeof(messages));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return news;
    if (got <= 0) return Status::FromErrno(got < 0 ? errno : EIO, "read from a userfaultfd");
    for (size_t i = 0; i < static_cast<size_t>(got) / sizeof(uffd_msg); ++i) {
      const uffd_msg& message = messages[i];
      switch (message.event) {
        case UFFD_EVENT_PAGEFAULT:
          news.touched.push_back(message.arg.pagefault.address / kPageBytes * kPageBytes);
          break;
        case UFFD_EVENT_REMOVE:
        case UFFD_EVENT_UNMAP:
          missing_.Remove(message.arg.remove.start, message.arg.remove.end);
          break;
        case UFFD_EVENT_REMAP:
          missing_.Move(message.arg.remap.from, message.arg.remap.to, message.arg.remap.len);
          break;
        case UFFD_EVENT_FORK:
          news.children.push_back(std::make_shared<LazySpace>(
              pid_, UniqueFd(static_cast<int>(message.arg.fork.ufd)), missing_, Kind::kForked));
          break;
        default:
          return Status::Unsupported(fmt::format("userfaultfd: unknown event {}", message.event));
      }
    }
  }
}

std::optional<LazyRange> LazySpace::MissingAround(uint64_t address, uint64_t block) const {
  const uint64_t begin = address & ~(block - 1);
  const std::lock_guard lock(mutex_);
  for (uint64_t at = begin; const auto range = missing_.Next(at, begin + block);) {
    if (range->address > address) break;
    at = range->address + range->bytes;
    if (at > address) return range;
  }
  return std::nullopt;
}

std::optional<LazyRange> LazySpace::NextToFill(uint64_t bytes_max) {
  const std::lock_guard lock(mutex_);
  auto range = missing_.Next(cursor_, UINT64_MAX);
  if (!range && filling_ == 0 && cursor_ != 0) {
    // What was moved to where the cursor had been.
    cursor_ = 0;
    range = missing_.Next(cursor_, UINT64_MAX);
  }
  if (!range || gone_) return std::nullopt;
  // Up to a border, so that pieces are aligned as far as the memory is.
  const uint64_t border = (range->address / bytes_max + 1) * bytes_max;
  range->bytes = std::min(range->bytes, border - range->address);
  cursor_ = range->address + range->bytes;
  ++filling_;
  return range;
}

void LazySpace::Filled() {
  const std::lock_guard lock(mutex_);
  --filling_;
}

void LazySpace::Settle() {
  const std::lock_guard lock(mutex_);
  settled_ = true;
}

Result<LazySpace::Step> LazySpace::Judge(int error_number, int64_t done, uint64_t address) const {
  switch (error_number) {
    case EAGAIN:
      return Step{done > 0 ? static_cast<uint64_t>(done) : 0};
    case EEXIST:
      return Step{kPageBytes};
    case ESRCH:
      return Step{.gone = true};
    case ENOENT:
      return Step{.unmapped = true};
    default:
      return Status::FromErrno(error_number,
                               fmt::format("put a page to {:#x} of process {}", address, pid_));
  }
}

Result<LazySpace::Step> LazySpace::Put(uint64_t address, uint64_t length, ByteSpan bytes) const {
  while (true) {
    int64_t done = 0;
    int error_number = 0;
    if (bytes.empty()) {
      uffdio_zeropage request{};
      request.range = {address, length};
      error_number = ioctl(fd_.get(), UFFDIO_ZEROPAGE, &request) == 0 ? 0 : errno;
      done = request.zeropage;
    } else {
      uffdio_copy request{};
      request.dst = address;
      request.src = reinterpret_cast<uint64_t>(bytes.data());
      request.len = length;
      error_number = ioctl(fd_.get(), UFFDIO_COPY, &request) == 0 ? 0 : errno;
      done = request.copy;
    }
    if (error_number == 0) return Step{length};
    if (error_number == ENOENT && length > kPageBytes) {
      length = std::max(kPageBytes, length / 2 / kPageBytes * kPageBytes);
      continue;
    }
    return Judge(error_number, done, address);
  }
}

Result<LazySpace::Step> LazySpace::JudgeUnmapped(uint64_t address, bool settled) const {
  if (!settled) return Step{.unmapped = true};
  // It did not go with the fork (MADV_DONTFORK).
  if (kind_ == Kind::kForked) return Step{kPageBytes};
  return Status::FromErrno(ENOENT, fmt::format("put a page to {:#x} of process {}", address, pid_));
}

Result<LazySpace::Step> LazySpace::PlaceStep(const LazyRange& piece, ByteSpan bytes,
                                             IfUnmapped if_unmapped, uint64_t* at) {
  std::unique_lock lock(mutex_);
  while (true) {
    turn_.wait(lock, [this] { return !has_news_; });
    if (gone_) return Step{.gone = true};
    const auto next = missing_.Next(piece.address + *at, piece.address + piece.bytes);
    if (!next) break;
    *at = next->address - piece.address;
    if (next->origin != piece.origin + *at) {  // other pages were moved here meanwhile
      *at += next->bytes;
      continue;
    }
    const uint64_t length = std::min(next->bytes, kCopyBytesMax);
    const bool settled = settled_;
    ++putting_;
    lock.unlock();
    Result<Step> put =
        Put(next->address, length, bytes.empty() ? bytes : bytes.subspan(*at, length));
    lock.lock();
    if (--putting_ == 0) turn_.notify_all();
    SNAP_ASSIGN_OR_RETURN(Step step, std::move(put));
    gone_ = gone_ || step.gone;
    if (step.unmapped) {
      SNAP_ASSIGN_OR_RETURN(step, JudgeUnmapped(next->address, settled));
    }
    if (step.unmapped && if_unmapped == IfUnmapped::kLeave) {
      *at += kPageBytes;
      continue;
    }
    missing_.Remove(next->address, next->address + step.bytes);
    *at += step.bytes;
    return step;
  }
  *at = piece.bytes;
  return Step{};
}

Status LazySpace::Place(const LazyRange& piece, ByteSpan bytes, IfUnmapped if_unmapped) {
  if (piece.origin % kPageBytes != 0 || piece.bytes % kPageBytes != 0) {
    return Status::Corruption(
        fmt::format("memory at {:#x} of process {} comes in parts of pages", piece.origin, pid_));
  }
  for (uint64_t at = 0; at < piece.bytes;) {
    SNAP_ASSIGN_OR_RETURN(const Step step, PlaceStep(piece, bytes, if_unmapped, &at));
    if (step.gone) return Status::Ok();
    if (step.bytes == 0 && at < piece.bytes) std::this_thread::sleep_for(kPause);
  }
  return Status::Ok();
}

Status LazySpace::PlaceZeros(uint64_t address) {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (gone_ || missing_.IsMissing(address)) return Status::Ok();
      uffdio_zeropage request{};
      request.range = {address, kPageBytes};
      const int error_number = ioctl(fd_.get(), UFFDIO_ZEROPAGE, &request) == 0 ? 0 : errno;
      if (error_number == 0) return Status::Ok();
      if (error_number == ESRCH) gone_ = true;
      // What was there before the answer, or is no longer where it was touched: look again.
      if (error_number == EEXIST || error_number == ENOENT || error_number == ESRCH) {
        uffdio_range range{address, kPageBytes};
        (void)ioctl(fd_.get(), UFFDIO_WAKE, &range);
        return Status::Ok();
      }
      if (error_number != EAGAIN) {
        return Status::FromErrno(error_number,
                                 fmt::format("put zeros to {:#x} of process {}", address, pid_));
      }
    }
    std::this_thread::sleep_for(kPause);
  }
}

uint64_t LazySpace::missing_bytes() const {
  const std::lock_guard lock(mutex_);
  return gone_ ? 0 : missing_.bytes();
}

}  // namespace snapstore::agent
