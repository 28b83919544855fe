#include "orchestrator/ec2/internal/ec2_request.h"

namespace snapstore {
namespace {

std::string InterfacePrefix(size_t index) { return fmt::format("NetworkInterface.{}.", index + 1); }

}  // namespace

Ec2Result<std::vector<Ec2Instance>> Ec2Client::RunInstances(RunInstancesRequest request) {
  Parameters p;
  p.Set("ImageId", request.image_id);
  p.Set("InstanceType", request.instance_type);
  p.Set("MinCount", static_cast<uint64_t>(request.count));
  p.Set("MaxCount", static_cast<uint64_t>(request.count));
  p.Token(request.client_token);
  p.Set("Placement.AvailabilityZone", request.availability_zone);
  p.Set("Placement.Tenancy", request.tenancy);
  p.Set("SubnetId", request.subnet_id);
  p.List("SecurityGroupId", request.security_group_ids);
  p.Set("KeyName", request.key_name);
  p.Set("IamInstanceProfile.Arn", request.instance_profile_arn);
  p.Set("IamInstanceProfile.Name", request.instance_profile_name);
  p.Set("UserData", request.user_data_base64);
  p.Set("CreditSpecification.CpuCredits", request.cpu_credits);
  p.SetBool("EbsOptimized", request.ebs_optimized);
  p.SetBool("Monitoring.Enabled", request.monitoring);
  if (request.spot) {
    p.Set("InstanceMarketOptions.MarketType", "spot");
    p.Set("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time");
    p.Set("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate");
    p.Set("InstanceMarketOptions.SpotOptions.MaxPrice", request.spot_max_price);
  }
  p.Set("MetadataOptions.HttpTokens", request.metadata.http_tokens);
  p.Set("MetadataOptions.HttpPutResponseHopLimit",
        static_cast<uint64_t>(request.metadata.http_put_response_hop_limit));
  p.Set("MetadataOptions.InstanceMetadataTags", request.metadata.instance_metadata_tags);
  p.BlockDevices(request.devices);
  for (size_t i = 0; i < request.interfaces.size(); ++i) {
    const RunInterface& interface = request.interfaces[i];
    const std::string prefix = InterfacePrefix(i);
    // Not left out when it is 0.
    p.Set(prefix + "DeviceIndex", std::to_string(interface.device_index));
    p.Set(prefix + "NetworkInterfaceId", interface.network_interface_id);
    p.Set(prefix + "SubnetId", interface.subnet_id);
    p.Set(prefix + "PrivateIpAddress", interface.private_ip);
    p.Set(prefix + "Description", interface.description);
    p.List(prefix + "SecurityGroupId", interface.security_group_ids);
    p.SetBool(prefix + "AssociatePublicIpAddress", interface.associate_public_ip);
    p.SetBool(prefix + "DeleteOnTermination", interface.delete_on_termination);
    p.Set(prefix + "Ipv6AddressCount", static_cast<uint64_t>(interface.ipv6_address_count));
  }
  p.TagSpecifications(request.tags);
  Ec2Result<Document> answer = Call("RunInstances", p.Take());
  if (!answer.ok()) return answer.failure();
  auto instances = ReadEc2Items<Ec2Instance>((*answer)->first_child().child("instancesSet"));
  for (const Ec2Instance& instance : instances) {
    caller_.Remember(instance.id);
    for (const Ec2InstanceInterface& interface : instance.interfaces) {
      caller_.Remember(interface.id);
    }
  }
  return instances;
}

Ec2Result<std::vector<Ec2StateChange>> Ec2Client::TerminateInstances(
    const std::vector<std::string>& ids) {
  Parameters p;
  p.List("InstanceId", ids);
  Ec2Result<Document> answer = Call("TerminateInstances", p.Take());
  if (!answer.ok()) return answer.failure();
  std::vector<Ec2StateChange> changes;
  for (const pugi::xml_node item :
       (*answer)->first_child().child("instancesSet").children("item")) {
    changes.push_back({item.child_value("instanceId"),
                       item.child("previousState").child_value("name"),
                       item.child("currentState").child_value("name")});
  }
  return changes;
}

Ec2Result<std::vector<Ec2Instance>> Ec2Client::DescribeInstances(const Ec2Query& query) {
  Parameters p;
  p.Query(query, "InstanceId");
  return Pages<Ec2Instance>("DescribeInstances", p.Take(), "reservationSet", "instancesSet");
}

Ec2Result<std::vector<Ec2InstanceStatus>> Ec2Client::DescribeInstanceStatus(const Ec2Query& query,
                                                                            bool all) {
  Parameters p;
  p.Query(query, "InstanceId");
  if (all) p.SetBool("IncludeAllInstances", true);
  return Pages<Ec2InstanceStatus>("DescribeInstanceStatus", p.Take(), "instanceStatusSet");
}

Ec2Result<std::string> Ec2Client::DescribeInstanceAttribute(const std::string& instance_id,
                                                            const std::string& attribute) {
  Parameters p;
  p.Set("InstanceId", instance_id);
  p.Set("Attribute", attribute);
  Ec2Result<Document> answer = Call("DescribeInstanceAttribute", p.Take());
  if (!answer.ok()) return answer.failure();
  return std::string((*answer)->first_child().child(attribute.c_str()).child("value").text().get());
}

Ec2Result<AwsReceipt> Ec2Client::ModifyDeleteOnTermination(
    const std::string& instance_id, const std::map<std::string, bool>& by_device) {
  Parameters p;
  p.Set("InstanceId", instance_id);
  size_t number = 0;
  for (const auto& [device, goes] : by_device) {
    const std::string prefix = fmt::format("BlockDeviceMapping.{}.", ++number);
    p.Set(prefix + "DeviceName", device);
    p.SetBool(prefix + "Ebs.DeleteOnTermination", goes);
  }
  return Order("ModifyInstanceAttribute", p.Take());
}

}  // namespace snapstore
