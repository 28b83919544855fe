// RepositoryConfig: the object `config` that makes a place a repository. docs/format.md, "Config".
#ifndef SNAPSTORE_ENGINE_CONFIG_H_
#define SNAPSTORE_ENGINE_CONFIG_H_

#include <array>
#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "chunker/chunk_id.h"
#include "snapstore/status.h"

namespace snapstore {

inline constexpr size_t kConfigBytesMax = 64 << 10;

struct RepositoryConfig {
  std::array<uint8_t, 16> id{};
  std::string created;  // RFC 3339
  HashSecret hash_secret;
  uint64_t chunker_seed = 0;

  // A fresh one with random id, secret and seed.
  static RepositoryConfig Generate();

  Bytes Encode() const;
  // Corruption when damaged, Unsupported when written by a newer program.
  static Result<RepositoryConfig> Decode(ByteSpan bytes);
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CONFIG_H_
