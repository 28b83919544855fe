// Pack: the unit of storage. Header, frames, footer (which frames and chunks), trailer.
//
// A pack describes itself: index and repair need nothing else. Its object is named by the SHA-256
// of its bytes. In an encrypted repository frames and footer are sealed, each for its place.
// docs/format.md, "Pack".
//
// Thread safety: a PackBuilder belongs to one thread at a time.
#ifndef SNAPSTORE_ENGINE_PACK_H_
#define SNAPSTORE_ENGINE_PACK_H_

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/sha256.h"
#include "engine/format.h"
#include "engine/sealer.h"
#include "index/chunk_index.h"
#include "snapstore/status.h"

namespace snapstore {

inline constexpr uint32_t kPackTrailerBytes = 32;
// Of the header: the salt follows it in an encrypted repository. The first frame begins after it.
inline uint32_t PackHeaderBytes(const Sealer& sealer) {
  return 16 + (sealer.encrypted() ? uint32_t{Sealer::kSaltBytes} : 0);
}

// A finished pack, ready to be stored.
struct SealedPack {
  PackKind kind = PackKind::kData;
  PackId id;
  Bytes bytes;
  std::vector<PackChunk> chunks;
};

class PackBuilder {
 public:
  // `sealer` must outlive the builder. `storage` is memory to use again: what it holds is written
  // over, which spares filling it with zeros.
  PackBuilder(const Sealer* sealer, PackKind kind, Bytes storage = {});

  struct Placed {
    uint32_t offset = 0;  // in the pack
    uint32_t length = 0;  // as stored
  };
  // Appends a frame as an encoder for this repository gave it, sealed if the repository is
  // encrypted.
  Placed Append(ByteSpan frame, std::span<const ChunkId> chunks);
  size_t size() const { return size_; }
  bool empty() const { return pack_.chunks.empty(); }

  // Writes footer and trailer and names the pack. The builder is spent.
  SealedPack Seal() &&;

 private:
  MutableByteSpan Extend(size_t bytes);
  void Write(ByteSpan bytes);
  void HashNew();

  const Sealer* const sealer_;
  Sealer::Salt salt_{};
  SealedPack pack_;
  size_t size_ = 0;  // of what pack_.bytes may be longer than
  Sha256 hash_;
  size_t hashed_ = 0;
};

// What a footer says.
struct PackFooter {
  PackKind kind = PackKind::kData;
  std::vector<PackChunk> chunks;  // in order of their place
};

// The footer's own encoding, shared by packs and index segments.
void AppendFooterBody(std::span<const PackChunk> chunks, Bytes* out);
Result<std::vector<PackChunk>> ParseFooterBody(ByteReader* reader);

// Tells chunk tables apart without keeping them.
uint64_t ChunkTableHash(std::span<const PackChunk> chunks);

// Reads trailer and footer of a stored pack: one ranged read for all but very large ones.
// `size` is the object's; `bytes_read` (may be null) is raised by what was fetched.
Result<PackFooter> ReadPackFooter(ObjectStore& store, const Sealer& sealer, PackKind kind,
                                  const PackId& id, uint64_t size, uint64_t* bytes_read);

// The salt (zeros if the repository is not encrypted) from `header`, the first PackHeaderBytes() of
// a pack. Corruption unless it is of this kind. Every frame of the pack has the same salt.
Result<Sealer::Salt> ParsePackHeader(const Sealer& sealer, ByteSpan header, PackKind kind);

// The footer of a pack that is in memory whole. Corruption unless all parts fit together.
Result<PackFooter> ParsePack(const Sealer& sealer, ByteSpan pack);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PACK_H_
