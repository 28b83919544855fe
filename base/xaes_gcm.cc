#include "base/xaes_gcm.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <climits>

#include "base/check.h"

namespace snapstore {
namespace {

constexpr size_t kBlockBytes = 16;  // of AES
constexpr size_t kDerivationBytes = 12;

// The contexts of one thread.
struct ThreadCiphers {
  EVP_CIPHER_CTX* block = EVP_CIPHER_CTX_new();
  EVP_CIPHER_CTX* message = EVP_CIPHER_CTX_new();

  ThreadCiphers() {
    // Fetched once: a look-up by name for each message would take locks.
    static EVP_CIPHER* const ecb = EVP_CIPHER_fetch(nullptr, "AES-256-ECB", nullptr);
    static EVP_CIPHER* const gcm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
    SNAP_CHECK(block != nullptr && message != nullptr && ecb != nullptr && gcm != nullptr);
    SNAP_CHECK(EVP_EncryptInit_ex2(block, ecb, nullptr, nullptr, nullptr) == 1);
    SNAP_CHECK(EVP_CIPHER_CTX_set_padding(block, 0) == 1);
    SNAP_CHECK(EVP_EncryptInit_ex2(message, gcm, nullptr, nullptr, nullptr) == 1);
  }
  ~ThreadCiphers() {
    EVP_CIPHER_CTX_free(block);
    EVP_CIPHER_CTX_free(message);
  }
  ThreadCiphers(const ThreadCiphers&) = delete;
  ThreadCiphers& operator=(const ThreadCiphers&) = delete;
};

ThreadCiphers& Ciphers() {
  thread_local ThreadCiphers ciphers;
  return ciphers;
}

const uint8_t* KeyBytes(const Secret& secret) {
  return reinterpret_cast<const uint8_t*>(secret.view().data());
}

// AES-256 of each block, in place.
void EncryptBlocks(EVP_CIPHER_CTX* context, const uint8_t* key, MutableByteSpan blocks) {
  int done = 0;
  SNAP_CHECK(EVP_EncryptInit_ex2(context, nullptr, key, nullptr, nullptr) == 1);
  SNAP_CHECK(EVP_EncryptUpdate(context, blocks.data(), &done, blocks.data(),
                               static_cast<int>(blocks.size())) == 1 &&
             done == static_cast<int>(blocks.size()));
}

// Gives the context the message's own key and nonce.
void StartMessage(const Secret& secret, const XaesGcm::Nonce& nonce, bool seal) {
  ThreadCiphers& ciphers = Ciphers();
  const uint8_t* const key = KeyBytes(secret);
  const uint8_t* const subkey = key + XaesGcm::kKeyBytes;
  std::array<uint8_t, 2 * kBlockBytes> derived{};
  for (uint8_t i = 0; i < 2; ++i) {
    uint8_t* const block = derived.data() + i * kBlockBytes;
    block[1] = i + 1;
    block[2] = 'X';
    std::memcpy(block + 4, nonce.data(), kDerivationBytes);
    for (size_t j = 0; j < kBlockBytes; ++j) block[j] ^= subkey[j];
  }
  EncryptBlocks(ciphers.block, key, derived);
  SNAP_CHECK(EVP_CipherInit_ex2(ciphers.message, nullptr, derived.data(),
                                nonce.data() + kDerivationBytes, seal ? 1 : 0, nullptr) == 1);
  OPENSSL_cleanse(derived.data(), derived.size());
}

void AddAssociated(EVP_CIPHER_CTX* context, std::span<const ByteSpan> associated) {
  for (const ByteSpan part : associated) {
    int done = 0;
    if (part.empty()) continue;
    SNAP_CHECK(
        EVP_CipherUpdate(context, nullptr, &done, part.data(), static_cast<int>(part.size())) == 1);
  }
}

}  // namespace

XaesGcm::XaesGcm(const Secret& key) : secret_(Secret::OfSize(kKeyBytes + kBlockBytes)) {
  SNAP_CHECK(key.size() == kKeyBytes);
  std::memcpy(secret_.data(), key.view().data(), kKeyBytes);
  auto* const subkey = reinterpret_cast<uint8_t*>(secret_.data()) + kKeyBytes;
  EncryptBlocks(Ciphers().block, KeyBytes(secret_), {subkey, kBlockBytes});
  // CMAC's K1: twice the encrypted zero block, in GF(2^128) (NIST SP 800-38B, 6.1).
  const uint8_t carry = subkey[0] >> 7;
  for (size_t i = 0; i + 1 < kBlockBytes; ++i) {
    subkey[i] = static_cast<uint8_t>(subkey[i] << 1 | subkey[i + 1] >> 7);
  }
  subkey[kBlockBytes - 1] =
      static_cast<uint8_t>(subkey[kBlockBytes - 1] << 1 ^ (carry != 0 ? 0x87 : 0));
}

void XaesGcm::Seal(const Nonce& nonce, std::span<const ByteSpan> associated, ByteSpan plain,
                   MutableByteSpan out) const {
  SNAP_CHECK(out.size() == plain.size() + kTagBytes && plain.size() <= INT_MAX);
  StartMessage(secret_, nonce, /*seal=*/true);
  EVP_CIPHER_CTX* const context = Ciphers().message;
  AddAssociated(context, associated);
  int done = 0;
  if (!plain.empty()) {
    SNAP_CHECK(EVP_EncryptUpdate(context, out.data(), &done, plain.data(),
                                 static_cast<int>(plain.size())) == 1);
  }
  int rest = 0;
  SNAP_CHECK(EVP_EncryptFinal_ex(context, out.data() + done, &rest) == 1 &&
             static_cast<size_t>(done) + static_cast<size_t>(rest) == plain.size());
  SNAP_CHECK(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes,
                                 out.data() + plain.size()) == 1);
}

bool XaesGcm::Open(const Nonce& nonce, std::span<const ByteSpan> associated, ByteSpan sealed,
                   MutableByteSpan out) const {
  SNAP_CHECK(sealed.size() == out.size() + kTagBytes && out.size() <= INT_MAX);
  StartMessage(secret_, nonce, /*seal=*/false);
  EVP_CIPHER_CTX* const context = Ciphers().message;
  AddAssociated(context, associated);
  int done = 0;
  if (!out.empty()) {
    SNAP_CHECK(EVP_DecryptUpdate(context, out.data(), &done, sealed.data(),
                                 static_cast<int>(out.size())) == 1);
  }
  std::array<uint8_t, kTagBytes> tag{};
  std::memcpy(tag.data(), sealed.data() + out.size(), kTagBytes);
  SNAP_CHECK(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1);
  int rest = 0;
  std::array<uint8_t, kBlockBytes> end{};
  if (EVP_DecryptFinal_ex(context, end.data(), &rest) == 1 && rest == 0) return true;
  OPENSSL_cleanse(out.data(), out.size());
  return false;
}

}  // namespace snapstore
