// ApiServer: the Spot API and the dashboard over HTTP/1.1, with TLS when it is given a certificate.
//
// A connection that sends nothing is dropped after kReadTimeout; requests have limits on their
// line, headers and body (ApiOptions). Answers, but for the dashboard's files, are always JSON in
// the API's envelope, also for what is refused before it reaches a handler.
#ifndef SNAPSTORE_ORCHESTRATOR_API_API_SERVER_H_
#define SNAPSTORE_ORCHESTRATOR_API_API_SERVER_H_

#include <chrono>
#include <memory>
#include <string>

#include "base/listen_address.h"
#include "orchestrator/api/api_service.h"

namespace snapstore::spot {

struct ApiServerOptions {
  std::string certificate_file = {};  // PEM, with the chain; empty: no TLS
  std::string key_file = {};          // PEM
  size_t threads = 32;                // connections served at once
};

class ApiServer {
 public:
  static constexpr std::chrono::seconds kReadTimeout{10};

  // Listens and serves in threads of its own until destroyed. Io: the address cannot be taken.
  // InvalidArgument: certificate or key are missing or unfit. `service` must outlive it.
  static Result<std::unique_ptr<ApiServer>> Start(const ListenAddress& address,
                                                  const ApiServerOptions& options,
                                                  ApiService* service);
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  // With the port that was really taken.
  const ListenAddress& address() const;

 private:
  struct Impl;
  explicit ApiServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_API_API_SERVER_H_
