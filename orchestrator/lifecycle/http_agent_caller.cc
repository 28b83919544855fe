#include "orchestrator/lifecycle/http_agent_caller.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>

#include "base/status_macros.h"
#include "base/tls_certificate.h"
#include "orchestrator/model/json.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kMsOfSecond = 1000;
constexpr time_t kConnectSeconds = 3;
constexpr int64_t kShortMs = 10'000;

std::string TextAt(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

Result<Json> HttpAgentCaller::Call(const AgentRecord& agent, const std::string& method,
                                   const std::string& path, const Json& body, int64_t deadline_ms) {
  const std::string what = fmt::format("agent at {}: {} {}", agent.address, method, path);
  const bool tls = agent.tls_fingerprint.has_value();
  CertificatePin pin{agent.tls_fingerprint.value_or("")};
  httplib::Client client((tls ? "https://" : "http://") + agent.address);
  if (!client.is_valid()) return Status::InvalidArgument(what + ": not an address");
  if (tls) {
    client.enable_server_certificate_verification(false);
    PinCertificate(client.ssl_context(), &pin);
  }
  client.set_connection_timeout(
      std::min<time_t>(kConnectSeconds, static_cast<time_t>(deadline_ms / kMsOfSecond + 1)));
  client.set_read_timeout(static_cast<time_t>(deadline_ms / kMsOfSecond + 1));
  httplib::Request request;
  request.method = method;
  request.path = path;
  request.set_header("Authorization", "Bearer " + agent.control_token);
  if (!body.is_null()) {
    request.body = JsonText(body);
    request.set_header("Content-Type", "application/json");
  }
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_) return Status::Cancelled(what + ": abandoned");
    under_way_.insert(&client);
  }
  const auto answer = client.send(request);
  {
    const std::lock_guard lock(mutex_);
    under_way_.erase(&client);
    if (!answer && abandoned_) return Status::Cancelled(what + ": abandoned");
  }
  if (pin.refused) {
    return Status::PermissionDenied(what + ": shows another certificate than the agent reported");
  }
  if (!answer) {
    const bool late = answer.error() == httplib::Error::Read;
    return Status(late ? StatusCode::kTimeout : StatusCode::kIo,
                  fmt::format("{}: {}", what, httplib::to_string(answer.error())));
  }
  if (answer->status == 401 || answer->status == 403) {
    return Status::PermissionDenied(what + ": refused");
  }
  auto document = ParseJson(answer->body);
  if (answer->status / 100 != 2) {
    const std::string message =
        document.ok() && document->is_object() ? document->value("message", "") : "";
    return Status::Io(fmt::format("{}: HTTP {} {}", what, answer->status, message));
  }
  if (!document.ok() || !document->is_object()) {
    return Status::Io(what + ": the answer is no JSON object");
  }
  return document;
}

Result<std::vector<AgentOutcome>> HttpAgentCaller::Stop(const AgentRecord& agent,
                                                        int64_t deadline_ms) {
  const Json body = {{"checkpoint", true},
                     {"deadlineSeconds", std::max<int64_t>(1, deadline_ms / kMsOfSecond)}};
  SNAP_ASSIGN_OR_RETURN(const Json answer, Call(agent, "POST", "/stop", body, deadline_ms));
  std::vector<AgentOutcome> outcomes;
  const auto list = answer.find("applications");
  if (list == answer.end() || !list->is_array()) {
    return Status::Io(fmt::format("agent at {}: says nothing of applications", agent.address));
  }
  for (const Json& one : *list) {
    if (!one.is_object()) continue;
    outcomes.push_back(
        {TextAt(one, "configId"), TextAt(one, "checkpointId"), TextAt(one, "error")});
  }
  return outcomes;
}

Status HttpAgentCaller::StartShutdownScript(const AgentRecord& agent, const std::string& script) {
  return Call(agent, "POST", "/shutdown-script", {{"script", script}}, kShortMs).status();
}

Result<std::optional<int>> HttpAgentCaller::PollShutdownScript(const AgentRecord& agent) {
  SNAP_ASSIGN_OR_RETURN(const Json answer,
                        Call(agent, "GET", "/shutdown-script", Json(), kShortMs));
  if (TextAt(answer, "state") != "done") return std::optional<int>();
  const auto code = answer.find("exitCode");
  const bool known = code != answer.end() && code->is_number_integer();
  return std::optional<int>(known ? code->get<int>() : -1);
}

void HttpAgentCaller::Abandon() {
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  for (httplib::Client* client : under_way_) client->stop();
}

}  // namespace snapstore::spot
