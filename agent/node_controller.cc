#include "agent/node_controller.h"

#include <fmt/format.h>
#include <httplib.h>

#include <nlohmann/json.hpp>

namespace snapstore::agent {
namespace {

using nlohmann::json;

constexpr std::chrono::seconds kConnectTimeout{3};
constexpr std::chrono::seconds kAnswerTimeout{10};
constexpr const char* kNoInstance = "INSTANCE_DOESNT_EXIST";
constexpr size_t kControllerMessageBytesMax = 500;

Status ErrorFrom(const std::string& body, int http_status) {
  const json document = json::parse(body, nullptr, /*allow_exceptions=*/false);
  // The library reports what is missing or of another type only by exception.
  try {
    const json& first = document.at("response").at("errors").at(0);
    const auto code = first.at("code").get<std::string>();
    const std::string message =
        OneLine(fmt::format("{} ({})", first.at("message").get<std::string>(), code),
                kControllerMessageBytesMax);
    return code == kNoInstance ? Status::NotFound(message) : Status::Io(message);
  } catch (const json::exception&) {
    return http_status == 401 ? Status::PermissionDenied("the token is not accepted")
                              : Status::Io(fmt::format("HTTP {}", http_status));
  }
}

}  // namespace

struct NodeController::Impl {
  Impl(const std::string& base, std::string heartbeat_path)
      : url(base), path(std::move(heartbeat_path)), client(base) {}

  const std::string url;
  const std::string path;
  httplib::Client client;
};

NodeController::NodeController(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
NodeController::~NodeController() = default;

Result<std::unique_ptr<NodeController>> NodeController::Create(const std::string& url,
                                                               const std::string& account,
                                                               const std::string& token,
                                                               const std::string& ca_file) {
  if (!url.starts_with("http://") && !url.starts_with("https://")) {
    return Status::InvalidArgument(
        fmt::format("--controller: '{}' is no http:// or https:// URL", url));
  }
  std::string base = url;
  while (base.ends_with('/')) base.pop_back();
  auto impl = std::make_unique<Impl>(
      base, fmt::format("/aws/ec2/managedInstance/agent/heartbeat?accountId={}", account));
  if (!impl->client.is_valid()) {
    return Status::InvalidArgument(
        fmt::format("--controller: '{}' must be scheme, host and port alone", url));
  }
  impl->client.set_bearer_token_auth(token);
  impl->client.set_connection_timeout(kConnectTimeout);
  impl->client.set_read_timeout(kAnswerTimeout);
  impl->client.set_write_timeout(kAnswerTimeout);
  if (!ca_file.empty()) impl->client.set_ca_cert_path(ca_file);
  return std::unique_ptr<NodeController>(new NodeController(std::move(impl)));
}

Result<NodeOrders> NodeController::Heartbeat(const NodeHeartbeat& heartbeat) {
  const auto answer = impl_->client.Post(impl_->path, HeartbeatText(heartbeat), "application/json");
  Status failed;
  if (!answer) {
    failed = Status::Io(httplib::to_string(answer.error()));
  } else if (answer->status != 200) {
    failed = ErrorFrom(answer->body, answer->status);
  } else {
    auto orders = ParseOrders(answer->body);
    if (orders.ok()) return orders;
    failed = orders.status();
  }
  return failed.WithContext(fmt::format("controller at {}", impl_->url));
}

void NodeController::Abort() { impl_->client.stop(); }

}  // namespace snapstore::agent
