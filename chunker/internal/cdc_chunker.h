// CdcChunker: the `cdc` profile (chunker/chunker.h) on a given stage-1 kernel. Private to chunker/,
// its tests and benchmarks.
//
// Two stages: a linear hash of the last 32 bytes, cheap enough to run on every byte with SIMD,
// leaves one position in 256 as a candidate; a seeded multiplicative hash of the same 32 bytes
// decides about those. The second stage is stricter before a normal point than after it (normalised
// chunking: Xia et al., FastCDC, USENIX ATC 2016).
#ifndef SNAPSTORE_CHUNKER_INTERNAL_CDC_CHUNKER_H_
#define SNAPSTORE_CHUNKER_INTERNAL_CDC_CHUNKER_H_

#include <array>

#include "chunker/chunker.h"
#include "chunker/internal/kernel.h"

namespace snapstore::internal {

class CdcChunker final : public Chunker {
 public:
  // REQUIRES: params are valid for kCdc; kernel outlives the chunker.
  CdcChunker(const ChunkerParams& params, const CdcKernel& kernel);

  size_t NextCut(ByteSpan window, bool last) const override;

 private:
  // Whether a chunk of `length` bytes that ends with the candidate window ends there.
  bool Confirm(const uint8_t* window_begin, size_t length) const;

  const CdcKernel& kernel_;
  std::array<uint64_t, 5> keys_;
  size_t normal_bytes_;
  uint64_t strict_max_;  // accepted stage-2 hashes of chunks shorter than normal_bytes_
  uint64_t loose_max_;   // of all others
};

// The length from which the looser condition holds, chosen so that the average comes out as
// params.bytes_avg on random data. Integer arithmetic only: it is part of the format.
size_t NormalBytes(const ChunkerParams& params);

}  // namespace snapstore::internal

#endif  // SNAPSTORE_CHUNKER_INTERNAL_CDC_CHUNKER_H_
