#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/snapstore_localcloud/command.h"
#include "tools/snapstore_localcloud/running_cloud.h"

namespace snapstore::localcloud {
namespace {

class EnvCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override { AddFolderOption(app, &folder_); }

  Outcome Run(const GlobalOptions& globals) override {
    const auto cloud = ReadCloudFile(FolderPath(folder_));
    if (!cloud.ok()) return Outcome::Of(cloud.status());
    const nlohmann::json& content = cloud.value();
    const std::string endpoint = content.value("endpoint", "");
    const std::string region = content.value("region", "");
    const auto subnets = content.value("subnet_ids", std::vector<std::string>());
    const std::vector<std::pair<std::string, std::string>> variables = {
        {"AWS_ENDPOINT_URL_EC2", endpoint},
        {"AWS_ENDPOINT_URL_EBS", endpoint},
        {"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING", endpoint},
        {"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", endpoint},
        {"AWS_ENDPOINT_URL_ROUTE_53", endpoint},
        {"AWS_ENDPOINT_URL_STS", endpoint},
        {"AWS_REGION", region},
        {"AWS_DEFAULT_REGION", region},
        {"AWS_ACCESS_KEY_ID", content.value("access_key_id", "")},
        {"AWS_SECRET_ACCESS_KEY", content.value("secret_access_key", "")},
        {"SNAPSTORE_LOCALCLOUD_IMAGE", content.value("image_id", "")},
        {"SNAPSTORE_LOCALCLOUD_VPC", content.value("vpc_id", "")},
        {"SNAPSTORE_LOCALCLOUD_SUBNETS", fmt::format("{}", fmt::join(subnets, " "))},
        {"SNAPSTORE_LOCALCLOUD_SECURITY_GROUP", content.value("security_group_id", "")}};
    nlohmann::ordered_json document;
    for (const auto& [name, value] : variables) {
      document[name] = value;
      if (!globals.json) fmt::print("export {}='{}'\n", name, value);
    }
    if (globals.json) {
      fmt::print("{}\n", document.dump());
    } else {
      fmt::print("unset AWS_SESSION_TOKEN AWS_PROFILE\n");
    }
    return Outcome::Done();
  }

 private:
  std::string folder_;
};

}  // namespace

const CommandInfo kEnvCommand{"env", "Print shell exports that point AWS tools at the cloud.",
                              R"---(  eval "$(snapstore-localcloud env)"; aws ec2 describe-instances

Versions of the AWS CLI before 2.13 do not know these variables:
  aws --endpoint-url "$AWS_ENDPOINT_URL_EC2" ec2 describe-instances)---",
                              [] { return std::unique_ptr<Command>(new EnvCommand()); }};

}  // namespace snapstore::localcloud
