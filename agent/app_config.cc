#include "agent/app_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/shell_words.h"
#include "base/status_macros.h"
#include "base/storage_names.h"

namespace snapstore::agent {
namespace {

using nlohmann::json;

constexpr size_t kNameBytesMax = 255;
constexpr size_t kConfigBytesMax = 1 << 20;
constexpr std::array<std::string_view, 8> kKnownFields{
    "name",          "runCmd", "snapshotDestination", "snapshotScheduler",
    "externalFiles", "id",     "createdAt",           "updatedAt"};

Status FieldError(std::string_view field, std::string_view why) {
  return Status::InvalidArgument(fmt::format("config.{}: {}", field, why));
}

Result<std::string> RequiredString(const json& config, const char* field) {
  const auto it = config.find(field);
  if (it == config.end() || it->is_null()) return FieldError(field, "is required");
  if (!it->is_string()) return FieldError(field, "must be a string");
  std::string value = it->get<std::string>();
  if (value.empty()) return FieldError(field, "must not be empty");
  if (value.find('\0') != std::string::npos) return FieldError(field, "must not contain NUL");
  return value;
}

Result<std::vector<std::string>> ParseExternalFiles(const json& config) {
  constexpr const char* kField = "externalFiles";
  std::vector<std::string> files;
  const auto it = config.find(kField);
  if (it == config.end() || it->is_null()) return files;
  if (!it->is_array()) return FieldError(kField, "must be a list of absolute paths or null");
  std::set<std::string> seen;
  for (size_t i = 0; i < it->size(); ++i) {
    const std::string field = fmt::format("{}[{}]", kField, i);
    const json& item = (*it)[i];
    if (!item.is_string()) return FieldError(field, "must be a string");
    std::string path = item.get<std::string>();
    const Status plain = CheckPlainFilePath(path);
    if (!plain.ok()) return FieldError(field, plain.message());
    if (!seen.insert(path).second) return FieldError(field, fmt::format("'{}' is twice", path));
    files.push_back(std::move(path));
  }
  return files;
}

Result<AppConfig> FromObject(const json& config) {
  for (const auto& [key, value] : config.items()) {
    if (std::find(kKnownFields.begin(), kKnownFields.end(), key) == kKnownFields.end()) {
      return FieldError(key, "unknown field");
    }
  }
  SNAP_ASSIGN_OR_RETURN(std::string name, RequiredString(config, "name"));
  if (name.size() > kNameBytesMax) {
    return FieldError("name", fmt::format("is {} bytes long, at most {} are allowed", name.size(),
                                          kNameBytesMax));
  }
  SNAP_ASSIGN_OR_RETURN(std::string run_cmd, RequiredString(config, "runCmd"));
  auto argv = SplitCommand(run_cmd);
  if (!argv.ok()) return FieldError("runCmd", argv.status().message());
  SNAP_ASSIGN_OR_RETURN(std::string destination, RequiredString(config, "snapshotDestination"));
  const Status destination_ok = CheckSnapshotDestination(destination);
  if (!destination_ok.ok()) return FieldError("snapshotDestination", destination_ok.message());
  SNAP_ASSIGN_OR_RETURN(const std::string cron, RequiredString(config, "snapshotScheduler"));
  auto schedule = CronSchedule::Parse(cron);
  if (!schedule.ok()) return FieldError("snapshotScheduler", schedule.status().message());
  SNAP_ASSIGN_OR_RETURN(std::vector<std::string> files, ParseExternalFiles(config));
  return AppConfig{std::move(name),        std::move(run_cmd),   std::move(*argv),
                   std::move(destination), std::move(*schedule), std::move(files)};
}

}  // namespace

Result<AppConfig> AppConfig::Parse(std::string_view text) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) return Status::InvalidArgument("config: not valid JSON");
  if (!document.is_object()) return Status::InvalidArgument("config: must be a JSON object");
  const auto root = document.find("config");
  if (root == document.end()) return FromObject(document);
  if (!root->is_object()) return Status::InvalidArgument("config: must be an object");
  if (document.size() != 1) {
    return Status::InvalidArgument("config: stands beside other fields; it must be the only one");
  }
  return FromObject(*root);
}

Result<AppConfig> AppConfig::Load(const std::string& path) {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes, ReadWholeFile(path, kConfigBytesMax));
  auto config = Parse(AsText(bytes));
  if (!config.ok()) return config.status().WithContext(path);
  return config;
}

std::string AppConfig::RepositoryLocation() const {
  return (IsEfsId(destination) ? "efs://" : "s3://") + destination;
}

}  // namespace snapstore::agent
