#include "orchestrator/ec2/sts_identity.h"

#include <pugixml.hpp>

#include "base/status_macros.h"

namespace snapstore {

Ec2Result<CallerIdentity> GetCallerIdentity(const AwsEnvironment& environment,
                                            std::shared_ptr<AwsCredentialChain> credentials) {
  SNAP_ASSIGN_OR_RETURN(AwsServiceOptions options, MakeAwsServiceOptions("sts", environment));
  options.version = "2011-06-15";
  AwsCaller caller(std::move(options), std::move(credentials));
  auto answer = caller.Query("GetCallerIdentity", {}, AwsCaller::Repeat::kSafe);
  if (!answer.ok()) return answer.failure();
  const pugi::xml_node result = (*answer)->first_child().child("GetCallerIdentityResult");
  return CallerIdentity{.account = result.child_value("Account"),
                        .arn = result.child_value("Arn"),
                        .user_id = result.child_value("UserId")};
}

}  // namespace snapstore
