#include "tools/snapstore_agent/running_agent.h"

#include <fmt/format.h>
#include <httplib.h>

#include "agent/control_server.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "base/tls_certificate.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;

// A checkpoint of a large application may take that long.
constexpr int kAnswerTimeoutSeconds = 3600;
constexpr size_t kCaFileBytesMax = 4 << 20;

// The code the agent named, so that the exit code is the same as if the work had been done here.
Status ErrorFrom(const json& document, int http_status) {
  const std::string code = document.value("code", "");
  const std::string message = document.value("message", fmt::format("HTTP {}", http_status));
  for (int i = 1; i <= static_cast<int>(StatusCode::kInternal); ++i) {
    const auto candidate = static_cast<StatusCode>(i);
    if (StatusCodeName(candidate) == code) return {candidate, message};
  }
  return Status::Io(message);
}

Status Unanswered(const std::string& address, bool tls, bool refused, httplib::Error error) {
  if (refused) {
    return Status::PermissionDenied(
        fmt::format("agent at {}: shows another certificate than it started with", address));
  }
  switch (error) {
    case httplib::Error::SSLLoadingCerts:
      return Status::InvalidArgument("--ca: holds no certificates in PEM");
    case httplib::Error::SSLServerVerification:
      return Status::PermissionDenied(fmt::format(
          "agent at {}: its certificate has expired, is for another name, or is not signed by "
          "what --ca holds",
          address));
    case httplib::Error::SSLConnection:
      return Status::Io(fmt::format("agent at {}: does not speak TLS", address));
    default:
      break;
  }
  const bool other_end_closed = error == httplib::Error::Read;
  return Status::Io(
      fmt::format("agent at {}: {}: is it running?{}", address, httplib::to_string(error),
                  !tls && other_end_closed ? " If it speaks TLS, give --ca or --state-dir" : ""));
}

}  // namespace

void RunningAgent::AddOptions(CLI::App* app) {
  auto* listen = app->add_option("--listen", listen_,
                                 fmt::format("Address of the agent's control interface; else {}",
                                             kDefaultListen))
                     ->type_name("ADDR:PORT");
  app->add_option("--state-dir", state_directory_,
                  "State directory of the agent, where its address is found")
      ->type_name("DIR")
      ->excludes(listen);
  app->add_option("--token-file", token_file_, "The agent's bearer token")->type_name("FILE");
  app->add_option("--ca", ca_file_,
                  "Speak TLS, and check the agent's certificate with those in this PEM file; with "
                  "--state-dir the agent's certificate is known without")
      ->type_name("FILE");
}

Result<AgentFile> RunningAgent::Find() const {
  if (!listen_.empty()) return AgentFile{listen_};
  if (state_directory_.empty()) return AgentFile{kDefaultListen};
  return ReadAgentFile(state_directory_);
}

Result<json> RunningAgent::Call(bool post, const std::string& path, const std::string& body) const {
  SNAP_ASSIGN_OR_RETURN(const AgentFile found, Find());
  SNAP_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse(found.listen));
  const bool tls = !ca_file_.empty() || !found.fingerprint.empty();
  CertificatePin pin{found.fingerprint};
  httplib::Client client(fmt::format("{}://{}", tls ? "https" : "http", address.ToString()));
  if (!ca_file_.empty()) {
    SNAP_RETURN_IF_ERROR(ReadWholeFile(ca_file_, kCaFileBytesMax).status());
    client.set_ca_cert_path(ca_file_);
    client.enable_server_certificate_verification(true);
  } else if (tls) {
    client.enable_server_certificate_verification(false);
    PinCertificate(client.ssl_context(), &pin);
  }
  client.set_read_timeout(kAnswerTimeoutSeconds);
  if (!token_file_.empty()) {
    SNAP_ASSIGN_OR_RETURN(const std::string token, ReadTokenFile(token_file_));
    client.set_bearer_token_auth(token);
  }
  const httplib::Result result =
      post ? client.Post(path, body, "application/json") : client.Get(path);
  if (!result) return Unanswered(address.ToString(), tls, pin.refused, result.error());
  json document = json::parse(result->body, nullptr, false);
  if (!document.is_object()) {
    return Status::Io(fmt::format("agent at {}: answered something else than JSON (HTTP {})",
                                  address.ToString(), result->status));
  }
  if (result->status != 200) return ErrorFrom(document, result->status);
  return document;
}

Result<json> RunningAgent::Get(const std::string& path) const { return Call(false, path, ""); }

Result<json> RunningAgent::Post(const std::string& path, const std::string& body) const {
  return Call(true, path, body);
}

}  // namespace snapstore::agent
