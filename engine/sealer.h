// Sealer: how the objects of an encrypted repository are sealed and opened; of a repository that is
// not encrypted, how they are left as they are. docs/format.md, "Sealing".
//
// Two forms. A part of a pack is sealed for its place in it: the nonce is the pack's random salt
// and the part's offset, so within a pack none repeats and a part opens at its own offset only. A
// box is everything else: a random nonce of its own. Both bind the repository, what the bytes are
// and their clear header, as associated data.
//
// Thread safety: all calls may run concurrently; a Sealer is immutable.
#ifndef SNAPSTORE_ENGINE_SEALER_H_
#define SNAPSTORE_ENGINE_SEALER_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/xaes_gcm.h"
#include "snapstore/secret.h"
#include "snapstore/status.h"

namespace snapstore {

using RepositoryId = std::array<uint8_t, 16>;

// What is sealed. Stored, as associated data: do not renumber.
enum class SealedKind : uint8_t {
  kDataFrame = 1,
  kMetaFrame = 2,
  kDataFooter = 3,
  kMetaFooter = 4,
  kSegment = 5,
  kManifest = 6,
  kConfig = 7,
  kKey = 8,       // the master key, sealed with the key of a slot
  kKeyAbout = 9,  // what a slot says of itself
  kSweepMark = 10,
  kLease = 11,  // where its writer is
  kClaim = 12,
};

// Bit 0 of every object's flags.
inline constexpr uint32_t kFlagSealed = 1;

class Sealer {
 public:
  static constexpr size_t kSaltBytes = 16;
  using Salt = std::array<uint8_t, kSaltBytes>;
  // What sealing adds: salt and tag; nonce and tag.
  static constexpr size_t kPartOverhead = kSaltBytes + XaesGcm::kTagBytes;
  static constexpr size_t kBoxOverhead = XaesGcm::kNonceBytes + XaesGcm::kTagBytes;

  // Of a repository that is not encrypted.
  Sealer() = default;
  // REQUIRES: `master_key` has XaesGcm::kKeyBytes.
  Sealer(const RepositoryId& repository, const Secret& master_key);
  static const Sealer& Plain();

  bool encrypted() const { return cipher_.has_value(); }
  // What objects have in their flags.
  uint32_t flags() const { return encrypted() ? kFlagSealed : 0; }
  // Of an object as it was found: Unsupported for flags that nobody knows, Corruption for a plain
  // object in an encrypted repository, which anybody could have put there, and the reverse.
  Status CheckFlags(uint32_t flags, std::string_view what) const;
  size_t part_overhead() const { return encrypted() ? kPartOverhead : 0; }

  // Fills `out` with salt, ciphertext and tag. REQUIRES: encrypted(); `out` is kPartOverhead longer
  // than `plain` and apart from it; no other part of this salt is sealed at `offset`.
  void SealPart(SealedKind kind, const Salt& salt, uint64_t offset, ByteSpan clear, ByteSpan plain,
                MutableByteSpan out) const;
  // Corruption when the part does not belong there. REQUIRES: encrypted(); `out` is kPartOverhead
  // shorter than `sealed`, which is at least that long.
  Status OpenPart(SealedKind kind, uint64_t offset, ByteSpan clear, ByteSpan sealed,
                  MutableByteSpan out) const;

  // Nonce, ciphertext and tag; the bytes themselves if the repository is not encrypted.
  Bytes SealBox(SealedKind kind, ByteSpan clear, ByteSpan plain) const;
  // Corruption when it was not sealed so. Of a repository that is not encrypted, the bytes as they
  // are.
  Result<Bytes> OpenBox(SealedKind kind, ByteSpan clear, ByteSpan sealed) const;
  // The same into memory of the caller's choice. REQUIRES: encrypted(); `out` is kBoxOverhead
  // shorter than `sealed`, which is at least that long.
  Status OpenBoxInto(SealedKind kind, ByteSpan clear, ByteSpan sealed, MutableByteSpan out) const;

  // REQUIRES: encrypted().
  const RepositoryId& repository() const { return repository_; }
  const Secret& master_key() const { return master_key_; }

 private:
  RepositoryId repository_{};
  Secret master_key_;
  std::optional<XaesGcm> cipher_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_SEALER_H_
