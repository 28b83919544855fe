// AwsEnvironment: the settings that AWS's tools take from environment variables and shared files.
// Source: "Environment variables support" and "Configuration and credential file settings", AWS
// SDKs and Tools Reference Guide.
//
// Thread safety: immutable once loaded.
#ifndef SNAPSTORE_UPLOADER_AWS_ENVIRONMENT_H_
#define SNAPSTORE_UPLOADER_AWS_ENVIRONMENT_H_

#include <functional>
#include <string>
#include <string_view>

#include "snapstore/status.h"
#include "uploader/aws/ini_file.h"

namespace snapstore {

class AwsEnvironment {
 public:
  // The value of an environment variable, empty when it is not set.
  using Variables = std::function<std::string(const std::string& name)>;

  // Reads the shared files. Files that do not exist are empty; one that cannot be read or
  // understood is an error. NotFound: AWS_PROFILE names a profile that is in neither.
  static Result<AwsEnvironment> Load(Variables variables = FromProcess());
  static Variables FromProcess();

  std::string Variable(const std::string& name) const { return variables_(name); }

  const std::string& profile_name() const { return profile_name_; }
  // The settings of a profile, those of the credentials file before those of the configuration
  // file; null when neither has it.
  const AwsProfile* Profile(const std::string& name) const;

  // AWS_REGION, AWS_DEFAULT_REGION, the profile's `region`; empty when none is set.
  std::string Region() const;
  // Of a service in upper case ("S3"): AWS_ENDPOINT_URL_<SERVICE>, AWS_ENDPOINT_URL, the profile's
  // `endpoint_url`; empty: AWS's own.
  std::string Endpoint(const std::string& service) const;
  // AWS_CA_BUNDLE, the profile's `ca_bundle`.
  std::string CaBundle() const;

 private:
  // A variable, else a setting of the chosen profile.
  std::string Setting(const std::string& variable, const std::string& key) const;

  Variables variables_;
  std::string profile_name_;
  AwsProfiles profiles_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_AWS_ENVIRONMENT_H_
