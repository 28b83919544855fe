// ElbClient: target groups and classic load balancers, as far as a node is registered with them.
// Source: Elastic Load Balancing API Reference, versions 2015-12-01 (target groups) and 2012-06-01.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_ELB_CLIENT_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_ELB_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/ec2/aws_caller.h"
#include "orchestrator/ec2/elb_api.h"

namespace snapstore {

class ElbClient : public ElbApi {
 public:
  // Both kinds at one endpoint.
  ElbClient(const AwsServiceOptions& options, std::shared_ptr<AwsCredentialChain> credentials);
  ElbClient(const AwsServiceOptions& groups, const AwsServiceOptions& classic,
            const std::shared_ptr<AwsCredentialChain>& credentials);
  // AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING, else AWS_ENDPOINT_URL, else AWS's own; of target
  // groups AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2 before all of these.
  static Result<std::unique_ptr<ElbClient>> FromEnvironment(
      const AwsEnvironment& environment, std::shared_ptr<AwsCredentialChain> credentials,
      std::function<bool()> cancelled = nullptr);

  Ec2Result<std::vector<TargetHealth>> DescribeTargetHealth(
      const std::string& target_group_arn, const std::string& instance_id) override;
  Ec2Result<AwsReceipt> RegisterTarget(const std::string& target_group_arn,
                                       const std::string& instance_id) override;
  Ec2Result<AwsReceipt> DeregisterTarget(const std::string& target_group_arn,
                                         const std::string& instance_id) override;

  Ec2Result<std::vector<TargetHealth>> DescribeInstanceHealth(
      const std::string& name, const std::string& instance_id) override;
  Ec2Result<AwsReceipt> RegisterInstance(const std::string& name,
                                         const std::string& instance_id) override;
  Ec2Result<AwsReceipt> DeregisterInstance(const std::string& name,
                                           const std::string& instance_id) override;

 private:
  AwsCaller groups_;
  AwsCaller classic_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_ELB_CLIENT_H_
