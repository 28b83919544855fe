#include "uploader/aws/imds.h"

#include "base/log.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr const char* kDefaultEndpoint = "http://169.254.169.254";
constexpr const char* kTokenSeconds = "21600";
// The service is one hop away: it answers at once or it is not there.
constexpr std::chrono::milliseconds kConnectTimeout{1000};
constexpr std::chrono::milliseconds kStallTimeout{2000};
constexpr int kAttempts = 3;

std::string WithoutTrailingSlash(std::string text) {
  while (text.ends_with('/')) text.pop_back();
  return text;
}

}  // namespace

Imds::Imds(std::string endpoint)
    : endpoint_(endpoint.empty() ? kDefaultEndpoint : WithoutTrailingSlash(std::move(endpoint))),
      client_({.connect_timeout = kConnectTimeout,
               .stall_timeout = kStallTimeout,
               .use_proxy = false}) {}

Result<std::string> Imds::NewToken() {
  const HttpRequest request{.method = "PUT",
                            .url = endpoint_ + "/latest/api/token",
                            .headers = {{"X-aws-ec2-metadata-token-ttl-seconds", kTokenSeconds}}};
  Result<HttpResponse> response = client_.Send(request);
  if (!response.ok()) {
    // Over a container's bridge the answer needs a second hop, and is dropped without it.
    const bool silent = response.status().Is(StatusCode::kTimeout);
    return Status::Unsupported("no instance metadata at " + endpoint_ + ": " +
                               response.status().message() +
                               (silent ? " (in a container, the instance's metadata option "
                                         "HttpPutResponseHopLimit must be 2)"
                                       : ""));
  }
  if (response->status == HttpStatus::kForbidden) {
    return Status::Unsupported("instance metadata is switched off (" + endpoint_ + ")");
  }
  if (!response->Successful() || response->body.empty()) {
    return Status::Io(endpoint_ + " answers " + std::to_string(response->status) +
                      " to a request for a token");
  }
  std::string token(AsText(response->body));
  HideInLogs(token);
  return token;
}

Result<std::string> Imds::Get(const std::string& path) {
  Status failure;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::string token;
    {
      const std::lock_guard lock(mutex_);
      if (token_.empty()) {
        SNAP_ASSIGN_OR_RETURN(token_, NewToken());
      }
      token = token_;
    }
    Result<HttpResponse> response =
        client_.Send({.url = endpoint_ + path, .headers = {{"X-aws-ec2-metadata-token", token}}});
    if (!response.ok()) {
      failure = response.status();
      continue;
    }
    if (response->Successful()) return std::string(AsText(response->body));
    const std::string what =
        path + ": instance metadata answers " + std::to_string(response->status);
    if (response->status == HttpStatus::kNotFound) return Status::NotFound(what);
    failure = Status::Io(what);
    const std::lock_guard lock(mutex_);
    if (response->status == HttpStatus::kUnauthorized && token_ == token) token_.clear();
  }
  return failure;
}

}  // namespace snapstore
