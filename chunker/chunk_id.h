// ChunkId: the name of a chunk's content.
//
// XXH3-128 (xxHash 0.8, https://github.com/Cyan4973/xxHash) under the repository's 192-byte secret,
// plus the length. The secret keeps outsiders from computing ids; it does not make XXH3
// collision-proof against somebody who writes to the repository: see docs/security.md.
#ifndef SNAPSTORE_CHUNKER_CHUNK_ID_H_
#define SNAPSTORE_CHUNKER_CHUNK_ID_H_

#include <array>
#include <compare>
#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace snapstore {

struct ChunkId {
  // Big-endian canonical form of XXH128_hash_t (XXH128_canonicalFromHash).
  std::array<uint8_t, 16> hash{};
  uint32_t length = 0;  // bytes of plain content

  std::string ToHex() const { return HexEncode(hash); }
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the comparison's 0 for a pointer.
  auto operator<=>(const ChunkId&) const = default;
};

// The 192-byte secret of a repository; a value that never changes after `init`.
struct HashSecret {
  static constexpr size_t kSize = 192;
  std::array<uint8_t, kSize> bytes{};
};

// REQUIRES: content.size() < 4 GiB.
ChunkId ComputeChunkId(const HashSecret& secret, ByteSpan content);

}  // namespace snapstore

template <>
struct std::hash<snapstore::ChunkId> {
  size_t operator()(const snapstore::ChunkId& id) const noexcept {
    return snapstore::LoadLe<uint64_t>(id.hash.data());  // already uniform
  }
};

#endif  // SNAPSTORE_CHUNKER_CHUNK_ID_H_
