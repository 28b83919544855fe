// Who the credentials at hand belong to.
// Source: GetCallerIdentity, AWS Security Token Service API Reference (2011-06-15).
//
// Thread safety: free functions only.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_STS_IDENTITY_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_STS_IDENTITY_H_

#include <memory>
#include <string>

#include "orchestrator/ec2/aws_caller.h"

namespace snapstore {

struct CallerIdentity {
  std::string account = {};  // twelve digits
  std::string arn = {};
  std::string user_id = {};
};

Ec2Result<CallerIdentity> GetCallerIdentity(const AwsEnvironment& environment,
                                            std::shared_ptr<AwsCredentialChain> credentials);

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_STS_IDENTITY_H_
