// Certificates with the dates that a test wants.
#ifndef SNAPSTORE_TESTS_BASE_TEST_CERTIFICATE_H_
#define SNAPSTORE_TESTS_BASE_TEST_CERTIFICATE_H_

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <string>

#include "base/check.h"

namespace snapstore {

// Signed by itself, for 127.0.0.1; valid between these times, in seconds from now. PEM.
inline void WriteTestCertificate(const std::string& certificate_file, const std::string& key_file,
                                 long from_seconds, long to_seconds) {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  X509* const certificate = X509_new();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), from_seconds);
  X509_gmtime_adj(X509_getm_notAfter(certificate), to_seconds);
  X509_set_pubkey(certificate, key);
  X509_NAME* const name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("snapstore test"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  X509_EXTENSION* const names =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
  X509_add_ext(certificate, names, -1);
  X509_EXTENSION_free(names);
  SNAP_CHECK(X509_sign(certificate, key, EVP_sha256()) > 0);
  FILE* file = fopen(certificate_file.c_str(), "w");
  SNAP_CHECK(file != nullptr && PEM_write_X509(file, certificate) == 1);
  fclose(file);
  file = fopen(key_file.c_str(), "w");
  SNAP_CHECK(file != nullptr &&
             PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  fclose(file);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

}  // namespace snapstore

#endif  // SNAPSTORE_TESTS_BASE_TEST_CERTIFICATE_H_
