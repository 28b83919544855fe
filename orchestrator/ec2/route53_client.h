// Route53Client: records of hosted zones.
// Source: Amazon Route 53 API Reference, 2013-04-01.
//
// A global service: it is signed for one region of each partition, whichever the others are in.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_ROUTE53_CLIENT_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_ROUTE53_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/ec2/aws_caller.h"
#include "orchestrator/ec2/route53_api.h"

namespace snapstore {

class Route53Client : public Route53Api {
 public:
  Route53Client(const AwsServiceOptions& options, std::shared_ptr<AwsCredentialChain> credentials);
  // AWS_ENDPOINT_URL_ROUTE_53, else AWS_ENDPOINT_URL, else AWS's own. InvalidArgument: no URL.
  static Result<std::unique_ptr<Route53Client>> FromEnvironment(
      const AwsEnvironment& environment, std::shared_ptr<AwsCredentialChain> credentials,
      std::function<bool()> cancelled = nullptr);

  Ec2Result<AwsReceipt> ChangeRecord(const std::string& zone_id, Route53Change change,
                                     const std::string& name, const std::string& type,
                                     const std::string& value, int64_t ttl_seconds) override;
  Ec2Result<std::vector<Route53Record>> ListRecords(const std::string& zone_id,
                                                    const std::string& name,
                                                    const std::string& type) override;

 private:
  AwsCaller caller_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_ROUTE53_CLIENT_H_
