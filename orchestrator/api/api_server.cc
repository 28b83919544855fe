#include "orchestrator/api/api_server.h"

#include <fmt/format.h>
#include <httplib.h>

#include <thread>

#include "base/log.h"
#include "base/status_macros.h"
#include "base/tls_certificate.h"
#include "orchestrator/api/internal/replies.h"
#include "orchestrator/dashboard/dashboard.h"

namespace snapstore::spot {
namespace {

using httplib::Request;
using httplib::Response;

constexpr const char* kJson = "application/json";
constexpr std::chrono::seconds kWriteTimeout{10};
constexpr int kUnauthorized = 401;
constexpr int kNotFound = 404;
constexpr time_t kKeepAliveSeconds = 5;
constexpr size_t kKeepAliveRequestsMax = 1000;

ApiRequest FromHttp(const Request& http) {
  ApiRequest request;
  request.method = http.method;
  request.path = http.path;
  request.target = http.target;
  request.query.insert(http.params.begin(), http.params.end());
  request.authorization = http.get_header_value("Authorization");
  request.body = http.body;
  return request;
}

void Fill(ApiResponse answer, Response* http) {
  http->status = answer.status;
  for (const auto& [name, value] : answer.headers) http->set_header(name.c_str(), value);
  if (answer.status == kUnauthorized) http->set_header("WWW-Authenticate", "Bearer");
  // set_content() would copy it.
  http->set_header("Content-Type", kJson);
  http->body = std::move(answer.body);
}

// What the library would make of some headers is of no use here.
void Adapt(httplib::Headers* headers) {
  // Without either header a request has no body (RFC 9112, section 6.3); the library would wait
  // for one of a PUT or DELETE until its time is up.
  if (!headers->contains("Content-Length") && !headers->contains("Transfer-Encoding")) {
    headers->emplace("Content-Length", "0");
  }
  // It prefers Brotli, at a level that takes three seconds of a core for the status of 2000 nodes.
  const auto accepted = headers->find("Accept-Encoding");
  if (accepted == headers->end() || accepted->second.find("br") == std::string::npos) return;
  const bool gzip = accepted->second.find("gzip") != std::string::npos;
  headers->erase("Accept-Encoding");
  if (gzip) headers->emplace("Accept-Encoding", "gzip");
}

// Whether it was the dashboard's: its files need no token, they are the same for everybody.
bool ServeDashboard(const Request& http, Response* response) {
  const auto file = FindDashboardFile(http.path);
  if (!file && !http.path.starts_with(kDashboardFolder)) return false;
  for (const auto& [name, value] : DashboardHeaders()) response->set_header(name, value);
  if (file) {
    response->set_content(file->bytes.data(), file->bytes.size(), std::string(file->content_type));
  } else {
    response->status = kNotFound;  // the error handler writes the rest
  }
  return true;
}

void SetUp(ApiService* service, size_t threads, httplib::Server* server) {
  server->new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
  server->set_payload_max_length(service->options().body_bytes_max);
  server->set_read_timeout(ApiServer::kReadTimeout);
  server->set_write_timeout(kWriteTimeout);
  server->set_keep_alive_timeout(kKeepAliveSeconds);
  server->set_keep_alive_max_count(kKeepAliveRequestsMax);
  server->set_tcp_nodelay(true);
  // The library's default lets a second controller take the same port unnoticed.
  server->set_socket_options([](socket_t fd) {
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  server->set_pre_routing_handler([](const Request& http, Response&) {
    // The library's own object, which is not const.
    Adapt(&const_cast<Request&>(http).headers);  // NOLINT
    return httplib::Server::HandlerResponse::Unhandled;
  });
  const auto handle = [service](const Request& http, Response& response) {
    Fill(service->Handle(FromHttp(http)), &response);
  };
  server->Get(".*", [handle](const Request& http, Response& response) {
    if (!ServeDashboard(http, &response)) handle(http, response);
  });
  server->Post(".*", handle);
  server->Put(".*", handle);
  server->Delete(".*", handle);
  server->set_error_handler([](const Request& http, Response& response) {
    if (!response.body.empty()) return;
    const bool unrouted = response.status == kNotFound;
    Fill(ApiService::Refuse(FromHttp(http), response.status,
                            unrouted ? ErrorCode::kRoute : ErrorCode::kBody,
                            unrouted ? fmt::format("there is no {} {}", http.method, http.path)
                                     : "the request was refused: " + StatusText(response.status)),
         &response);
  });
  server->set_exception_handler([](const Request& http, Response& response, std::exception_ptr) {
    LogError("API: {} {}: an exception left the handler", http.method, http.path);
    Fill(ApiService::Refuse(FromHttp(http), 500, ErrorCode::kGeneral, "internal error"), &response);
  });
}

}  // namespace

struct ApiServer::Impl {
  std::unique_ptr<httplib::Server> server;
  std::thread thread;
  ListenAddress address;
};

ApiServer::ApiServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ApiServer::~ApiServer() {
  impl_->server->stop();
  if (impl_->thread.joinable()) impl_->thread.join();
}

const ListenAddress& ApiServer::address() const { return impl_->address; }

Result<std::unique_ptr<ApiServer>> ApiServer::Start(const ListenAddress& address,
                                                    const ApiServerOptions& options,
                                                    ApiService* service) {
  auto impl = std::make_unique<Impl>();
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return Status::InvalidArgument("TLS needs both a certificate and its key");
  }
  if (options.certificate_file.empty()) {
    impl->server = std::make_unique<httplib::Server>();
  } else {
    SNAP_RETURN_IF_ERROR(CheckTlsFiles(options.certificate_file, options.key_file).status());
    auto server = std::make_unique<httplib::SSLServer>(options.certificate_file.c_str(),
                                                       options.key_file.c_str());
    if (server->is_valid()) RequireModernTls(server->ssl_context());
    impl->server = std::move(server);
    if (!impl->server->is_valid()) {
      return Status::InvalidArgument(
          fmt::format("TLS: {} and {} are no certificate and its key, in PEM",
                      options.certificate_file, options.key_file));
    }
  }
  SetUp(service, options.threads, impl->server.get());
  impl->address = address;
  if (address.port == 0) {
    impl->address.port = impl->server->bind_to_any_port(address.host);
  } else if (!impl->server->bind_to_port(address.host, address.port)) {
    impl->address.port = -1;
  }
  if (impl->address.port < 0) {
    return Status::Io(
        fmt::format("listen on {}: address not available or in use", address.ToString()));
  }
  impl->thread = std::thread([raw = impl.get()] { raw->server->listen_after_bind(); });
  // A stop() before the server runs would be lost.
  while (!impl->server->is_running()) std::this_thread::yield();
  return std::unique_ptr<ApiServer>(new ApiServer(std::move(impl)));
}

}  // namespace snapstore::spot
