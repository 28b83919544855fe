// SHA-256 (FIPS 180-4) through OpenSSL: names of packs, index segments and manifests.
#ifndef SNAPSTORE_BASE_SHA256_H_
#define SNAPSTORE_BASE_SHA256_H_

#include <array>
#include <compare>
#include <memory>
#include <string>

#include "base/bytes.h"

namespace snapstore {

struct Digest {
  std::array<uint8_t, 32> bytes{};

  std::string ToHex() const { return HexEncode(bytes); }
  static Result<Digest> FromHex(std::string_view hex);
  // clang-tidy 14 takes the comparison's zero for a pointer. NOLINTNEXTLINE(modernize-use-nullptr)
  auto operator<=>(const Digest&) const = default;
};

// Incremental hashing. Thread safety: none; one object, one thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(ByteSpan bytes);
  // The digest of all bytes so far; the object starts afresh.
  Digest Finish();

  static Digest Of(ByteSpan bytes);
  // Of the concatenation.
  static Digest OfParts(std::span<const ByteSpan> parts);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

}  // namespace snapstore

template <>
struct std::hash<snapstore::Digest> {
  size_t operator()(const snapstore::Digest& digest) const noexcept {
    return snapstore::LoadLe<uint64_t>(digest.bytes.data());  // already uniform
  }
};

#endif  // SNAPSTORE_BASE_SHA256_H_
