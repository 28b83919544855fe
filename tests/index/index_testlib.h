// Packs made from numbers.
#ifndef SNAPSTORE_TESTS_INDEX_INDEX_TESTLIB_H_
#define SNAPSTORE_TESTS_INDEX_INDEX_TESTLIB_H_

#include <vector>

#include "base/random.h"
#include "index/chunk_index.h"

namespace snapstore::test {

inline Digest NumberedDigest(uint64_t number) {
  SplitMix64 generator(~number);
  Digest digest;
  for (size_t at = 0; at < digest.bytes.size(); at += 8) {
    StoreLe(digest.bytes.data() + at, generator.Next());
  }
  return digest;
}

inline ChunkId NumberedChunk(uint64_t number) {
  SplitMix64 generator(number);
  ChunkId id;
  StoreLe(id.hash.data(), generator.Next());
  StoreLe(id.hash.data() + 8, generator.Next());
  id.length = 4096 + static_cast<uint32_t>(number % 1000);
  return id;
}

// The chunks of pack `pack`: numbers [pack * count, (pack + 1) * count).
inline std::vector<PackChunk> NumberedChunks(uint64_t pack, size_t count) {
  std::vector<PackChunk> chunks(count);
  for (size_t n = 0; n < count; ++n) {
    chunks[n].id = NumberedChunk(pack * count + n);
    chunks[n].frame_offset = static_cast<uint32_t>(n / 16 * 100'000);
    chunks[n].frame_length = static_cast<uint32_t>(100'000 - n % 7);
    chunks[n].chunk_in_frame = static_cast<uint16_t>(n % 16);
  }
  return chunks;
}

inline std::vector<ChunkId> IdsOf(const std::vector<PackChunk>& chunks) {
  std::vector<ChunkId> ids;
  ids.reserve(chunks.size());
  for (const PackChunk& chunk : chunks) ids.push_back(chunk.id);
  return ids;
}

inline ChunkLocation LocationOf(uint64_t pack, const PackChunk& chunk) {
  return {NumberedDigest(pack), chunk.frame_offset, chunk.frame_length, chunk.chunk_in_frame};
}

}  // namespace snapstore::test

#endif  // SNAPSTORE_TESTS_INDEX_INDEX_TESTLIB_H_
