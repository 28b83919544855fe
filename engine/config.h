// RepositoryConfig: the object `config` that makes a place a repository. docs/format.md, "Config".
#ifndef SNAPSTORE_ENGINE_CONFIG_H_
#define SNAPSTORE_ENGINE_CONFIG_H_

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "chunker/chunk_id.h"
#include "engine/sealer.h"
#include "snapstore/status.h"

namespace snapstore {

inline constexpr size_t kConfigBytesMax = 64 << 10;

struct RepositoryConfig {
  RepositoryId id{};
  std::string created;  // RFC 3339
  bool encrypted = false;
  HashSecret hash_secret;
  uint64_t chunker_seed = 0;

  // Of an encrypted repository that was decoded and whose secrets were not opened yet.
  Bytes sealed_secrets;

  // A fresh one with random id, secret and seed.
  static RepositoryConfig Generate();

  // REQUIRES: `sealer` is of this repository; `encrypted` says whether it encrypts.
  Bytes Encode(const Sealer& sealer) const;
  // Corruption when damaged, Unsupported when written by a newer program. The secrets of an
  // encrypted repository are still to be opened.
  static Result<RepositoryConfig> Decode(ByteSpan bytes);
  // Fills in hash_secret and chunker_seed. Corruption when `sealer` does not open them. REQUIRES:
  // encrypted.
  Status OpenSecrets(const Sealer& sealer);
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CONFIG_H_
