// Index segment: the footers of the packs that one writer added, as one object.
//
// Another node reads a few segments instead of every pack's footer to bring its chunk index up to
// date. A segment is named by the SHA-256 of its bytes. docs/format.md, "Index segment".
#ifndef SNAPSTORE_ENGINE_SEGMENT_H_
#define SNAPSTORE_ENGINE_SEGMENT_H_

#include <functional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "engine/format.h"
#include "engine/sealer.h"
#include "index/chunk_index.h"
#include "snapstore/status.h"

namespace snapstore {

// Collects packs and encodes them.
class SegmentBuilder {
 public:
  SegmentBuilder();
  void Add(PackKind kind, const PackId& id, std::span<const PackChunk> chunks);
  size_t size() const { return bytes_.size(); }
  size_t pack_count() const { return pack_count_; }
  // The object; the builder is spent.
  Bytes Finish(const Sealer& sealer) &&;

 private:
  Bytes bytes_;
  uint32_t pack_count_ = 0;
};

struct SegmentPack {
  PackKind kind = PackKind::kData;
  PackId id;
  std::vector<PackChunk> chunks;
};

// Calls `visit` for each pack of a segment. Corruption, before any call, when the bytes are not the
// segment named `id`.
Status ParseSegment(const Sealer& sealer, const Digest& id, ByteSpan bytes,
                    const std::function<Status(const SegmentPack&)>& visit);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SEGMENT_H_
