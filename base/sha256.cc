#include "base/sha256.h"

#include <openssl/evp.h>

#include "base/check.h"
#include "base/status_macros.h"

namespace snapstore {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Result<Digest> Digest::FromHex(std::string_view hex) {
  Digest digest;
  SNAP_RETURN_IF_ERROR(HexDecode(hex, digest.bytes));
  return digest;
}

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  SNAP_CHECK(context_->evp != nullptr);
  SNAP_CHECK(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

void Sha256::Update(ByteSpan bytes) {
  SNAP_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
}

Digest Sha256::Finish() {
  Digest digest;
  SNAP_CHECK(EVP_DigestFinal_ex(context_->evp, digest.bytes.data(), nullptr) == 1);
  SNAP_CHECK(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) == 1);
  return digest;
}

Digest Sha256::OfParts(std::span<const ByteSpan> parts) {
  Sha256 hash;
  for (const ByteSpan part : parts) hash.Update(part);
  return hash.Finish();
}

Digest Sha256::Of(ByteSpan bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

}  // namespace snapstore
