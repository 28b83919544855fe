#include "tools/snapstore_agent/tls_options.h"

#include "base/tls_certificate.h"

namespace snapstore::agent {

void TlsFlags::AddOptions(CLI::App* app) {
  auto* certificate =
      app->add_option("--tls-certificate,--tls-cert", certificate_file,
                      "Certificate with its chain, PEM: the control interface speaks TLS")
          ->type_name("FILE");
  auto* key = app->add_option("--tls-key", key_file, "Its key, PEM")->type_name("FILE");
  certificate->needs(key);
  key->needs(certificate);
}

Status TlsFlags::Check() const {
  if (certificate_file.empty()) return Status::Ok();
  return CheckTlsFiles(certificate_file, key_file).status();
}

}  // namespace snapstore::agent
