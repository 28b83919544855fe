// HttpClient and certificates: a server of this test's own, whose certificate nobody knows.
#include <gtest/gtest.h>
#include <httplib.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <thread>

#include "base/check.h"
#include "tests/base/temp_folder.h"
#include "uploader/http/http_client.h"

namespace snapstore {
namespace {

struct Identity {
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key{nullptr, EVP_PKEY_free};
  std::unique_ptr<X509, decltype(&X509_free)> certificate{nullptr, X509_free};
};

// Signed by itself, for 127.0.0.1, valid for an hour.
Identity NewIdentity() {
  Identity made;
  made.key.reset(EVP_EC_gen("P-256"));
  made.certificate.reset(X509_new());
  X509* const certificate = made.certificate.get();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, made.key.get());
  X509_NAME* const name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("snapstore test"), -1, -1, 0);
  X509_set_issuer_name(certificate, name);
  for (const auto& [kind, value] : {std::pair(NID_subject_alt_name, "IP:127.0.0.1"),
                                    std::pair(NID_basic_constraints, "critical,CA:TRUE")}) {
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  SNAP_CHECK(X509_sign(certificate, made.key.get(), EVP_sha256()) > 0);
  return made;
}

class TlsTest : public testing::Test {
 protected:
  TlsTest() : server_(identity_.certificate.get(), identity_.key.get()) {
    port_ = server_.bind_to_any_port("127.0.0.1");
    SNAP_CHECK(port_ > 0);
    server_.Get("/", [](const httplib::Request&, httplib::Response& out) {
      out.set_content("over TLS", "text/plain");
    });
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  void TearDown() override {
    server_.stop();
    thread_.join();
  }

  std::string url(const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(port_) + "/";
  }

  std::string WriteCertificate() const {
    std::string path = folder_.File("ca.pem");
    FILE* const file = fopen(path.c_str(), "w");
    SNAP_CHECK(file != nullptr && PEM_write_X509(file, identity_.certificate.get()) == 1);
    fclose(file);
    return path;
  }

  const Identity identity_ = NewIdentity();
  httplib::SSLServer server_;
  int port_ = 0;
  std::thread thread_;
  TempFolder folder_;
};

TEST_F(TlsTest, SpeaksToNobodyWhoseCertificateItCannotCheck) {
  const Result<HttpResponse> answer = HttpClient({}).Send({.url = url()});
  EXPECT_TRUE(answer.status().Is(StatusCode::kPermissionDenied)) << answer.status().ToString();
  EXPECT_NE(answer.status().message().find("certificate"), std::string::npos)
      << answer.status().message();
}

TEST_F(TlsTest, TakesTheCertificatesOfTheFileItIsGiven) {
  HttpClient client({.ca_file = WriteCertificate()});
  const Result<HttpResponse> answer = client.Send({.url = url()});
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(AsText(answer->body), "over TLS");
}

TEST_F(TlsTest, InsistsOnTheNameInTheCertificate) {
  HttpClient client({.ca_file = WriteCertificate()});
  const Result<HttpResponse> answer = client.Send({.url = url("localhost")});
  EXPECT_TRUE(answer.status().Is(StatusCode::kPermissionDenied)) << answer.status().ToString();
}

TEST_F(TlsTest, SaysWhenTheFileOfCertificatesIsNone) {
  HttpClient client({.ca_file = folder_.File("missing.pem")});
  const Result<HttpResponse> answer = client.Send({.url = url()});
  EXPECT_TRUE(answer.status().Is(StatusCode::kPermissionDenied)) << answer.status().ToString();
  EXPECT_NE(answer.status().message().find("missing.pem"), std::string::npos)
      << answer.status().message();
}

}  // namespace
}  // namespace snapstore
