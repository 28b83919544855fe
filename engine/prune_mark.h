// Prune mark: the object by which a prune condemns packs. docs/format.md, "Prune mark".
//
// From the moment a mark exists, nobody may come to depend on the packs it names: writers do not
// refer to them anew, and every prune treats them as gone, copying out of them whatever is still
// needed. What is condemned once is never pardoned, so deleting such a pack late, or twice, by a
// prune that was long believed dead, does no harm. docs/design.md, "Many writers and a prune".
#ifndef SNAPSTORE_ENGINE_PRUNE_MARK_H_
#define SNAPSTORE_ENGINE_PRUNE_MARK_H_

#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/sha256.h"
#include "engine/format.h"
#include "engine/sealer.h"
#include "snapstore/status.h"

namespace snapstore {

struct CondemnedPack {
  PackKind kind = PackKind::kData;
  PackId id;
  auto operator<=>(const CondemnedPack&) const = default;
};

inline constexpr uint64_t kMarkBytesMax = 64ull << 20;
// Of one mark; a prune that condemns more puts several.
inline constexpr size_t kMarkPacksMax = 1 << 20;

Bytes EncodeMark(const Sealer& sealer, std::span<const CondemnedPack> packs);
// Corruption unless `bytes` are the mark named `id`.
Result<std::vector<CondemnedPack>> DecodeMark(const Sealer& sealer, const Digest& id,
                                              ByteSpan bytes);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PRUNE_MARK_H_
