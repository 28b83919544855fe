#include "agent/app_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "agent/shell_words.h"
#include "base/file.h"
#include "base/status_macros.h"

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

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool IsEfsId(std::string_view text) {
  if (!text.starts_with("fs-")) return false;
  text.remove_prefix(3);
  return (text.size() == 8 || text.size() == 17) &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The naming rules of general-purpose buckets in the S3 user guide.
Status CheckBucketName(std::string_view name) {
  constexpr const char* kField = "snapshotDestination";
  if (name.size() < 3 || name.size() > 63) {
    return FieldError(kField, fmt::format("'{}' is neither an S3 bucket name (3 to 63 characters) "
                                          "nor an EFS id (fs- and 8 or 17 hex digits)",
                                          name));
  }
  const bool characters_ok = std::all_of(
      name.begin(), name.end(), [](char c) { return IsLowerOrDigit(c) || c == '-' || c == '.'; });
  if (!characters_ok) {
    return FieldError(kField, fmt::format("'{}': a bucket name has lower-case letters, digits, "
                                          "'.' and '-' only",
                                          name));
  }
  if (!IsLowerOrDigit(name.front()) || !IsLowerOrDigit(name.back())) {
    return FieldError(kField, fmt::format("'{}': a bucket name begins and ends with a letter or a "
                                          "digit",
                                          name));
  }
  if (name.find("..") != std::string_view::npos) {
    return FieldError(kField, fmt::format("'{}': a bucket name has no two dots in a row", name));
  }
  const bool is_address = name.find_first_not_of("0123456789.") == std::string_view::npos &&
                          std::count(name.begin(), name.end(), '.') == 3;
  if (is_address) {
    return FieldError(kField, fmt::format("'{}': a bucket name is not an IP address", name));
  }
  for (const std::string_view prefix : {"xn--", "sthree-", "amzn-s3-demo-"}) {
    if (name.starts_with(prefix)) {
      return FieldError(kField, fmt::format("'{}': the prefix {} is reserved", name, prefix));
    }
  }
  for (const std::string_view suffix : {"-s3alias", "--ol-s3", ".mrap", "--x-s3"}) {
    if (name.ends_with(suffix)) {
      return FieldError(kField, fmt::format("'{}': the suffix {} is reserved", name, suffix));
    }
  }
  return Status::Ok();
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
    if (path.find('\0') != std::string::npos) return FieldError(field, "must not contain NUL");
    if (path.empty() || path.front() != '/') {
      return FieldError(field, fmt::format("'{}' is not an absolute path", path));
    }
    const std::string framed = path + "/";
    if (path.back() == '/' || framed.find("/../") != std::string::npos ||
        framed.find("/./") != std::string::npos || framed.find("//") != std::string::npos) {
      return FieldError(field,
                        fmt::format("'{}' must be a plain path to a file, without '.', '..', "
                                    "double or trailing slashes",
                                    path));
    }
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
  if (!IsEfsId(destination)) SNAP_RETURN_IF_ERROR(CheckBucketName(destination));
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
