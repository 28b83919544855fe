#include "orchestrator/ec2/aws_session.h"

#include "base/status_macros.h"
#include "uploader/aws/environment.h"

namespace snapstore {

Result<std::unique_ptr<AwsSession>> AwsSession::Open(const std::function<bool()>& cancelled) {
  SNAP_ASSIGN_OR_RETURN(auto loaded, AwsEnvironment::Load());
  const auto environment = std::make_shared<const AwsEnvironment>(std::move(loaded));
  std::unique_ptr<AwsSession> session(new AwsSession());
  session->region_ = environment->Region();
  if (session->region_.empty()) return Status::NotFound("no AWS region is set");
  const std::shared_ptr<AwsCredentialChain> credentials = DefaultCredentialChain(environment);
  SNAP_ASSIGN_OR_RETURN(session->ec2_,
                        Ec2Client::FromEnvironment(*environment, credentials, cancelled));
  SNAP_ASSIGN_OR_RETURN(session->elb_,
                        ElbClient::FromEnvironment(*environment, credentials, cancelled));
  SNAP_ASSIGN_OR_RETURN(session->route53_,
                        Route53Client::FromEnvironment(*environment, credentials, cancelled));
  return session;
}

}  // namespace snapstore
