// AwsCredentialChain: finds credentials where AWS's own tools find them, and keeps them fresh.
// Source: "Standardized credential providers", AWS SDKs and Tools Reference Guide.
//
// Asked in this order; the first that has any is kept for good:
//
//   1. environment    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
//   2. web identity   AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME
//   3. profile        AWS_PROFILE (else "default") of AWS_SHARED_CREDENTIALS_FILE and
//                     AWS_CONFIG_FILE: keys, role_arn with source_profile, credential_source or
//                     web_identity_token_file, credential_process
//   4. container      AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI, with
//                     AWS_CONTAINER_AUTHORIZATION_TOKEN or …_TOKEN_FILE
//   5. instance       metadata service version 2, unless AWS_EC2_METADATA_DISABLED is true
//
// A place that is not there is passed over; one that is there and broken is an error. Credentials
// that expire are fetched again at three quarters of their life; while that fails, the old ones
// serve until they expire. Secrets are hidden in logs from the moment they are known.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_AWS_CREDENTIALS_H_
#define SNAPSTORE_UPLOADER_AWS_CREDENTIALS_H_

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/status.h"
#include "uploader/aws/environment.h"
#include "uploader/aws/sigv4.h"

namespace snapstore {

// One place to look. `load` returns nothing when the place does not exist or says nothing, and
// Unsupported when it is worth telling why.
struct CredentialSource {
  std::string name;  // for people: "profile 'default'"
  std::function<Result<std::optional<AwsCredentials>>()> load;
};

class AwsCredentialChain {
 public:
  // `clock` gives wall nanoseconds; for tests.
  AwsCredentialChain(std::vector<CredentialSource> sources, std::function<int64_t()> clock);

  // PermissionDenied when no source has any (the message lists them) or the first that is there is
  // broken; Io, Timeout or Throttled when it may pass.
  Result<AwsCredentials> Get();

  // The server said that these are no longer valid: the next Get fetches anew. No effect when
  // others are in use by now.
  void Invalidate(const AwsCredentials& credentials);

  // Where the credentials came from, empty before the first Get.
  std::string source() const;

  // What each source says, without a decision: "not set", "found", or its error.
  struct Finding {
    std::string source;
    std::string says;
    bool has_credentials = false;
  };
  std::vector<Finding> Explain() const;

 private:
  Result<AwsCredentials> Fetch();

  const std::vector<CredentialSource> sources_;
  const std::function<int64_t()> clock_;
  mutable std::mutex mutex_;  // guards what follows
  const CredentialSource* chosen_ = nullptr;
  AwsCredentials current_;
  int64_t refresh_ns_ = 0;  // when to fetch again; 0: never
  bool valid_ = false;
};

// The five places above.
std::unique_ptr<AwsCredentialChain> DefaultCredentialChain(
    const std::shared_ptr<const AwsEnvironment>& environment);

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_AWS_CREDENTIALS_H_
