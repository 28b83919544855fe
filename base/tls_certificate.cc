#include "base/tls_certificate.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/file.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr size_t kPemBytesMax = 1 << 20;
constexpr long kBackdateSeconds = 24L * 3600;  // clocks differ
constexpr long kLifeSeconds = 10L * 365 * 24 * 3600;
constexpr size_t kSerialBytes = 16;
constexpr size_t kFingerprintDigits = 64;

template <typename T, void (*Free)(T*)>
struct Freed {
  void operator()(T* object) const { Free(object); }
};
using Certificate = std::unique_ptr<X509, Freed<X509, X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY, EVP_PKEY_free>>;
using Memory = std::unique_ptr<BIO, Freed<BIO, BIO_free_all>>;

Result<Bytes> ReadPem(const std::string& path) {
  auto bytes = ReadWholeFile(path, kPemBytesMax);
  if (bytes.ok()) return bytes;
  return Status::InvalidArgument("TLS: " + bytes.status().message());
}

Memory Reader(const Bytes& bytes) {
  return Memory(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

std::string FingerprintOf(const X509* certificate) {
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) return "";
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

int RefusePassword(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*arg*/) { return -1; }

int HasPinnedCertificate(X509_STORE_CTX* context, void* arg) {
  auto* const pin = static_cast<CertificatePin*>(arg);
  const X509* const shown = X509_STORE_CTX_get0_cert(context);
  if (shown != nullptr && !pin->fingerprint.empty() && FingerprintOf(shown) == pin->fingerprint) {
    return 1;
  }
  pin->refused = true;
  X509_STORE_CTX_set_error(context, X509_V_ERR_CERT_REJECTED);
  return 0;
}

bool AddExtension(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  if (extension == nullptr) return false;
  const bool added = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

std::string AlternativeNames(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    in6_addr ignored{};
    const bool is_address = inet_pton(AF_INET, name.c_str(), &ignored) == 1 ||
                            inet_pton(AF_INET6, name.c_str(), &ignored) == 1;
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", is_address ? "IP" : "DNS", name);
  }
  return text;
}

bool Fill(X509* certificate, EVP_PKEY* key, const std::vector<std::string>& names) {
  std::array<uint8_t, kSerialBytes> serial{};
  SecureRandom(serial);
  serial[0] &= 0x7f;
  BIGNUM* const number = BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr);
  if (number == nullptr) return false;
  const bool numbered = BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  X509_NAME* const subject = X509_get_subject_name(certificate);
  return numbered && X509_set_version(certificate, X509_VERSION_3) == 1 &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), -kBackdateSeconds) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), kLifeSeconds) != nullptr &&
         X509_set_pubkey(certificate, key) == 1 &&
         X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                    reinterpret_cast<const unsigned char*>("snapstore"), -1, -1,
                                    0) == 1 &&
         X509_set_issuer_name(certificate, subject) == 1 &&
         AddExtension(certificate, NID_subject_alt_name, AlternativeNames(names)) &&
         AddExtension(certificate, NID_basic_constraints, "critical,CA:TRUE") &&
         X509_sign(certificate, key, EVP_sha256()) > 0;
}

Bytes ContentOf(BIO* memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory, &data);
  return {data, data + size};
}

}  // namespace

Result<std::string> CheckTlsFiles(const std::string& certificate_file,
                                  const std::string& key_file) {
  SNAP_ASSIGN_OR_RETURN(const Bytes certificate_bytes, ReadPem(certificate_file));
  SNAP_ASSIGN_OR_RETURN(const Bytes key_bytes, ReadPem(key_file));
  const Certificate certificate(
      PEM_read_bio_X509(Reader(certificate_bytes).get(), nullptr, RefusePassword, nullptr));
  if (certificate == nullptr) {
    return Status::InvalidArgument(
        fmt::format("TLS: {}: holds no certificate in PEM", certificate_file));
  }
  const PrivateKey key(
      PEM_read_bio_PrivateKey(Reader(key_bytes).get(), nullptr, RefusePassword, nullptr));
  if (key == nullptr) {
    return Status::InvalidArgument(
        fmt::format("TLS: {}: holds no key in PEM, or an encrypted one", key_file));
  }
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    return Status::InvalidArgument(
        fmt::format("TLS: {}: is not the key of {}", key_file, certificate_file));
  }
  if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) <= 0) {
    return Status::InvalidArgument(fmt::format("TLS: {}: has expired", certificate_file));
  }
  if (X509_cmp_current_time(X509_get0_notBefore(certificate.get())) >= 0) {
    return Status::InvalidArgument(fmt::format("TLS: {}: is not valid yet", certificate_file));
  }
  return FingerprintOf(certificate.get());
}

Status MakeSelfSignedCertificate(const std::string& certificate_file, const std::string& key_file,
                                 const std::vector<std::string>& names) {
  const PrivateKey key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  const Memory key_text(BIO_new(BIO_s_mem()));
  const Memory certificate_text(BIO_new(BIO_s_mem()));
  if (key == nullptr || certificate == nullptr || key_text == nullptr ||
      certificate_text == nullptr || !Fill(certificate.get(), key.get(), names) ||
      PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
          1 ||
      PEM_write_bio_X509(certificate_text.get(), certificate.get()) != 1) {
    return Status::Internal("TLS: a certificate cannot be made");
  }
  SNAP_RETURN_IF_ERROR(ReplaceFile(key_file, ContentOf(key_text.get()), 0600));
  return ReplaceFile(certificate_file, ContentOf(certificate_text.get()), 0644);
}

void PinCertificate(ssl_ctx_st* context, CertificatePin* pin) {
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(context, HasPinnedCertificate, pin);
}

bool IsFingerprint(const std::string& text) {
  return text.size() == kFingerprintDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

void RequireModernTls(ssl_ctx_st* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
}

}  // namespace snapstore
