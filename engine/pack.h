// Pack: the unit of storage. Header, frames, footer (which frames and chunks), trailer.
//
// A pack describes itself: index and repair need nothing else. Its object is named by the SHA-256
// of its bytes. docs/format.md, "Pack".
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
#include "index/chunk_index.h"
#include "snapstore/status.h"

namespace snapstore {

inline constexpr uint32_t kPackHeaderBytes = 16;
inline constexpr uint32_t kPackTrailerBytes = 32;

// A finished pack, ready to be stored.
struct SealedPack {
  PackKind kind = PackKind::kData;
  PackId id;
  Bytes bytes;
  std::vector<PackChunk> chunks;
};

class PackBuilder {
 public:
  // `storage` is memory to use again; its content is dropped.
  explicit PackBuilder(PackKind kind, Bytes storage = {});

  // Appends one stored frame; returns its offset in the pack.
  uint32_t Append(ByteSpan frame, std::span<const ChunkId> chunks);
  size_t size() const { return pack_.bytes.size(); }
  bool empty() const { return pack_.chunks.empty(); }

  // Writes footer and trailer and names the pack. The builder is spent.
  SealedPack Seal() &&;

 private:
  void HashNew();

  SealedPack pack_;
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

// Reads trailer and footer of a stored pack: one ranged read for all but very large ones.
// `size` is the object's; `bytes_read` (may be null) is raised by what was fetched.
Result<PackFooter> ReadPackFooter(ObjectStore& store, PackKind kind, const PackId& id,
                                  uint64_t size, uint64_t* bytes_read);

// Corruption unless `header` is the first kPackHeaderBytes of a pack of this kind.
Status ParsePackHeader(ByteSpan header, PackKind kind);

// The footer of a pack that is in memory whole. Corruption unless all parts fit together.
Result<PackFooter> ParsePack(ByteSpan pack);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PACK_H_
