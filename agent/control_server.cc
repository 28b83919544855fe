#include "agent/control_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <openssl/crypto.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "agent/control_json.h"
#include "agent/metrics.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

using httplib::Request;
using httplib::Response;

constexpr const char* kJson = "application/json";
constexpr size_t kBodyBytesMax = 64 << 10;
constexpr size_t kTokenFileBytesMax = 4096;
constexpr size_t kTokenBytesMin = 16;
constexpr int kHttpInternalError = 500;

void Reply(httplib::Response* response, int code, const std::string& body) {
  response->status = code;
  response->set_content(body + "\n", kJson);
}

// Takes as long whatever the presented token is like.
bool TokenFits(const httplib::Request& request, const std::string& token) {
  const std::string expected = "Bearer " + token;
  const std::string given = request.get_header_value("Authorization");
  return given.size() == expected.size() &&
         CRYPTO_memcmp(given.data(), expected.data(), expected.size()) == 0;
}

// False when the body is none of ours.
bool ParseStopBody(const std::string& body, bool* checkpoint) {
  *checkpoint = true;
  if (body.empty()) return true;
  const auto document = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return false;
  const auto it = document.find("checkpoint");
  if (it == document.end()) return true;
  if (!it->is_boolean()) return false;
  *checkpoint = it->get<bool>();
  return true;
}

// What holds for every request.
void SetUpServer(const std::string& token, httplib::Server* server) {
  server->set_payload_max_length(kBodyBytesMax);
  // The library's default lets a second agent take the same port unnoticed.
  server->set_socket_options([](socket_t fd) {
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  server->set_pre_routing_handler([token](const Request& request, Response& response) {
    if (token.empty() || TokenFits(request, token)) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    response.set_header("WWW-Authenticate", "Bearer");
    Reply(&response, 401, ErrorJson(Status::PermissionDenied("bearer token missing or wrong")));
    return httplib::Server::HandlerResponse::Handled;
  });
  server->set_error_handler([](const Request& request, Response& response) {
    if (!response.body.empty()) return;
    Reply(&response, response.status,
          ErrorJson(Status::NotFound(
              fmt::format("{} {}: HTTP {}", request.method, request.path, response.status))));
  });
}

void AddRoutes(Supervisor* supervisor, httplib::Server* server) {
  server->Get("/status", [supervisor](const Request&, Response& response) {
    Reply(&response, 200, StatusJson(supervisor->status()));
  });
  server->Get("/checkpoints", [supervisor](const Request&, Response& response) {
    const auto stored = supervisor->StoredCheckpoints();
    if (!stored.ok()) return Reply(&response, kHttpInternalError, ErrorJson(stored.status()));
    Reply(&response, 200, CheckpointsJson(*stored, supervisor->records()));
  });
  server->Post("/checkpoint", [supervisor](const Request&, Response& response) {
    const CheckpointRecord record = supervisor->RequestCheckpoint();
    if (!record.status.ok()) return Reply(&response, kHttpInternalError, ErrorJson(record.status));
    Reply(&response, 200, RecordJson(record));
  });
  server->Post("/stop", [supervisor](const Request& request, Response& response) {
    bool checkpoint = true;
    if (!ParseStopBody(request.body, &checkpoint)) {
      return Reply(&response, 400,
                   ErrorJson(Status::InvalidArgument(
                       "body: must be {\"checkpoint\": true or false} or empty")));
    }
    const Status stopped = supervisor->RequestStop(checkpoint);
    if (!stopped.ok()) return Reply(&response, kHttpInternalError, ErrorJson(stopped));
    Reply(&response, 200, StatusJson(supervisor->status()));
  });
  server->Get("/metrics", [supervisor](const Request&, Response& response) {
    response.set_content(MetricsText(supervisor->status()), "text/plain; version=0.0.4");
  });
}

}  // namespace

Result<std::string> ReadTokenFile(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes, ReadWholeFile(path, kTokenFileBytesMax));
  std::string token(AsText(bytes));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  if (token.size() < kTokenBytesMin || token.find_first_of(" \t\r\n") != std::string::npos) {
    return Status::InvalidArgument(fmt::format(
        "token file {}: must hold one word of at least {} characters", path, kTokenBytesMin));
  }
  return token;
}

struct ControlServer::Impl {
  httplib::Server server;
  std::thread thread;
  ListenAddress address;
};

ControlServer::ControlServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ControlServer::~ControlServer() {
  impl_->server.stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

const ListenAddress& ControlServer::address() const { return impl_->address; }

Result<std::unique_ptr<ControlServer>> ControlServer::Start(const ListenAddress& address,
                                                            const std::string& token,
                                                            Supervisor* supervisor) {
  if (token.empty() && !address.IsLoopback()) {
    return Status::InvalidArgument(
        fmt::format("listening on {} needs --token-file: without a token anybody on the network "
                    "could stop the application",
                    address.ToString()));
  }
  auto impl = std::make_unique<Impl>();
  httplib::Server& server = impl->server;
  SetUpServer(token, &server);
  AddRoutes(supervisor, &server);
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
  impl->thread = std::thread([raw = impl.get()] { raw->server.listen_after_bind(); });
  // A stop() before the server runs would be lost.
  while (!server.is_running()) std::this_thread::yield();
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(impl)));
}

}  // namespace snapstore::agent
