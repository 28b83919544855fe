// AlignedChunker: the `aligned` profile (chunker/chunker.h). Private to chunker/.
#ifndef SNAPSTORE_CHUNKER_INTERNAL_ALIGNED_CHUNKER_H_
#define SNAPSTORE_CHUNKER_INTERNAL_ALIGNED_CHUNKER_H_

#include "chunker/chunker.h"

namespace snapstore::internal {

class AlignedChunker final : public Chunker {
 public:
  // REQUIRES: params are valid for kAligned.
  explicit AlignedChunker(const ChunkerParams& params);

  size_t NextCut(ByteSpan window, bool last) const override;

 private:
  uint64_t mask_;  // a group ends after a block whose hash has none of these bits
};

}  // namespace snapstore::internal

#endif  // SNAPSTORE_CHUNKER_INTERNAL_ALIGNED_CHUNKER_H_
