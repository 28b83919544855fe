#include "chunker/internal/cdc_chunker.h"

#include <algorithm>
#include <bit>

#include "base/random.h"

namespace snapstore::internal {
namespace {

constexpr uint64_t kFinalMultiplier = 0x9e3779b97f4a7c15ULL;

// Folded 64 x 64 -> 128 bit product, the mixing step of wyhash
// (https://github.com/wangyi-fudan/wyhash).
uint64_t Fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

// With cut probabilities 1/(4 avg) before and 4/avg after the normal point N, the mean length is
//   min + 4 avg (1 - u) + (avg / 4) u,   u = exp(-(N - min) / (4 avg)).
// It equals avg for 1 - u = q = (3/4 avg - min) / (15/4 avg); N follows from
// -ln(1 - q) = q + q^2/2 + q^3/3 + ..., q <= 1/5.
size_t NormalBytes(const ChunkerParams& params) {
  const uint64_t avg = params.bytes_avg;
  const uint64_t min = params.bytes_min;
  if (4 * min >= 3 * avg) return min;
  const uint64_t t1 = 3 * avg - 4 * min;
  const uint64_t t2 = t1 * t1 / avg;
  const uint64_t t3 = t2 * t1 / avg;
  return min + 4 * t1 / 15 + 2 * t2 / 225 + 4 * t3 / 10125;
}

CdcChunker::CdcChunker(const ChunkerParams& params, const CdcKernel& kernel)
    : Chunker(params), kernel_(kernel), normal_bytes_(NormalBytes(params)) {
  SplitMix64 generator(params.seed);
  for (uint64_t& key : keys_) key = generator.Next();
  // Stage 1 leaves 1/256: 64/avg of those make 1/(4 avg), 1024/avg make 4/avg.
  const int avg_log2 = std::countr_zero(params.bytes_avg);
  strict_max_ = ~uint64_t{0} >> (avg_log2 - 6);
  loose_max_ = ~uint64_t{0} >> (avg_log2 - 10);
}

bool CdcChunker::Confirm(const uint8_t* window_begin, size_t length) const {
  const uint64_t front = Fold(LoadLe<uint64_t>(window_begin) ^ keys_[0],
                              LoadLe<uint64_t>(window_begin + 8) ^ keys_[1]);
  const uint64_t back = Fold(LoadLe<uint64_t>(window_begin + 16) ^ keys_[2],
                             LoadLe<uint64_t>(window_begin + 24) ^ keys_[3]);
  const uint64_t hash = Fold(front ^ back ^ keys_[4], kFinalMultiplier);
  return hash <= (length < normal_bytes_ ? strict_max_ : loose_max_);
}

size_t CdcChunker::NextCut(ByteSpan window, bool last) const {
  const size_t max = params().bytes_max;
  const size_t end = std::min(window.size(), max);
  uint64_t bits[kScanWords];
  for (size_t at = params().bytes_min - 1; at < end; at += kScanPositions) {
    const size_t count = std::min(end - at, kScanPositions);
    kernel_.find_candidates(window.data() + at, count, bits);
    for (size_t word = 0; word * 64 < count; ++word) {
      for (uint64_t rest = bits[word]; rest != 0; rest &= rest - 1) {
        const size_t length = at + word * 64 + std::countr_zero(rest) + 1;
        if (Confirm(window.data() + length - kWindowBytes, length)) return length;
      }
    }
  }
  return end == max || last ? end : 0;
}

}  // namespace snapstore::internal
