#include "tools/snapstore_agent/running_agent.h"

#include <fmt/format.h>
#include <httplib.h>

#include "agent/control_server.h"
#include "agent/state_files.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;

// A checkpoint of a large application may take that long.
constexpr int kAnswerTimeoutSeconds = 3600;

// The code the agent named, so that the exit code is the same as if the work had been done here.
Status ErrorFrom(const json& document, int http_status) {
  const std::string code = document.value("code", "");
  const std::string message = document.value("message", fmt::format("HTTP {}", http_status));
  for (int i = 1; i <= static_cast<int>(StatusCode::kInternal); ++i) {
    const auto candidate = static_cast<StatusCode>(i);
    if (StatusCodeName(candidate) == code) return {candidate, message};
  }
  return Status::Io(message);
}

}  // namespace

void RunningAgent::AddOptions(CLI::App* app) {
  auto* listen = app->add_option("--listen", listen_,
                                 fmt::format("Address of the agent's control interface; else {}",
                                             kDefaultListen))
                     ->type_name("ADDR:PORT");
  app->add_option("--state-dir", state_directory_,
                  "State directory of the agent, where its address is found")
      ->type_name("DIR")
      ->excludes(listen);
  app->add_option("--token-file", token_file_, "The agent's bearer token")->type_name("FILE");
}

Result<std::string> RunningAgent::Address() const {
  if (!listen_.empty()) return listen_;
  if (state_directory_.empty()) return std::string(kDefaultListen);
  SNAP_ASSIGN_OR_RETURN(AgentFile file, ReadAgentFile(state_directory_));
  return std::move(file.listen);
}

Result<json> RunningAgent::Call(bool post, const std::string& path, const std::string& body) const {
  SNAP_ASSIGN_OR_RETURN(const std::string text, Address());
  SNAP_ASSIGN_OR_RETURN(const ListenAddress address, ListenAddress::Parse(text));
  httplib::Client client(address.host, address.port);
  client.set_read_timeout(kAnswerTimeoutSeconds);
  if (!token_file_.empty()) {
    SNAP_ASSIGN_OR_RETURN(const std::string token, ReadTokenFile(token_file_));
    client.set_bearer_token_auth(token);
  }
  const httplib::Result result =
      post ? client.Post(path, body, "application/json") : client.Get(path);
  if (!result) {
    return Status::Io(fmt::format("agent at {}: {}: is it running?", address.ToString(),
                                  httplib::to_string(result.error())));
  }
  json document = json::parse(result->body, nullptr, false);
  if (!document.is_object()) {
    return Status::Io(fmt::format("agent at {}: answered something else than JSON (HTTP {})",
                                  address.ToString(), result->status));
  }
  if (result->status != 200) return ErrorFrom(document, result->status);
  return document;
}

Result<json> RunningAgent::Get(const std::string& path) const { return Call(false, path, ""); }

Result<json> RunningAgent::Post(const std::string& path, const std::string& body) const {
  return Call(true, path, body);
}

}  // namespace snapstore::agent
