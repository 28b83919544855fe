#include "agent/node_metadata.h"

#include <fmt/format.h>
#include <httplib.h>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kTimeout{2};
constexpr const char* kTokenHeader = "X-aws-ec2-metadata-token";
constexpr const char* kTokenSeconds = "21600";
constexpr size_t kTokenBytesMax = 1024;

httplib::Client ClientOf(const std::string& url) {
  httplib::Client client(url);
  client.set_connection_timeout(kTimeout);
  client.set_read_timeout(kTimeout);
  client.set_write_timeout(kTimeout);
  return client;
}

Status NoAnswer(const std::string& url, httplib::Error error) {
  return Status::Io(fmt::format("metadata service at {}: {}", url, httplib::to_string(error)));
}

std::string MetadataTextOf(const json& object, const char* member) {
  const auto it = object.find(member);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

}  // namespace

Result<std::string> NodeMetadata::Token(const std::string& refused) {
  const std::lock_guard lock(mutex_);
  if (refused.empty() && (without_token_ || !token_.empty())) return token_;
  if (!refused.empty() && token_ != refused) return token_;  // renewed by somebody else
  httplib::Client client = ClientOf(url_);
  const auto answer = client.Put("/latest/api/token",
                                 {{"X-aws-ec2-metadata-token-ttl-seconds", kTokenSeconds}}, "", "");
  if (!answer) return NoAnswer(url_, answer.error());
  if (answer->status == 200 && !answer->body.empty() && answer->body.size() <= kTokenBytesMax &&
      answer->body.find_first_of("\r\n") == std::string::npos) {
    token_ = answer->body;
    without_token_ = false;
    return token_;
  }
  // What a service does that never heard of tokens.
  if (answer->status == 404 || answer->status == 405 || answer->status == 501) {
    token_.clear();
    without_token_ = true;
    return token_;
  }
  return Status::Io(
      fmt::format("metadata service at {}: HTTP {} in place of a token", url_, answer->status));
}

Result<std::optional<std::string>> NodeMetadata::Get(const std::string& name) {
  std::string refused;
  while (true) {
    SNAP_ASSIGN_OR_RETURN(const std::string token, Token(refused));
    httplib::Headers headers;
    if (!token.empty()) headers.emplace(kTokenHeader, token);
    httplib::Client client = ClientOf(url_);
    const auto answer = client.Get("/latest/meta-data/" + name, headers);
    if (!answer) return NoAnswer(url_, answer.error());
    if (answer->status == 200) return std::optional(answer->body);
    if (answer->status == 404) return std::optional<std::string>();
    if (answer->status != 401 || token.empty() || !refused.empty()) {
      return Status::Io(
          fmt::format("metadata service at {}: HTTP {} for {}", url_, answer->status, name));
    }
    refused = token;
  }
}

Result<std::optional<NodeNotice>> NodeMetadata::Interruption() {
  SNAP_ASSIGN_OR_RETURN(const auto action, Get("spot/instance-action"));
  if (action) {
    const json document = json::parse(*action, nullptr, /*allow_exceptions=*/false);
    NodeNotice notice{"terminate", ""};
    if (document.is_object()) {
      const std::string told = MetadataTextOf(document, "action");
      if (told == "stop" || told == "hibernate") notice.action = told;
      notice.time = MetadataTextOf(document, "time");
    }
    return std::optional(notice);
  }
  // Older, and may stay there with a time that has passed although nothing happened.
  SNAP_ASSIGN_OR_RETURN(const auto time, Get("spot/termination-time"));
  if (!time) return std::optional<NodeNotice>();
  const auto when = ParseTime(*time);
  if (!when.ok() || *when < WallNanos()) return std::optional<NodeNotice>();
  return std::optional(NodeNotice{"terminate", *time});
}

Result<std::optional<NodeNotice>> NodeMetadata::Rebalance() {
  SNAP_ASSIGN_OR_RETURN(const auto text, Get("events/recommendations/rebalance"));
  if (!text) return std::optional<NodeNotice>();
  const json document = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  return std::optional(
      NodeNotice{"rebalance", document.is_object() ? MetadataTextOf(document, "noticeTime") : ""});
}

}  // namespace snapstore::agent
