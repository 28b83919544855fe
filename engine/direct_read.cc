#include "engine/direct_read.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace snapstore {
namespace {

constexpr uint64_t kDirectBytesMin = 64 << 20;
constexpr uint64_t kSamples = 32;
constexpr uint64_t kCachedSamplesMax = kSamples / 4;

// Whether the page cache holds a good part of it, or nobody can say.
bool IsCached(int fd, uint64_t size) {
  uint64_t cached = 0;
  for (uint64_t i = 0; i < kSamples; ++i) {
    char byte = 0;
    iovec vector{&byte, 1};
    const auto at = static_cast<off_t>(size / kSamples * i);
    const ssize_t got = ::preadv2(fd, &vector, 1, at, RWF_NOWAIT);
    if (got < 0 && errno != EAGAIN) return true;
    if (got > 0) ++cached;
  }
  return cached > kCachedSamplesMax;
}

// File systems differ in what they allow; a read tells.
bool ReadsDirectly(int fd) {
  alignas(kDirectAlignment) uint8_t block[kDirectAlignment];
  return ::pread(fd, block, sizeof(block), 0) == static_cast<ssize_t>(sizeof(block));
}

}  // namespace

UniqueFd OpenForDirectReads(int fd, uint64_t size) {
  if (size < kDirectBytesMin || IsCached(fd, size)) return {};
  const std::string path = fmt::format("/proc/self/fd/{}", fd);
  UniqueFd direct(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOATIME));
  if (!direct.valid()) {
    direct.Reset(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  }
  if (!direct.valid() || !ReadsDirectly(direct.get())) return {};
  return direct;
}

}  // namespace snapstore
