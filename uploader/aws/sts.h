// Sts: temporary credentials for a role.
// Source: AssumeRole and AssumeRoleWithWebIdentity, AWS Security Token Service API Reference.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_UPLOADER_AWS_STS_H_
#define SNAPSTORE_UPLOADER_AWS_STS_H_

#include <string>

#include "uploader/aws/environment.h"
#include "uploader/aws/sigv4.h"
#include "uploader/http/http_client.h"

namespace snapstore {

struct RoleRequest {
  std::string role_arn = {};
  std::string session_name = {};      // empty: "snapstore"
  std::string external_id = {};       // AssumeRole only
  std::string duration_seconds = {};  // empty: the role's own
};

class Sts {
 public:
  explicit Sts(const AwsEnvironment& environment);

  // Signed with `credentials`.
  Result<AwsCredentials> AssumeRole(const RoleRequest& role, const AwsCredentials& credentials);
  // `token`: an OpenID Connect token.
  Result<AwsCredentials> AssumeRoleWithWebIdentity(const RoleRequest& role,
                                                   const std::string& token);

 private:
  Result<AwsCredentials> Call(const QueryParameters& parameters, const AwsCredentials* credentials);

  const std::string region_;
  const std::string endpoint_;
  HttpClient client_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_UPLOADER_AWS_STS_H_
