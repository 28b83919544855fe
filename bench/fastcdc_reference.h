// FastCDC as published (Xia et al., USENIX ATC 2016, algorithm 1, normalisation level 2): the yard
// stick for savings. One gear table look-up a byte, nothing made fast.
#ifndef SNAPSTORE_BENCH_FASTCDC_REFERENCE_H_
#define SNAPSTORE_BENCH_FASTCDC_REFERENCE_H_

#include <algorithm>
#include <array>
#include <bit>

#include "base/random.h"
#include "chunker/chunker.h"

namespace snapstore::bench {

class FastCdcReference {
 public:
  // `bytes_normal`: where the looser mask begins. The paper takes the average, which makes chunks
  // longer than it; to compare at equal average size, move it.
  FastCdcReference(const ChunkerParams& params, size_t bytes_normal)
      : min_(params.bytes_min), normal_(bytes_normal), max_(params.bytes_max) {
    SplitMix64 generator(params.seed);
    for (uint64_t& gear : gear_) gear = generator.Next();
    const int avg_log2 = std::countr_zero(params.bytes_avg);
    // The topmost bits of a gear hash depend on the most bytes.
    strict_ = ~uint64_t{0} << (64 - (avg_log2 + 2));
    loose_ = ~uint64_t{0} << (64 - (avg_log2 - 2));
  }

  // The length of the chunk at the front of `rest`, which runs to the end of the stream.
  size_t NextCut(ByteSpan rest) const {
    const size_t end = std::min(rest.size(), max_);
    uint64_t hash = 0;
    for (size_t n = min_; n < end; ++n) {
      hash = (hash << 1) + gear_[rest[n]];
      if ((hash & (n < normal_ ? strict_ : loose_)) == 0) return n + 1;
    }
    return end;
  }

 private:
  size_t min_;
  size_t normal_;
  size_t max_;
  uint64_t strict_;
  uint64_t loose_;
  std::array<uint64_t, 256> gear_;
};

}  // namespace snapstore::bench

#endif  // SNAPSTORE_BENCH_FASTCDC_REFERENCE_H_
