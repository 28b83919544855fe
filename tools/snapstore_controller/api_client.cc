#include "tools/snapstore_controller/api_client.h"

#include <fmt/format.h>
#include <httplib.h>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::spot {
namespace {

constexpr size_t kTokenFileBytesMax = 4096;

Status ErrorFrom(const Json& document, int http_status) {
  const Json response = document.value("response", Json::object());
  std::string text;
  for (const Json& error : response.value("errors", Json::array())) {
    text += (text.empty() ? "" : "; ") +
            fmt::format("{} ({})", error.value("message", ""), error.value("code", ""));
  }
  if (http_status == 401 || http_status == 403) {
    return Status::PermissionDenied(text.empty() ? "the token is not accepted" : text);
  }
  if (http_status == 429) return Status::Throttled("the rate limit is exceeded");
  return Status::Io(text.empty() ? fmt::format("HTTP {}", http_status) : text);
}

}  // namespace

void ApiClient::AddOptions(CLI::App* app) {
  app->add_option("--url", url_, "The controller's address")
      ->type_name("URL")
      ->capture_default_str();
  app->add_option("--token-file", token_file_, "The token; else it is taken from SPOTINST_TOKEN")
      ->type_name("FILE");
  app->add_option("--account", account_, "The account; else the token's first")
      ->type_name("act-ID")
      ->envname("SPOTINST_ACCOUNT");
}

Result<std::string> ApiClient::Token() const {
  std::string token;
  if (!token_file_.empty()) {
    SNAP_ASSIGN_OR_RETURN(const Bytes bytes, ReadWholeFile(token_file_, kTokenFileBytesMax));
    token = AsText(bytes);
  } else if (const char* text = getenv("SPOTINST_TOKEN"); text != nullptr) {
    token = text;
  }
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  if (!token.empty()) return token;
  return Status::InvalidArgument("no token: give --token-file or set SPOTINST_TOKEN");
}

Result<Json> ApiClient::Call(const std::string& method, const std::string& path,
                             const std::string& query) const {
  SNAP_ASSIGN_OR_RETURN(const std::string token, Token());
  if (!url_.starts_with("http://") && !url_.starts_with("https://")) {
    return Status::InvalidArgument(fmt::format("--url: '{}' is no http or https URL", url_));
  }
  httplib::Client client(url_);
  client.set_bearer_token_auth(token);
  httplib::Request request;
  request.method = method;
  request.path = path + "?" + (account_.empty() ? "" : "accountId=" + account_ + "&") + query;
  request.set_header("Content-Type", "application/json");
  const httplib::Result result = client.send(request);
  if (!result) {
    return Status::Io(fmt::format("controller at {}: {}: is it running?", url_,
                                  httplib::to_string(result.error())));
  }
  const Json document = Json::parse(result->body, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return Status::Io(fmt::format("controller at {}: answered something else than JSON (HTTP {})",
                                  url_, result->status));
  }
  if (result->status != 200) return ErrorFrom(document, result->status);
  const Json response = document.value("response", Json::object());
  return response.value("items", Json());
}

}  // namespace snapstore::spot
