#include "agent/token_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <openssl/crypto.h>

#include <thread>

#include "agent/control_json.h"
#include "base/status_macros.h"
#include "base/tls_certificate.h"

namespace snapstore::agent {
namespace {

using httplib::Request;
using httplib::Response;

constexpr const char* kJson = "application/json";

// Takes as long whatever the presented token is like.
bool TokenFits(const Request& request, const std::string& token) {
  const std::string expected = "Bearer " + token;
  const std::string given = request.get_header_value("Authorization");
  return given.size() == expected.size() &&
         CRYPTO_memcmp(given.data(), expected.data(), expected.size()) == 0;
}

// What holds for every request.
void SetUp(const TokenServer::Options& options, httplib::Server* server) {
  server->set_payload_max_length(options.body_bytes_max);
  // The library's default lets a second agent take the same port unnoticed.
  server->set_socket_options([](socket_t fd) {
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  server->set_pre_routing_handler([options](const Request& request, Response& response) {
    // Without either header a request has no body (RFC 9112, section 6.3); the library would wait
    // for one of a POST until its time is up. The object is its own, which is not const.
    auto& headers = const_cast<Request&>(request).headers;  // NOLINT
    if (!headers.contains("Content-Length") && !headers.contains("Transfer-Encoding")) {
      headers.emplace("Content-Length", "0");
    }
    const bool open =
        request.method == "GET" && !options.open_path.empty() && request.path == options.open_path;
    if (open || options.token.empty() || TokenFits(request, options.token)) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    response.set_header("WWW-Authenticate", "Bearer");
    ReplyError(&response, 401, Status::PermissionDenied("bearer token missing or wrong"));
    return httplib::Server::HandlerResponse::Handled;
  });
  server->set_error_handler([](const Request& request, Response& response) {
    if (!response.body.empty()) return;
    ReplyError(&response, response.status,
               Status::NotFound(
                   fmt::format("{} {}: HTTP {}", request.method, request.path, response.status)));
  });
}

Result<std::unique_ptr<httplib::Server>> NewServer(const TokenServer::Options& options,
                                                   std::string* fingerprint) {
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return Status::InvalidArgument("TLS needs both a certificate and its key");
  }
  if (options.certificate_file.empty()) return std::make_unique<httplib::Server>();
  SNAP_ASSIGN_OR_RETURN(*fingerprint, CheckTlsFiles(options.certificate_file, options.key_file));
  auto server = std::make_unique<httplib::SSLServer>(options.certificate_file.c_str(),
                                                     options.key_file.c_str());
  if (!server->is_valid()) {
    return Status::InvalidArgument(
        fmt::format("TLS: {} and {} cannot be used", options.certificate_file, options.key_file));
  }
  RequireModernTls(server->ssl_context());
  return std::unique_ptr<httplib::Server>(std::move(server));
}

}  // namespace

void Reply(Response* response, int code, const std::string& body) {
  response->status = code;
  response->set_content(body + "\n", kJson);
}

void ReplyError(Response* response, int code, const Status& status) {
  Reply(response, code, ErrorJson(status));
}

struct TokenServer::Impl {
  std::unique_ptr<httplib::Server> server;
  std::string fingerprint;
  std::thread thread;
  ListenAddress address;
};

TokenServer::TokenServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

TokenServer::~TokenServer() {
  impl_->server->stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

const ListenAddress& TokenServer::address() const { return impl_->address; }

const std::string& TokenServer::fingerprint() const { return impl_->fingerprint; }

std::string TokenServer::url() const {
  return fmt::format("{}://{}", impl_->fingerprint.empty() ? "http" : "https",
                     impl_->address.ToString());
}

Result<std::unique_ptr<TokenServer>> TokenServer::Start(
    const Options& options, const std::function<void(httplib::Server*)>& add_routes) {
  const ListenAddress& address = options.address;
  if (options.token.empty() && !address.IsLoopback()) {
    return Status::InvalidArgument(
        fmt::format("listening on {} needs --token-file: without a token anybody on the network "
                    "could stop the application",
                    address.ToString()));
  }
  auto impl = std::make_unique<Impl>();
  SNAP_ASSIGN_OR_RETURN(impl->server, NewServer(options, &impl->fingerprint));
  httplib::Server& server = *impl->server;
  SetUp(options, &server);
  add_routes(&server);
  impl->address = address;
  if (address.port == 0) {
    impl->address.port = server.bind_to_any_port(address.host);
  } else if (!server.bind_to_port(address.host, address.port)) {
    impl->address.port = -1;
  }
  if (impl->address.port < 0) {
    return Status::Io(
        fmt::format("listen on {}: address not available or in use", address.ToString()));
  }
  impl->thread = std::thread([raw = impl.get()] { raw->server->listen_after_bind(); });
  // A stop() before the server runs would be lost.
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<TokenServer>(new TokenServer(std::move(impl)));
}

}  // namespace snapstore::agent
