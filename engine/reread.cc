#include "engine/reread.h"

#include "base/sha256.h"
#include "engine/format.h"

namespace snapstore {

Result<Bytes> GetNamed(ObjectStore& store, const ObjectKey& key, size_t bytes_max) {
  Result<Bytes> bytes = store.Get(key, bytes_max);
  if (!bytes.ok()) return bytes;
  const Result<Digest> name = DigestOfKey(key.text());
  if (name.ok() && Sha256::Of(*bytes) != *name) return store.Get(key, bytes_max);
  return bytes;
}

}  // namespace snapstore
