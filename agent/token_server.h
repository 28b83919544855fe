// TokenServer: an HTTP server, with TLS when it is given a certificate, whose requests need
// "Authorization: Bearer <token>", in threads of its own. Errors are answered as JSON (ErrorJson).
//
// Thread safety: routes are called concurrently.
#ifndef SNAPSTORE_AGENT_TOKEN_SERVER_H_
#define SNAPSTORE_AGENT_TOKEN_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "base/listen_address.h"

namespace httplib {
class Server;
struct Response;
}  // namespace httplib

namespace snapstore::agent {

class TokenServer {
 public:
  struct Options {
    ListenAddress address;
    std::string token;      // empty: none is needed; then only on a loopback address
    std::string open_path;  // may be got without the token; empty: nothing may
    size_t body_bytes_max = 64 << 10;
    std::string certificate_file;  // PEM, with its chain; empty: plain HTTP
    std::string key_file;          // PEM
  };

  // `add_routes` is called once, before the first request. What the routes use must outlive the
  // server. InvalidArgument: neither token nor loopback address; certificate or key unfit.
  static Result<std::unique_ptr<TokenServer>> Start(
      const Options& options, const std::function<void(httplib::Server*)>& add_routes);
  // Waits for requests under way.
  ~TokenServer();

  // With the port that was really taken.
  const ListenAddress& address() const;
  // SHA-256 of the certificate; empty: plain HTTP.
  const std::string& fingerprint() const;
  // "https://10.0.0.7:9527"
  std::string url() const;

 private:
  struct Impl;
  explicit TokenServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// `body`: JSON.
void Reply(httplib::Response* response, int code, const std::string& body);
void ReplyError(httplib::Response* response, int code, const Status& status);

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_TOKEN_SERVER_H_
