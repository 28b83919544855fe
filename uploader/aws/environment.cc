#include "uploader/aws/environment.h"

#include <cstdlib>

#include "base/file.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;

std::string OrElse(std::string value, std::string otherwise) {
  return value.empty() ? std::move(otherwise) : std::move(value);
}

Result<AwsProfiles> ReadProfiles(const std::string& path, AwsFileKind kind) {
  const Result<Bytes> bytes = ReadWholeFile(path, kFileBytesMax);
  if (bytes.status().Is(StatusCode::kNotFound)) return AwsProfiles();
  if (!bytes.ok()) return bytes.status();
  Result<AwsProfiles> profiles = ParseAwsFile(AsText(*bytes), kind);
  if (!profiles.ok()) return profiles.status().WithContext(path);
  return profiles;
}

}  // namespace

AwsEnvironment::Variables AwsEnvironment::FromProcess() {
  return [](const std::string& name) {
    const char* const value = std::getenv(name.c_str());
    return std::string(value == nullptr ? "" : value);
  };
}

Result<AwsEnvironment> AwsEnvironment::Load(Variables variables) {
  AwsEnvironment loaded;
  loaded.variables_ = std::move(variables);
  const std::string home = loaded.Variable("HOME") + "/.aws/";
  SNAP_ASSIGN_OR_RETURN(loaded.profiles_,
                        ReadProfiles(OrElse(loaded.Variable("AWS_CONFIG_FILE"), home + "config"),
                                     AwsFileKind::kConfig));
  SNAP_ASSIGN_OR_RETURN(
      const AwsProfiles secrets,
      ReadProfiles(OrElse(loaded.Variable("AWS_SHARED_CREDENTIALS_FILE"), home + "credentials"),
                   AwsFileKind::kCredentials));
  for (const auto& [name, profile] : secrets) {
    for (const auto& [key, value] : profile) loaded.profiles_[name][key] = value;
  }
  const std::string wanted = loaded.Variable("AWS_PROFILE");
  if (!wanted.empty() && loaded.Profile(wanted) == nullptr) {
    return Status::NotFound("AWS_PROFILE is '" + wanted + "', but there is no such profile");
  }
  loaded.profile_name_ = OrElse(wanted, "default");
  return loaded;
}

const AwsProfile* AwsEnvironment::Profile(const std::string& name) const {
  const auto it = profiles_.find(name);
  return it == profiles_.end() ? nullptr : &it->second;
}

std::string AwsEnvironment::Setting(const std::string& variable, const std::string& key) const {
  std::string value = variables_(variable);
  if (!value.empty()) return value;
  const AwsProfile* const profile = Profile(profile_name_);
  if (profile == nullptr || !profile->contains(key)) return "";
  return profile->at(key);
}

std::string AwsEnvironment::Region() const {
  return OrElse(variables_("AWS_REGION"), Setting("AWS_DEFAULT_REGION", "region"));
}

std::string AwsEnvironment::Endpoint(const std::string& service) const {
  return OrElse(variables_("AWS_ENDPOINT_URL_" + service),
                Setting("AWS_ENDPOINT_URL", "endpoint_url"));
}

std::string AwsEnvironment::CaBundle() const { return Setting("AWS_CA_BUNDLE", "ca_bundle"); }

}  // namespace snapstore
