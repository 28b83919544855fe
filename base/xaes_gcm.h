// XAES-256-GCM: authenticated encryption whose nonces are long enough to be chosen at random.
//
// https://c2sp.org/XAES-256-GCM. The first 12 bytes of the nonce and the key give an AES-256 key
// (NIST SP 800-108r1 counter mode over CMAC, cut down to three AES blocks); with it and the last 12
// bytes the message is sealed by AES-256-GCM (NIST SP 800-38D). Everything runs in OpenSSL's EVP.
//
// Thread safety: all calls may run concurrently. Each thread keeps its own OpenSSL contexts, so
// that no call allocates; what they last held is wiped when the thread ends.
#ifndef SNAPSTORE_BASE_XAES_GCM_H_
#define SNAPSTORE_BASE_XAES_GCM_H_

#include <array>
#include <span>

#include "base/bytes.h"
#include "snapstore/secret.h"

namespace snapstore {

class XaesGcm {
 public:
  static constexpr size_t kKeyBytes = 32;
  static constexpr size_t kNonceBytes = 24;
  static constexpr size_t kTagBytes = 16;
  using Nonce = std::array<uint8_t, kNonceBytes>;

  // REQUIRES: `key` has kKeyBytes.
  explicit XaesGcm(const Secret& key);

  // Fills `out` with ciphertext and tag. `associated` is authenticated as if it were one string.
  // REQUIRES: `out` is kTagBytes longer than `plain` and begins where `plain` does or is apart from
  // it; no nonce is used twice under a key.
  void Seal(const Nonce& nonce, std::span<const ByteSpan> associated, ByteSpan plain,
            MutableByteSpan out) const;

  // The reverse: false, and zeros in `out`, unless `sealed` was made by Seal with the same key,
  // nonce and associated data. REQUIRES: `out` is kTagBytes shorter than `sealed`.
  [[nodiscard]] bool Open(const Nonce& nonce, std::span<const ByteSpan> associated, ByteSpan sealed,
                          MutableByteSpan out) const;

 private:
  Secret secret_;  // the key, then CMAC's subkey K1
};

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_XAES_GCM_H_
