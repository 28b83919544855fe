#include "base/key_derivation.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <bit>

#include "base/check.h"

namespace snapstore {
namespace {

uint8_t* BytesOf(Secret* secret) { return reinterpret_cast<uint8_t*>(secret->data()); }

}  // namespace

Status ScryptCost::Check() const {
  // Each bound first, so that no product overflows.
  if (n < 2 || !std::has_single_bit(n) || r == 0 || p == 0 || n > kScryptWorkMax ||
      r > kScryptWorkMax || p > kScryptWorkMax) {
    return Status::Corruption(fmt::format("scrypt with n={} r={} p={} is not possible", n, r, p));
  }
  if (n * r > kScryptMemoryMax / 128 || n * r * p > kScryptWorkMax) {
    return Status::Corruption(fmt::format(
        "scrypt with n={} r={} p={} would take more memory or time than the limit", n, r, p));
  }
  return {};
}

Result<Secret> Scrypt(const Secret& password, ByteSpan salt, const ScryptCost& cost, size_t size) {
  SNAP_CHECK(cost.Check().ok());
  Secret out = Secret::OfSize(size);
  // What OpenSSL counts besides is less than a block for each of p.
  const uint64_t memory = cost.memory_bytes() + 128 * cost.r * (cost.p + 8) + (1 << 20);
  if (EVP_PBE_scrypt(password.view().data(), password.size(), salt.data(), salt.size(), cost.n,
                     cost.r, cost.p, memory, BytesOf(&out), size) != 1) {
    return Status::NoSpace(
        fmt::format("no {} MiB of memory for scrypt", cost.memory_bytes() >> 20));
  }
  return out;
}

Secret HkdfSha256(const Secret& material, ByteSpan salt, std::string_view info, size_t size) {
  static EVP_KDF* const hkdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  SNAP_CHECK(hkdf != nullptr && !material.empty());
  EVP_KDF_CTX* const context = EVP_KDF_CTX_new(hkdf);
  // OpenSSL takes pointers to non-const and does not write through them.
  char digest[] = "SHA256";
  const auto octets = [](const char* name, const void* data, size_t length) {
    return OSSL_PARAM_construct_octet_string(name, const_cast<void*>(data), length);
  };
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      octets(OSSL_KDF_PARAM_KEY, material.view().data(), material.size()),
      octets(OSSL_KDF_PARAM_SALT, salt.data(), salt.size()),
      octets(OSSL_KDF_PARAM_INFO, info.data(), info.size()), OSSL_PARAM_construct_end()};
  Secret out = Secret::OfSize(size);
  SNAP_CHECK(context != nullptr && EVP_KDF_derive(context, BytesOf(&out), size, parameters) == 1);
  EVP_KDF_CTX_free(context);
  return out;
}

}  // namespace snapstore
