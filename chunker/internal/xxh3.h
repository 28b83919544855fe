// XXH3 (https://github.com/Cyan4973/xxHash) with the widest instructions of the CPU: Debian's
// libxxhash carries run-time dispatch on x86, which the plain entry points do not use. Private to
// chunker/.
#ifndef SNAPSTORE_CHUNKER_INTERNAL_XXH3_H_
#define SNAPSTORE_CHUNKER_INTERNAL_XXH3_H_

#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // redirects the XXH3 names used below
#endif

#include "base/bytes.h"

namespace snapstore::internal {

inline uint64_t Xxh3Of64(ByteSpan bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

inline XXH128_hash_t Xxh3Of128(ByteSpan bytes, ByteSpan secret) {
  return XXH3_128bits_withSecret(bytes.data(), bytes.size(), secret.data(), secret.size());
}

}  // namespace snapstore::internal

#endif  // SNAPSTORE_CHUNKER_INTERNAL_XXH3_H_
