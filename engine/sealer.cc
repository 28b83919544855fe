#include "engine/sealer.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

XaesGcm::Nonce PartNonce(const uint8_t* salt, uint64_t offset) {
  XaesGcm::Nonce nonce{};
  std::memcpy(nonce.data(), salt, Sealer::kSaltBytes);
  StoreLe<uint64_t>(nonce.data() + Sealer::kSaltBytes, offset);
  return nonce;
}

}  // namespace

Sealer::Sealer(const RepositoryId& repository, const Secret& master_key)
    : repository_(repository), master_key_(master_key), cipher_(std::in_place, master_key) {}

const Sealer& Sealer::Plain() {
  static const Sealer plain;
  return plain;
}

Status Sealer::CheckFlags(uint32_t flags, std::string_view what) const {
  if ((flags & ~kFlagSealed) != 0) {
    return Status::Unsupported(fmt::format("{} flags {} are newer than this program", what, flags));
  }
  if (flags == this->flags()) return {};
  return Status::Corruption(fmt::format("{} is {}encrypted, but the repository is {}encrypted",
                                        what, flags == kFlagSealed ? "" : "not ",
                                        encrypted() ? "" : "not "));
}

void Sealer::SealPart(SealedKind kind, const Salt& salt, uint64_t offset, ByteSpan clear,
                      ByteSpan plain, MutableByteSpan out) const {
  SNAP_CHECK(encrypted() && out.size() == plain.size() + kPartOverhead);
  const auto kind_byte = static_cast<uint8_t>(kind);
  const ByteSpan associated[] = {repository_, {&kind_byte, 1}, clear};
  std::memcpy(out.data(), salt.data(), kSaltBytes);
  cipher_->Seal(PartNonce(salt.data(), offset), associated, plain, out.subspan(kSaltBytes));
}

Status Sealer::OpenPart(SealedKind kind, uint64_t offset, ByteSpan clear, ByteSpan sealed,
                        MutableByteSpan out) const {
  SNAP_CHECK(encrypted() && sealed.size() == out.size() + kPartOverhead);
  const auto kind_byte = static_cast<uint8_t>(kind);
  const ByteSpan associated[] = {repository_, {&kind_byte, 1}, clear};
  if (!cipher_->Open(PartNonce(sealed.data(), offset), associated, sealed.subspan(kSaltBytes),
                     out)) {
    return Status::Corruption("it was not sealed for this place with the repository's key");
  }
  return {};
}

Bytes Sealer::SealBox(SealedKind kind, ByteSpan clear, ByteSpan plain) const {
  if (!encrypted()) return {plain.begin(), plain.end()};
  const auto kind_byte = static_cast<uint8_t>(kind);
  const ByteSpan associated[] = {repository_, {&kind_byte, 1}, clear};
  XaesGcm::Nonce nonce;
  SecureRandom(nonce);
  Bytes out(plain.size() + kBoxOverhead);
  std::memcpy(out.data(), nonce.data(), nonce.size());
  cipher_->Seal(nonce, associated, plain, MutableByteSpan(out).subspan(nonce.size()));
  return out;
}

Result<Bytes> Sealer::OpenBox(SealedKind kind, ByteSpan clear, ByteSpan sealed) const {
  if (!encrypted()) return Bytes(sealed.begin(), sealed.end());
  if (sealed.size() < kBoxOverhead) return Status::Corruption("it is cut short");
  Bytes out(sealed.size() - kBoxOverhead);
  SNAP_RETURN_IF_ERROR(OpenBoxInto(kind, clear, sealed, out));
  return out;
}

Status Sealer::OpenBoxInto(SealedKind kind, ByteSpan clear, ByteSpan sealed,
                           MutableByteSpan out) const {
  SNAP_CHECK(encrypted() && sealed.size() == out.size() + kBoxOverhead);
  const auto kind_byte = static_cast<uint8_t>(kind);
  const ByteSpan associated[] = {repository_, {&kind_byte, 1}, clear};
  XaesGcm::Nonce nonce;
  std::memcpy(nonce.data(), sealed.data(), nonce.size());
  if (!cipher_->Open(nonce, associated, sealed.subspan(nonce.size()), out)) {
    return Status::Corruption("it was not sealed with the repository's key");
  }
  return {};
}

}  // namespace snapstore
