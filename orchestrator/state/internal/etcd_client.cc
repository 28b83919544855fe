#include "orchestrator/state/internal/etcd_client.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <charconv>

#include "base/base64.h"
#include "base/status_macros.h"

namespace snapstore::spot {
namespace {

using nlohmann::json;

constexpr size_t kAnswerBytesMax = 64 << 20;
constexpr int kHttpOk = 200;

std::string BodyText(const HttpResponse& response) {
  const json document = json::parse(AsText(response.body), nullptr, /*allow_exceptions=*/false);
  if (document.is_object() && document.contains("message") && document["message"].is_string()) {
    return document["message"].get<std::string>();
  }
  return fmt::format("HTTP {}", response.status);
}

// Cuts complete lines, each a message, off the front of what has arrived.
class Lines {
 public:
  void Add(std::string_view bytes) { text_ += bytes; }
  std::optional<json> Next() {
    const size_t end = text_.find('\n');
    if (end == std::string::npos) return std::nullopt;
    json message = json::parse(text_.substr(0, end), nullptr, /*allow_exceptions=*/false);
    text_.erase(0, end + 1);
    return message;
  }
  size_t size() const { return text_.size(); }

 private:
  std::string text_;
};

}  // namespace

uint64_t EtcdNumber(const json& object, const char* member) {
  const auto it = object.find(member);
  if (it == object.end()) return 0;
  if (it->is_number_unsigned()) return it->get<uint64_t>();
  if (!it->is_string()) return 0;
  const auto& text = it->get_ref<const std::string&>();
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::string EtcdBytes(const json& object, const char* member) {
  const auto it = object.find(member);
  if (it == object.end() || !it->is_string()) return "";
  auto bytes = Base64Decode(it->get_ref<const std::string&>());
  return bytes.ok() ? *std::move(bytes) : "";
}

std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(prefix.back() + 1);
  return prefix;
}

EtcdClient::EtcdClient(const EtcdOptions& options)
    : options_(options),
      http_({.connect_timeout = options.timeout,
             .stall_timeout = options.timeout,
             .ca_file = options.ca_file,
             .use_proxy = false}) {}

Result<json> EtcdClient::Call(const std::string& path, const json& request, bool may_repeat) {
  const std::string body = request.dump();
  const ByteSpan part = AsBytes(body);
  Status failure = Status::Io("etcd: no endpoint");
  const size_t first = preferred_;
  for (size_t i = 0; i < options_.endpoints.size(); ++i) {
    const size_t at = (first + i) % options_.endpoints.size();
    const HttpRequest post{.method = "POST",
                           .url = options_.endpoints[at] + path,
                           .headers = {{"content-type", "application/json"}},
                           .body = {&part, 1},
                           .into = {},
                           .body_max = kAnswerBytesMax};
    const auto response = http_.Send(post);
    if (!response.ok()) {
      failure = response.status().WithContext(fmt::format("etcd {}", options_.endpoints[at]));
      if (may_repeat) continue;
      return failure;
    }
    preferred_ = at;
    if (response->status != kHttpOk) {
      const std::string text =
          fmt::format("etcd {}: {}: {}", options_.endpoints[at], path, BodyText(*response));
      if (response->status == HttpStatus::kBadRequest) return Status::InvalidArgument(text);
      if (response->status == HttpStatus::kNotFound) return Status::NotFound(text);
      failure = Status::Io(text);
      if (may_repeat) continue;
      return failure;
    }
    json document = json::parse(AsText(response->body), nullptr, /*allow_exceptions=*/false);
    if (!document.is_object()) {
      return Status::Io(fmt::format("etcd {}: {}: answered something else than JSON",
                                    options_.endpoints[at], path));
    }
    return document;
  }
  return failure;
}

Result<json> EtcdClient::FirstOf(const std::string& path, const json& request,
                                 std::chrono::milliseconds timeout,
                                 const std::function<bool(const json&)>& wanted) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  Status failure = Status::Io("etcd: no endpoint");
  const size_t first = preferred_;
  for (size_t i = 0; i < options_.endpoints.size(); ++i) {
    const size_t at = (first + i) % options_.endpoints.size();
    auto message = FirstOfStream(options_.endpoints[at], path, request.dump(), deadline, wanted);
    if (message.ok()) {
      preferred_ = at;
      return message;
    }
    failure = message.status();
  }
  return failure;
}

Result<json> EtcdClient::FirstOfStream(const std::string& endpoint, const std::string& path,
                                       const std::string& body,
                                       std::chrono::steady_clock::time_point deadline,
                                       const std::function<bool(const json&)>& wanted) {
  using std::chrono::steady_clock;
  // libcurl's wrapper collects whole answers; a stream has no end.
  httplib::Client client(endpoint);
  // httplib drops what is less than a millisecond: silence would end before the deadline.
  const auto left =
      std::max(std::chrono::milliseconds(0),
               std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now())) +
      std::chrono::milliseconds(1);
  client.set_connection_timeout(options_.timeout);
  client.set_read_timeout(left);
  if (!options_.ca_file.empty()) client.set_ca_cert_path(options_.ca_file.c_str());
  Lines lines;
  json found;
  httplib::Request post;
  post.method = "POST";
  post.path = path;
  post.body = body;
  post.set_header("Content-Type", "application/json");
  post.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    lines.Add({data, size});
    while (const auto message = lines.Next()) {
      if (!wanted(*message)) continue;
      found = *message;
      return false;
    }
    return lines.size() <= kAnswerBytesMax && steady_clock::now() < deadline;
  };
  const httplib::Result result = client.send(post);
  if (!found.is_null()) return found;
  if (result && result->status != kHttpOk) {
    return Status::Io(fmt::format("etcd {}: {}: HTTP {}", endpoint, path, result->status));
  }
  if (steady_clock::now() >= deadline) return json();
  return Status::Io(fmt::format("etcd {}: {}: the stream broke off: {}", endpoint, path,
                                httplib::to_string(result.error())));
}

}  // namespace snapstore::spot
