// Manifest: the object whose existence is a snapshot's existence. docs/format.md, "Manifest".
#ifndef SNAPSTORE_ENGINE_MANIFEST_H_
#define SNAPSTORE_ENGINE_MANIFEST_H_

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/sha256.h"
#include "engine/chunk_fetcher.h"
#include "engine/format.pb.h"
#include "engine/pack_table.h"
#include "engine/sealer.h"
#include "snapstore/repository.h"
#include "snapstore/status.h"

namespace snapstore {

// Sealed if the repository is encrypted, with a nonce of its own each time.
Bytes EncodeManifest(const Sealer& sealer, const format::Manifest& manifest);
// Corruption unless `bytes` are the manifest named `id`.
Result<format::Manifest> DecodeManifest(const Sealer& sealer, const Digest& id, ByteSpan bytes);

SnapshotInfo InfoFromManifest(const Digest& id, const format::Manifest& manifest);

// Where a full leaf of the pack table lies.
Result<StoredChunk> PackTableChunk(const format::PackTableLeaf& leaf);

// Reads the pack table: the tail from the manifest, full leaves from meta packs.
Result<std::vector<PackId>> ReadPackTable(const format::Manifest& manifest, ChunkFetcher* fetcher);

// Entries of a full leaf of the pack table.
inline constexpr size_t kPackTableLeafEntries = 256;

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_MANIFEST_H_
