#include "orchestrator/ec2/elb_client.h"

#include <pugixml.hpp>

#include "base/status_macros.h"

namespace snapstore {
namespace {

AwsServiceOptions WithVersion(AwsServiceOptions options, const char* version) {
  options.version = version;
  return options;
}

Ec2Result<AwsReceipt> Order(AwsCaller* caller, const std::string& action,
                            QueryParameters parameters) {
  auto answer = caller->Query(action, std::move(parameters), AwsCaller::Repeat::kSafe);
  if (!answer.ok()) return answer.failure();
  return AwsReceipt{(*answer)->first_child().child("ResponseMetadata").child_value("RequestId")};
}

}  // namespace

ElbClient::ElbClient(const AwsServiceOptions& options,
                     std::shared_ptr<AwsCredentialChain> credentials)
    : ElbClient(options, options, credentials) {}

ElbClient::ElbClient(const AwsServiceOptions& groups, const AwsServiceOptions& classic,
                     const std::shared_ptr<AwsCredentialChain>& credentials)
    : groups_(WithVersion(groups, "2015-12-01"), credentials),
      classic_(WithVersion(classic, "2012-06-01"), credentials) {}

Result<std::unique_ptr<ElbClient>> ElbClient::FromEnvironment(
    const AwsEnvironment& environment, std::shared_ptr<AwsCredentialChain> credentials,
    std::function<bool()> cancelled) {
  SNAP_ASSIGN_OR_RETURN(AwsServiceOptions options,
                        MakeAwsServiceOptions("elasticloadbalancing", environment));
  options.cancelled = std::move(cancelled);
  const std::string own = environment.Endpoint("ELASTIC_LOAD_BALANCING");
  if (!own.empty()) options.endpoint = own;
  SNAP_RETURN_IF_ERROR(
      ParseUrl(options.endpoint).status().WithContext("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING"));
  AwsServiceOptions groups = options;
  // Not Endpoint(): what holds for all services comes after what holds for load balancers.
  const std::string own_groups = environment.Variable("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2");
  if (!own_groups.empty()) groups.endpoint = own_groups;
  SNAP_RETURN_IF_ERROR(
      ParseUrl(groups.endpoint).status().WithContext("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2"));
  return std::make_unique<ElbClient>(groups, options, credentials);
}

Ec2Result<std::vector<TargetHealth>> ElbClient::DescribeTargetHealth(
    const std::string& target_group_arn, const std::string& instance_id) {
  QueryParameters parameters = {{"TargetGroupArn", target_group_arn}};
  if (!instance_id.empty()) parameters.emplace_back("Targets.member.1.Id", instance_id);
  auto answer = groups_.Query("DescribeTargetHealth", parameters, AwsCaller::Repeat::kSafe);
  if (!answer.ok()) return answer.failure();
  std::vector<TargetHealth> health;
  for (const pugi::xml_node member : (*answer)
                                         ->first_child()
                                         .child("DescribeTargetHealthResult")
                                         .child("TargetHealthDescriptions")
                                         .children("member")) {
    const pugi::xml_node state = member.child("TargetHealth");
    health.push_back({.instance_id = member.child("Target").child_value("Id"),
                      .state = state.child_value("State"),
                      .reason = state.child_value("Reason"),
                      .description = state.child_value("Description")});
  }
  return health;
}

Ec2Result<AwsReceipt> ElbClient::RegisterTarget(const std::string& target_group_arn,
                                                const std::string& instance_id) {
  return Order(&groups_, "RegisterTargets",
               {{"TargetGroupArn", target_group_arn}, {"Targets.member.1.Id", instance_id}});
}

Ec2Result<AwsReceipt> ElbClient::DeregisterTarget(const std::string& target_group_arn,
                                                  const std::string& instance_id) {
  return Order(&groups_, "DeregisterTargets",
               {{"TargetGroupArn", target_group_arn}, {"Targets.member.1.Id", instance_id}});
}

Ec2Result<std::vector<TargetHealth>> ElbClient::DescribeInstanceHealth(
    const std::string& name, const std::string& instance_id) {
  QueryParameters parameters = {{"LoadBalancerName", name}};
  if (!instance_id.empty()) parameters.emplace_back("Instances.member.1.InstanceId", instance_id);
  auto answer = classic_.Query("DescribeInstanceHealth", parameters, AwsCaller::Repeat::kSafe);
  if (!answer.ok()) return answer.failure();
  std::vector<TargetHealth> health;
  for (const pugi::xml_node member : (*answer)
                                         ->first_child()
                                         .child("DescribeInstanceHealthResult")
                                         .child("InstanceStates")
                                         .children("member")) {
    health.push_back({.instance_id = member.child_value("InstanceId"),
                      .state = member.child_value("State"),
                      .reason = member.child_value("ReasonCode"),
                      .description = member.child_value("Description")});
  }
  return health;
}

Ec2Result<AwsReceipt> ElbClient::RegisterInstance(const std::string& name,
                                                  const std::string& instance_id) {
  return Order(&classic_, "RegisterInstancesWithLoadBalancer",
               {{"LoadBalancerName", name}, {"Instances.member.1.InstanceId", instance_id}});
}

Ec2Result<AwsReceipt> ElbClient::DeregisterInstance(const std::string& name,
                                                    const std::string& instance_id) {
  return Order(&classic_, "DeregisterInstancesFromLoadBalancer",
               {{"LoadBalancerName", name}, {"Instances.member.1.InstanceId", instance_id}});
}

}  // namespace snapstore
