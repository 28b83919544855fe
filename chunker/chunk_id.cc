#include "chunker/chunk_id.h"

#include "chunker/internal/xxh3.h"

namespace snapstore {

static_assert(HashSecret::kSize >= XXH3_SECRET_SIZE_MIN);

ChunkId ComputeChunkId(const HashSecret& secret, ByteSpan content) {
  const XXH128_hash_t hash = internal::Xxh3Of128(content, secret.bytes);
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  ChunkId id;
  static_assert(sizeof(canonical.digest) == sizeof(id.hash));
  std::memcpy(id.hash.data(), canonical.digest, sizeof(canonical.digest));
  id.length = static_cast<uint32_t>(content.size());
  return id;
}

}  // namespace snapstore
