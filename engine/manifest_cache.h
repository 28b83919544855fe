// ManifestCache: manifests of a store that is far away, kept on the local disk as the store has
// them.
//
// Choosing a parent or "latest" looks at every manifest; without this, each snapshot would fetch
// all of them again. A manifest is named by the SHA-256 of its bytes, so whoever reads one from
// here verifies it as one from the store. Whether a snapshot exists is the store's to say: only
// names that were just listed may be looked up.
//
// Nothing here fails: what cannot be kept is fetched again.
//
// Thread safety: calls for different manifests may run concurrently.
#ifndef SNAPSTORE_ENGINE_MANIFEST_CACHE_H_
#define SNAPSTORE_ENGINE_MANIFEST_CACHE_H_

#include <optional>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/sha256.h"

namespace snapstore {

class ManifestCache {
 public:
  // `folder` is made when it is missing.
  explicit ManifestCache(std::string folder);

  std::optional<Bytes> Find(const Digest& id) const;
  void Keep(const Digest& id, ByteSpan bytes) const;
  // Removes all others. REQUIRES: sorted.
  void Retain(std::span<const Digest> ids) const;

 private:
  std::string PathOf(const Digest& id) const { return folder_ + "/" + id.ToHex(); }

  const std::string folder_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_MANIFEST_CACHE_H_
