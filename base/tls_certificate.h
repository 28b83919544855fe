// Certificates of this project's servers (TLS, RFC 8446; X.509, RFC 5280): checks before a server
// takes one, certificates that sign themselves, and clients that know a certificate by its
// fingerprint.
//
// A fingerprint is the SHA-256 of the certificate in DER, 64 hexadecimal digits.
//
// Thread safety: free functions; a CertificatePin belongs to one client.
#ifndef SNAPSTORE_BASE_TLS_CERTIFICATE_H_
#define SNAPSTORE_BASE_TLS_CERTIFICATE_H_

#include <string>
#include <vector>

#include "snapstore/status.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX

namespace snapstore {

// The fingerprint of the first certificate of a PEM file, once it is known to be valid now and that
// `key_file` (PEM, not encrypted) holds its key. InvalidArgument says what of this is not so.
Result<std::string> CheckTlsFiles(const std::string& certificate_file, const std::string& key_file);

// Writes a new certificate that signs itself, and its key (ECDSA on P-256, mode 0600), for the host
// names and IP addresses in `names`; valid for ten years, so that it outlives the server.
Status MakeSelfSignedCertificate(const std::string& certificate_file, const std::string& key_file,
                                 const std::vector<std::string>& names);

// The one certificate that a client takes.
struct CertificatePin {
  std::string fingerprint;
  bool refused = false;  // the server showed another one
};
// From now on handshakes fail unless the server shows that certificate; names, dates and who signed
// it are not looked at. `pin` must outlive the connections. The library on top must be told not to
// verify for itself.
void PinCertificate(ssl_ctx_st* context, CertificatePin* pin);

// Whether the text can be a fingerprint.
bool IsFingerprint(const std::string& text);

// A server takes nothing older than TLS 1.2.
void RequireModernTls(ssl_ctx_st* context);

}  // namespace snapstore

#endif  // SNAPSTORE_BASE_TLS_CERTIFICATE_H_
