#include "chunker/internal/aligned_chunker.h"

#include <algorithm>

#include "chunker/internal/xxh3.h"

namespace snapstore::internal {

AlignedChunker::AlignedChunker(const ChunkerParams& params)
    : Chunker(params), mask_(params.bytes_avg / params.bytes_min - 1) {}

size_t AlignedChunker::NextCut(ByteSpan window, bool last) const {
  const size_t block = params().bytes_min;
  const size_t end = std::min<size_t>(window.size(), params().bytes_max);
  for (size_t length = block; length <= end; length += block) {
    if (mask_ == 0 || length == params().bytes_max) return length;
    const ByteSpan content = window.subspan(length - block, block);
    if ((Xxh3Of64(content, params().seed) & mask_) == 0) return length;
  }
  return last ? end : 0;
}

}  // namespace snapstore::internal
