// AwsSession: the clients of one region, with the settings and credentials that AWS's own tools
// would use.
//
// Thread safety: the clients may be used concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_AWS_SESSION_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_AWS_SESSION_H_

#include <functional>
#include <memory>
#include <string>

#include "orchestrator/ec2/ec2_client.h"
#include "orchestrator/ec2/elb_client.h"
#include "orchestrator/ec2/route53_client.h"

namespace snapstore {

class AwsSession {
 public:
  // Reads the process's environment and the shared files. NotFound: no region is set. Once
  // `cancelled` is true, calls end with Cancelled within a moment; it may be null.
  static Result<std::unique_ptr<AwsSession>> Open(const std::function<bool()>& cancelled);

  const std::string& region() const { return region_; }
  Ec2Api* ec2() const { return ec2_.get(); }
  ElbApi* elb() const { return elb_.get(); }
  Route53Api* route53() const { return route53_.get(); }

 private:
  AwsSession() = default;

  std::string region_;
  std::unique_ptr<Ec2Client> ec2_;
  std::unique_ptr<ElbClient> elb_;
  std::unique_ptr<Route53Client> route53_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_AWS_SESSION_H_
