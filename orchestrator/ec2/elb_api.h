// ElbApi: target groups and classic load balancers, as far as a node is registered with them: the
// interface. Source: Elastic Load Balancing API Reference, versions 2015-12-01 (target groups) and
// 2012-06-01.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_ELB_API_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_ELB_API_H_

#include <string>
#include <vector>

#include "orchestrator/ec2/aws_error.h"

namespace snapstore {

struct TargetHealth {
  std::string instance_id = {};
  // initial, healthy, unhealthy, unused, draining, unavailable; of classic load balancers
  // InService, OutOfService, Unknown
  std::string state = {};
  std::string reason = {};  // "Target.FailedHealthChecks"; "Instance"
  std::string description = {};
};

class ElbApi {
 public:
  virtual ~ElbApi() = default;

  // Of a target group. No instance: all its targets.
  virtual Ec2Result<std::vector<TargetHealth>> DescribeTargetHealth(
      const std::string& target_group_arn, const std::string& instance_id) = 0;
  virtual Ec2Result<AwsReceipt> RegisterTarget(const std::string& target_group_arn,
                                               const std::string& instance_id) = 0;
  virtual Ec2Result<AwsReceipt> DeregisterTarget(const std::string& target_group_arn,
                                                 const std::string& instance_id) = 0;

  // Of a classic load balancer.
  virtual Ec2Result<std::vector<TargetHealth>> DescribeInstanceHealth(
      const std::string& name, const std::string& instance_id) = 0;
  virtual Ec2Result<AwsReceipt> RegisterInstance(const std::string& name,
                                                 const std::string& instance_id) = 0;
  virtual Ec2Result<AwsReceipt> DeregisterInstance(const std::string& name,
                                                   const std::string& instance_id) = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_ELB_API_H_
