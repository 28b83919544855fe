// What a serving cloud leaves in its folder for the other sub-commands: cloud.json.
#ifndef SNAPSTORE_TOOLS_SNAPSTORE_LOCALCLOUD_RUNNING_CLOUD_H_
#define SNAPSTORE_TOOLS_SNAPSTORE_LOCALCLOUD_RUNNING_CLOUD_H_

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "snapstore/status.h"

namespace snapstore::localcloud {

// SNAPSTORE_LOCALCLOUD_DIR, else /var/lib/snapstore-localcloud.
void AddFolderOption(CLI::App* app, std::string* folder);
// Absolute, without a slash at the end.
std::string FolderPath(const std::string& folder);

Status WriteCloudFile(const std::string& folder, const nlohmann::json& content);
// NotFound: no cloud has ever served from there.
Result<nlohmann::json> ReadCloudFile(const std::string& folder);

// POST /_admin/`verb`. NotFound: the cloud does not run.
Result<nlohmann::json> AskCloud(const std::string& folder, const std::string& verb,
                                const nlohmann::json& arguments);

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_TOOLS_SNAPSTORE_LOCALCLOUD_RUNNING_CLOUD_H_
