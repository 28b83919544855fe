#include "index/internal/delta_filter.h"

#include <fcntl.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::internal {
namespace {

constexpr int kDeltaProbes = 4;

// From the hash's second half: the first picks the line.
template <typename Visit>
bool AllProbes(const ChunkId& id, Visit visit) {
  uint64_t rest = LoadLe<uint64_t>(id.hash.data() + 8);
  for (int probe = 0; probe < kDeltaProbes; ++probe, rest >>= 16) {
    if (!visit(rest >> 6 & 7, uint64_t{1} << (rest & 63))) return false;
  }
  return true;
}

}  // namespace

void DeltaFilter::Reserve() {
  if (lines_.empty()) lines_ = std::vector<Line>(line_count_);
}

const DeltaFilter::Line& DeltaFilter::LineOf(const ChunkId& id) const {
  const uint64_t prefix = __builtin_bswap64(LoadLe<uint64_t>(id.hash.data()));
  return lines_[static_cast<unsigned __int128>(prefix) * lines_.size() >> 64];
}

void DeltaFilter::Add(const ChunkId& id) {
  Line& line = const_cast<Line&>(LineOf(id));
  AllProbes(id, [&line](size_t word, uint64_t bit) {
    line.words[word].fetch_or(bit, std::memory_order_relaxed);
    return true;
  });
}

bool DeltaFilter::MayHold(const ChunkId& id) const {
  const Line& line = LineOf(id);
  return AllProbes(id, [&line](size_t word, uint64_t bit) {
    return (line.words[word].load(std::memory_order_relaxed) & bit) != 0;
  });
}

void DeltaFilter::Prefetch(const ChunkId& id) const { __builtin_prefetch(&LineOf(id)); }

void DeltaFilter::Clear() { lines_ = std::vector<Line>(); }

std::array<uint64_t, 3> DeltaFilter::Header(uint64_t token) const {
  return {token, lines_.size(), XXH3_64bits(lines_.data(), bytes())};
}

Status DeltaFilter::Save(const std::string& path, uint64_t token) const {
  const std::array<uint64_t, 3> header = Header(token);
  SNAP_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  SNAP_RETURN_IF_ERROR(WriteFull(
      file.get(), {reinterpret_cast<const uint8_t*>(header.data()), sizeof(header)}, path));
  return WriteFull(file.get(), {reinterpret_cast<const uint8_t*>(lines_.data()), bytes()}, path);
}

bool DeltaFilter::Load(const std::string& path, uint64_t token) {
  const Result<UniqueFd> file = OpenFile(path, O_RDONLY);
  if (!file.ok()) return false;
  Reserve();
  std::array<uint64_t, 3> header{};
  const auto read = [&](void* to, size_t size) {
    const auto got = ReadFull(file->get(), {static_cast<uint8_t*>(to), size}, path);
    return got.ok() && *got == size;
  };
  if (read(header.data(), sizeof(header)) && header[1] == lines_.size() &&
      read(static_cast<void*>(lines_.data()), bytes()) && header == Header(token)) {
    return true;
  }
  Clear();
  return false;
}

}  // namespace snapstore::internal
