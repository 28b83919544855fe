#include "agent/node_server.h"

#include <fmt/format.h>
#include <httplib.h>

#include <nlohmann/json.hpp>

#include "agent/control_server.h"
#include "agent/metrics.h"
#include "base/base64.h"

namespace snapstore::agent {
namespace {

using httplib::Request;
using httplib::Response;
using nlohmann::json;

constexpr double kDeadlineSeconds = 60;
constexpr double kDeadlineSecondsMax = 3600;
constexpr size_t kScriptBytesMax = 64 << 10;

std::string AnswerLine(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

// An object with no members but those named; nothing is as good as {}.
Result<json> ParseBody(const std::string& body, std::initializer_list<std::string_view> members) {
  if (body.empty()) return json::object();
  json document = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return Status::InvalidArgument("body: must be a JSON object");
  for (const auto& [name, value] : document.items()) {
    if (std::find(members.begin(), members.end(), name) == members.end()) {
      return Status::InvalidArgument(fmt::format("body: unknown field '{}'", name.substr(0, 64)));
    }
  }
  return document;
}

Status Bad(std::string_view field, std::string_view rule) {
  return Status::InvalidArgument(fmt::format("{}: must be {}", field, rule));
}

std::string OutcomesText(const std::vector<NodeOutcome>& outcomes) {
  json list = json::array();
  for (const NodeOutcome& one : outcomes) {
    json entry = {{"configId", one.config_id}};
    if (one.error.empty()) {
      entry["checkpointId"] = one.checkpoint_id;
    } else {
      entry["error"] = one.error;
    }
    list.push_back(std::move(entry));
  }
  return AnswerLine({{"message_type", "checkpoints"}, {"applications", std::move(list)}});
}

void TakeCheckpoint(NodeApplications* applications, const Request& request, Response* response) {
  const auto body = ParseBody(request.body, {"trigger"});
  if (!body.ok()) return ReplyError(response, 400, body.status());
  const json trigger = body->value("trigger", json("request"));
  if (!trigger.is_string() || !IsTrigger(trigger.get<std::string>())) {
    return ReplyError(response, 400, Bad("trigger", "1 to 32 letters, digits, - and _"));
  }
  Reply(response, 200, OutcomesText(applications->Checkpoint(trigger.get<std::string>())));
}

void Stop(const NodeRoutes& routes, const Request& request, Response* response) {
  const auto body = ParseBody(request.body, {"checkpoint", "deadlineSeconds"});
  if (!body.ok()) return ReplyError(response, 400, body.status());
  const json checkpoint = body->value("checkpoint", json(true));
  if (!checkpoint.is_boolean()) {
    return ReplyError(response, 400, Bad("checkpoint", "true or false"));
  }
  const json deadline = body->value("deadlineSeconds", json(kDeadlineSeconds));
  const double deadline_seconds = deadline.is_number() ? deadline.get<double>() : -1;
  if (!(deadline_seconds > 0 && deadline_seconds <= kDeadlineSecondsMax)) {
    return ReplyError(response, 400, Bad("deadlineSeconds", "above 0 and at most 3600"));
  }
  const std::chrono::milliseconds limit(static_cast<int64_t>(deadline_seconds * 1000));
  routes.begin_stop(checkpoint.get<bool>(), limit);
  const auto outcomes = routes.applications->Stop(checkpoint.get<bool>(), limit);
  if (!outcomes.ok()) return ReplyError(response, 504, outcomes.status());
  Reply(response, 200, OutcomesText(*outcomes));
}

void StartScript(NodeScript* script, const Request& request, Response* response) {
  const auto body = ParseBody(request.body, {"script"});
  if (!body.ok()) return ReplyError(response, 400, body.status());
  const json text = body->value("script", json());
  const auto decoded = text.is_string() ? Base64Decode(text.get_ref<const std::string&>())
                                        : Status::InvalidArgument("");
  if (!decoded.ok() || !decoded->starts_with("#!") || decoded->size() > kScriptBytesMax) {
    return ReplyError(response, 400, Bad("script", "base64 of at most 64 KiB that begin with #!"));
  }
  if (script == nullptr) {
    return ReplyError(response, 503, Status::Throttled("the instance is not known yet"));
  }
  const Status started = script->Start(*decoded);
  if (!started.ok()) return ReplyError(response, 500, started);
  Reply(response, 202, AnswerLine({{"message_type", "shutdown_script"}, {"state", "started"}}));
}

void ShowScript(const NodeScript* script, Response* response) {
  const NodeScript::Standing standing =
      script == nullptr ? NodeScript::Standing() : script->standing();
  json document = {{"message_type", "shutdown_script"}};
  switch (standing.state) {
    case NodeScript::State::kNone:
      document["state"] = "none";
      break;
    case NodeScript::State::kRunning:
      document["state"] = "running";
      break;
    case NodeScript::State::kDone:
      document["state"] = "done";
      document["exitCode"] = standing.exit_code;
      break;
  }
  Reply(response, 200, AnswerLine(document));
}

}  // namespace

void AddNodeRoutes(const NodeRoutes& routes, httplib::Server* server) {
  NodeApplications* const applications = routes.applications;
  server->Get(kNodeStatusPath, [routes](const Request&, Response& response) {
    Reply(&response, 200, routes.status());
  });
  server->Post("/checkpoint", [applications](const Request& request, Response& response) {
    TakeCheckpoint(applications, request, &response);
  });
  server->Post("/stop", [routes](const Request& request, Response& response) {
    Stop(routes, request, &response);
  });
  server->Post("/shutdown-script", [routes](const Request& request, Response& response) {
    StartScript(routes.script(), request, &response);
  });
  server->Get("/shutdown-script", [routes](const Request&, Response& response) {
    ShowScript(routes.script(), &response);
  });
  server->Get("/metrics", [applications](const Request&, Response& response) {
    response.set_content(NodeMetricsText(applications->Reports()), "text/plain; version=0.0.4");
  });
}

}  // namespace snapstore::agent
