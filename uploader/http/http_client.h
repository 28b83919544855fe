// HttpClient: HTTP/1.1 over libcurl, with connections kept and used again.
//
//   HttpClient client({});
//   Result<HttpResponse> answer = client.Send({.method = "GET", .url = "https://…"});
//
// An answer of any status is a response; an error means that there is no whole answer. Nothing is
// retried and no redirect followed: that is for the caller, who knows what it asked.
//
// Errors: Timeout (no connection, or not a byte moved for the stall time), PermissionDenied (the
// server's certificate is not trusted), InvalidArgument (a URL that libcurl refuses; a body of a
// 2xx answer that is too large), Cancelled, Io (all else of the network). Messages name the host,
// never the query: that may hold a signature.
//
// Thread safety: all calls may run concurrently; each thread transfers its own requests.
#ifndef SNAPSTORE_UPLOADER_HTTP_HTTP_CLIENT_H_
#define SNAPSTORE_UPLOADER_HTTP_HTTP_CLIENT_H_

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "snapstore/status.h"
#include "uploader/http/bandwidth_limit.h"
#include "uploader/http/http.h"

namespace snapstore {

struct HttpClientOptions {
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds stall_timeout{30'000};
  std::string ca_file = {};  // PEM; empty: the system's
  bool use_proxy = true;     // the one of the environment (http_proxy, …, no_proxy)
  // May be null; they must outlive the client.
  BandwidthLimit* upload_limit = nullptr;
  BandwidthLimit* download_limit = nullptr;
  // Polled during transfers; once true, they end with Cancelled.
  std::function<bool()> cancelled = nullptr;
};

class HttpClient {
 public:
  explicit HttpClient(HttpClientOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  Result<HttpResponse> Send(const HttpRequest& request);
  // All of them at the same time, a connection each; results in the order of the requests.
  std::vector<Result<HttpResponse>> SendAll(std::span<const HttpRequest> requests);

  const HttpClientOptions& options() const { return options_; }

 private:
  class Channel;   // libcurl's handles with their open connections
  class Transfer;  // one request on its way

  std::unique_ptr<Channel> Borrow();
  void Return(std::unique_ptr<Channel> channel);

  const HttpClientOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Channel>> idle_;  // guarded by mutex_; last used last
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_HTTP_HTTP_CLIENT_H_
