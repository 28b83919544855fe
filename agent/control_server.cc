#include "agent/control_server.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "agent/control_json.h"
#include "agent/metrics.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

using httplib::Request;
using httplib::Response;

constexpr size_t kTokenFileBytesMax = 4096;
constexpr size_t kTokenBytesMin = 16;
constexpr size_t kTriggerBytesMax = 32;
constexpr int kHttpInternalError = 500;

// False when the body is none of ours.
bool ParseStopBody(const std::string& body, bool* checkpoint) {
  *checkpoint = true;
  if (body.empty()) return true;
  const auto document = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return false;
  const auto it = document.find("checkpoint");
  if (it == document.end()) return true;
  if (!it->is_boolean()) return false;
  *checkpoint = it->get<bool>();
  return true;
}

// Why a checkpoint is wanted; nothing when the body is none of ours.
std::optional<std::string> TriggerOf(const std::string& body) {
  std::string trigger("request");
  if (body.empty()) return trigger;
  const auto document = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return std::nullopt;
  if (const auto it = document.find("trigger"); it != document.end()) {
    if (!it->is_string()) return std::nullopt;
    trigger = it->get<std::string>();
  }
  return IsTrigger(trigger) ? std::optional(trigger) : std::nullopt;
}

void AddRoutes(Supervisor* supervisor, httplib::Server* server) {
  server->Get("/status", [supervisor](const Request&, Response& response) {
    Reply(&response, 200, StatusJson(supervisor->status()));
  });
  server->Get("/checkpoints", [supervisor](const Request&, Response& response) {
    const auto stored = supervisor->StoredCheckpoints();
    if (!stored.ok()) return ReplyError(&response, kHttpInternalError, stored.status());
    Reply(&response, 200,
          CheckpointsJson(*stored, supervisor->records(), supervisor->status().kept));
  });
  server->Post("/checkpoint", [supervisor](const Request& request, Response& response) {
    const auto trigger = TriggerOf(request.body);
    if (!trigger) {
      return ReplyError(&response, 400,
                        Status::InvalidArgument("body: must be {\"trigger\": \"1 to 32 letters, "
                                                "digits, - and _\"} or empty"));
    }
    const CheckpointRecord record = supervisor->RequestCheckpoint(*trigger);
    if (!record.status.ok()) return ReplyError(&response, kHttpInternalError, record.status);
    Reply(&response, 200, RecordJson(record));
  });
  server->Post("/stop", [supervisor](const Request& request, Response& response) {
    bool checkpoint = true;
    if (!ParseStopBody(request.body, &checkpoint)) {
      return ReplyError(
          &response, 400,
          Status::InvalidArgument("body: must be {\"checkpoint\": true or false} or empty"));
    }
    const Status stopped = supervisor->RequestStop(checkpoint);
    if (!stopped.ok()) return ReplyError(&response, kHttpInternalError, stopped);
    Reply(&response, 200, StatusJson(supervisor->status()));
  });
  server->Post("/detach", [supervisor](const Request&, Response& response) {
    const Status detached = supervisor->RequestDetach();
    if (!detached.ok()) return ReplyError(&response, kHttpInternalError, detached);
    Reply(&response, 200, StatusJson(supervisor->status()));
  });
  server->Get("/metrics", [supervisor](const Request&, Response& response) {
    response.set_content(MetricsText(supervisor->status()), "text/plain; version=0.0.4");
  });
}

}  // namespace

Result<std::string> ReadTokenFile(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes, ReadWholeFile(path, kTokenFileBytesMax));
  std::string_view token = AsText(bytes);
  while (token.ends_with('\n') || token.ends_with('\r')) token.remove_suffix(1);
  if (token.size() < kTokenBytesMin || token.find_first_of(" \t\r\n") != std::string_view::npos) {
    return Status::InvalidArgument(fmt::format(
        "token file {}: must hold one word of at least {} characters", path, kTokenBytesMin));
  }
  return std::string(token);
}

bool IsTrigger(const std::string& text) {
  return !text.empty() && text.size() <= kTriggerBytesMax &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (std::isalnum(c) != 0 && c < 0x80) || c == '-' || c == '_';
         });
}

Result<std::unique_ptr<ControlServer>> ControlServer::Start(const ControlOptions& control,
                                                            Supervisor* supervisor) {
  TokenServer::Options options;
  options.address = control.address;
  options.token = control.token;
  options.certificate_file = control.certificate_file;
  options.key_file = control.key_file;
  SNAP_ASSIGN_OR_RETURN(auto server,
                        TokenServer::Start(options, [supervisor](httplib::Server* routes) {
                          AddRoutes(supervisor, routes);
                        }));
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(server)));
}

}  // namespace snapstore::agent
