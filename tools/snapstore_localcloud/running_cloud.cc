#include "tools/snapstore_localcloud/running_cloud.h"

#include <fmt/format.h>
#include <httplib.h>

#include <filesystem>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore::localcloud {
namespace {

constexpr size_t kFileBytesMax = 64 << 10;
constexpr const char* kDefaultFolder = "/var/lib/snapstore-localcloud";

}  // namespace

void AddFolderOption(CLI::App* app, std::string* folder) {
  *folder = kDefaultFolder;
  app->add_option("--state-dir", *folder, "The cloud's folder")
      ->envname("SNAPSTORE_LOCALCLOUD_DIR")
      ->type_name("DIR")
      ->capture_default_str();
}

std::string FolderPath(const std::string& folder) {
  std::string path = std::filesystem::absolute(folder).lexically_normal();
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

Status WriteCloudFile(const std::string& folder, const nlohmann::json& content) {
  return ReplaceFile(folder + "/cloud.json", AsBytes(content.dump(2) + "\n"), 0600);
}

Result<nlohmann::json> ReadCloudFile(const std::string& folder) {
  const Result<Bytes> text = ReadWholeFile(folder + "/cloud.json", kFileBytesMax);
  if (!text.ok()) return text.status().WithContext("there is no cloud");
  nlohmann::json content =
      nlohmann::json::parse(text.value().begin(), text.value().end(), nullptr, false);
  if (!content.is_object()) {
    return Status::Corruption(fmt::format("{}/cloud.json is no JSON object", folder));
  }
  return content;
}

Result<nlohmann::json> AskCloud(const std::string& folder, const std::string& verb,
                                const nlohmann::json& arguments) {
  SNAP_ASSIGN_OR_RETURN(const nlohmann::json cloud, ReadCloudFile(folder));
  httplib::Client client(cloud.value("endpoint", ""));
  client.set_bearer_token_auth(cloud.value("admin_token", ""));
  const auto answer = client.Post("/_admin/" + verb, arguments.dump(), "application/json");
  if (!answer) {
    return Status::NotFound(
        fmt::format("the cloud in {} does not run: start it with "
                    "'snapstore-localcloud serve --state-dir {}'",
                    folder, folder));
  }
  nlohmann::json content = nlohmann::json::parse(answer->body, nullptr, false);
  if (answer->status == 200) return content;
  return Status::InvalidArgument(content.is_object() ? content.value("message", "refused")
                                                     : fmt::format("HTTP {}", answer->status));
}

}  // namespace snapstore::localcloud
