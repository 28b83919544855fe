#include "agent/state_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/status_macros.h"
#include "base/tls_certificate.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;

constexpr size_t kFileBytesMax = 1 << 20;

std::string AgentPath(const std::string& state_directory) {
  return state_directory + "/agent.json";
}
std::string VerifiedPath(const std::string& state_directory) {
  return state_directory + "/verified.json";
}
std::string RunningPath(const std::string& state_directory) {
  return state_directory + "/running.json";
}
std::string ClaimPath(const std::string& state_directory) {
  return state_directory + "/claim.json";
}
std::string EndedPath(const std::string& state_directory) {
  return state_directory + "/ended.json";
}

Status Write(const std::string& path, const json& document) {
  const std::string text = document.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  return ReplaceFile(path, AsBytes(text), 0644);
}

Result<json> Read(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes, ReadWholeFile(path, kFileBytesMax));
  json document = json::parse(AsText(bytes), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return Status::Corruption(fmt::format("{}: damaged", path));
  return document;
}

}  // namespace

Status WriteAgentFile(const std::string& state_directory, const std::string& listen,
                      const std::string& fingerprint) {
  json document = {{"listen", listen}, {"pid", getpid()}};
  if (!fingerprint.empty()) document["tls_fingerprint"] = fingerprint;
  return Write(AgentPath(state_directory), document);
}

Result<AgentFile> ReadAgentFile(const std::string& state_directory) {
  const auto document = Read(AgentPath(state_directory));
  if (!document.ok()) {
    if (!document.status().Is(StatusCode::kNotFound)) return document.status();
    return Status::NotFound(fmt::format("{}: no agent is running there", state_directory));
  }
  const auto listen = document->find("listen");
  const auto pid = document->find("pid");
  if (listen == document->end() || !listen->is_string() || pid == document->end() ||
      !pid->is_number_integer()) {
    return Status::Corruption(fmt::format("{}: damaged", AgentPath(state_directory)));
  }
  AgentFile file{listen->get<std::string>(), pid->get<int>()};
  if (const auto it = document->find("tls_fingerprint"); it != document->end()) {
    if (!it->is_string() || !IsFingerprint(it->get<std::string>())) {
      return Status::Corruption(fmt::format("{}: damaged", AgentPath(state_directory)));
    }
    file.fingerprint = it->get<std::string>();
  }
  return file;
}

void RemoveAgentFile(const std::string& state_directory) {
  (void)unlink(AgentPath(state_directory).c_str());
}

Status WriteEndedFile(const std::string& state_directory, const std::string& how) {
  return Write(EndedPath(state_directory), {{"ended", how}});
}

std::optional<std::string> ReadEndedFile(const std::string& state_directory) {
  const auto document = Read(EndedPath(state_directory));
  if (!document.ok()) return std::nullopt;
  const auto how = document->find("ended");
  if (how == document->end() || !how->is_string()) return std::nullopt;
  return how->get<std::string>();
}

Status WriteRunningFile(const std::string& state_directory, const RunningFile& running) {
  return Write(RunningPath(state_directory), {{"run_cmd", running.run_cmd},
                                              {"started_ns", running.started_ns},
                                              {"restored_from", running.restored_from}});
}

RunningFile ReadRunningFile(const std::string& state_directory) {
  RunningFile running;
  const auto document = Read(RunningPath(state_directory));
  if (!document.ok()) return running;
  if (const auto it = document->find("run_cmd"); it != document->end() && it->is_string()) {
    running.run_cmd = it->get<std::string>();
  }
  if (const auto it = document->find("started_ns");
      it != document->end() && it->is_number_integer()) {
    running.started_ns = it->get<int64_t>();
  }
  if (const auto it = document->find("restored_from"); it != document->end() && it->is_string()) {
    running.restored_from = it->get<std::string>();
  }
  return running;
}

bool HasRunningFile(const std::string& state_directory) {
  return access(RunningPath(state_directory).c_str(), F_OK) == 0;
}

void RemoveRunningFile(const std::string& state_directory) {
  (void)unlink(RunningPath(state_directory).c_str());
}

Status WriteVerifiedFile(const std::string& state_directory, const VerifiedFile& file) {
  return Write(VerifiedPath(state_directory),
               {{"verified", file.verified}, {"damaged", file.damaged}});
}

VerifiedFile ReadVerifiedFile(const std::string& state_directory) {
  VerifiedFile file;
  const auto document = Read(VerifiedPath(state_directory));
  if (!document.ok()) return file;
  const auto take = [&](const char* member, std::set<std::string>* ids) {
    const auto listed = document->find(member);
    if (listed == document->end() || !listed->is_array()) return;
    for (const json& id : *listed) {
      if (id.is_string()) ids->insert(id.get<std::string>());
    }
  };
  take("verified", &file.verified);
  take("damaged", &file.damaged);
  return file;
}

Status WriteClaimFile(const std::string& state_directory, const ClaimFile& file) {
  return Write(
      ClaimPath(state_directory),
      {{"app", file.app}, {"repository", file.repository}, {"epoch", file.epoch}, {"id", file.id}});
}

Result<ClaimFile> ReadClaimFile(const std::string& state_directory) {
  SNAP_ASSIGN_OR_RETURN(const json document, Read(ClaimPath(state_directory)));
  ClaimFile file;
  const auto text = [&](const char* member) {
    const auto found = document.find(member);
    return found != document.end() && found->is_string() ? found->get<std::string>() : "";
  };
  file.app = text("app");
  file.repository = text("repository");
  file.id = text("id");
  const auto epoch = document.find("epoch");
  if (file.app.empty() || file.repository.empty() || file.id.empty() || epoch == document.end() ||
      !epoch->is_number_unsigned()) {
    return Status::Corruption(fmt::format("{}: damaged", ClaimPath(state_directory)));
  }
  file.epoch = epoch->get<uint64_t>();
  return file;
}

void RemoveEndedFile(const std::string& state_directory) {
  (void)unlink(EndedPath(state_directory).c_str());
}

}  // namespace snapstore::agent
