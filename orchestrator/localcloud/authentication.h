// Who calls: Signature Version 4, checked with the cloud's own keys and with those it gives to
// instances.
// Source: "Create a signed AWS API request", IAM User Guide.
//
// Thread safety: const calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_AUTHENTICATION_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_AUTHENTICATION_H_

#include <string>
#include <vector>

#include "orchestrator/localcloud/api_error.h"
#include "uploader/aws/sigv4.h"

namespace snapstore::localcloud {

struct SignedRequest {
  std::string method = {};
  std::string path = {};  // as on the wire
  QueryParameters query = {};
  std::vector<HttpHeader> headers = {};  // names in lower case
  std::string body = {};
};

struct CloudKeys {
  std::string access_key_id = {};
  std::string secret_access_key = {};
  std::string instance_secret = {};  // keys of instances are derived from it
};

// The caller's ARN. AuthFailure, RequestExpired, …, as EC2 says it, when the signature is not
// right, too old (15 minutes) or not for one of `services`.
ApiResult<std::string> Authenticate(const SignedRequest& request, const CloudKeys& keys,
                                    const std::string& account,
                                    std::initializer_list<std::string_view> services);

// Keys for a role in an instance, valid until `expires_ns`.
AwsCredentials InstanceCredentials(const CloudKeys& keys, const std::string& role,
                                   const std::string& instance_id, int64_t expires_ns);

CloudKeys MakeCloudKeys();

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_AUTHENTICATION_H_
