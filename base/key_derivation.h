// Keys from what people and machines keep: scrypt (RFC 7914) for passwords, HKDF-SHA256 (RFC 5869)
// for files of random bytes. Through OpenSSL's EVP.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_BASE_KEY_DERIVATION_H_
#define SNAPSTORE_BASE_KEY_DERIVATION_H_

#include <cstdint>

#include "base/bytes.h"
#include "snapstore/secret.h"
#include "snapstore/status.h"

namespace snapstore {

// scrypt's cost: it needs 128 * n * r bytes of memory and time in proportion to n * r * p.
struct ScryptCost {
  uint64_t n = 1 << 16;
  uint64_t r = 8;
  uint64_t p = 1;

  uint64_t memory_bytes() const { return 128 * n * r; }  // REQUIRES: Check() is OK
  // Corruption when scrypt does not know such a cost, or when it would take more memory or time
  // than anybody should spend because of what a file says.
  Status Check() const;

  bool operator==(const ScryptCost&) const = default;
};
inline constexpr uint64_t kScryptMemoryMax = 256ull << 20;
// Of n * r * p: 32 times that of the default.
inline constexpr uint64_t kScryptWorkMax = 1ull << 24;

// `size` bytes. NoSpace when there is no memory for it. REQUIRES: cost.Check() is OK.
Result<Secret> Scrypt(const Secret& password, ByteSpan salt, const ScryptCost& cost, size_t size);

// `size` bytes, at most 8160.
Secret HkdfSha256(const Secret& material, ByteSpan salt, std::string_view info, size_t size);

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_KEY_DERIVATION_H_
