#include "orchestrator/ec2/internal/ec2_request.h"

namespace snapstore {

Ec2Result<Ec2NetworkInterface> Ec2Client::CreateNetworkInterface(CreateInterfaceRequest request) {
  Parameters p;
  p.Set("SubnetId", request.subnet_id);
  p.Set("PrivateIpAddress", request.private_ip);
  p.Set("Description", request.description);
  p.List("SecurityGroupId", request.security_group_ids);
  p.TagSpecifications({{"network-interface", request.tags}});
  p.Token(request.client_token);
  Ec2Result<Document> answer = Call("CreateNetworkInterface", p.Take());
  if (!answer.ok()) return answer.failure();
  Ec2NetworkInterface interface;
  ReadEc2((*answer)->first_child().child("networkInterface"), &interface);
  caller_.Remember(interface.id);
  return interface;
}

Ec2Result<AwsReceipt> Ec2Client::DeleteNetworkInterface(const std::string& id) {
  return Order("DeleteNetworkInterface", {{"NetworkInterfaceId", id}});
}

Ec2Result<AwsReceipt> Ec2Client::ModifyInterfaceGroups(const std::string& id,
                                                       const std::vector<std::string>& group_ids) {
  Parameters p;
  p.Set("NetworkInterfaceId", id);
  p.List("SecurityGroupId", group_ids);
  return Order("ModifyNetworkInterfaceAttribute", p.Take());
}

Ec2Result<AwsReceipt> Ec2Client::ModifyInterfaceDeleteOnTermination(
    const std::string& id, const std::string& attachment_id, bool delete_on_termination) {
  Parameters p;
  p.Set("NetworkInterfaceId", id);
  p.Set("Attachment.AttachmentId", attachment_id);
  p.SetBool("Attachment.DeleteOnTermination", delete_on_termination);
  return Order("ModifyNetworkInterfaceAttribute", p.Take());
}

Ec2Result<AwsReceipt> Ec2Client::UnassignPrivateIpAddresses(
    const std::string& id, const std::vector<std::string>& addresses) {
  Parameters p;
  p.Set("NetworkInterfaceId", id);
  p.List("PrivateIpAddress", addresses);
  return Order("UnassignPrivateIpAddresses", p.Take());
}

Ec2Result<std::vector<Ec2NetworkInterface>> Ec2Client::DescribeNetworkInterfaces(
    const Ec2Query& query) {
  return Describe<Ec2NetworkInterface>("DescribeNetworkInterfaces", query, "NetworkInterfaceId",
                                       "networkInterfaceSet");
}

Ec2Result<Ec2Address> Ec2Client::AllocateAddress(const Ec2Tags& tags) {
  Parameters p;
  p.Set("Domain", "vpc");
  p.TagSpecifications({{"elastic-ip", tags}});
  Ec2Result<Document> answer = Call("AllocateAddress", p.Take(), AwsCaller::Repeat::kUnsafe);
  if (!answer.ok()) return answer.failure();
  Ec2Address address;
  ReadEc2((*answer)->first_child(), &address);
  caller_.Remember(address.allocation_id);
  return address;
}

Ec2Result<AwsReceipt> Ec2Client::ReleaseAddress(const std::string& allocation_id) {
  return Order("ReleaseAddress", {{"AllocationId", allocation_id}});
}

Ec2Result<std::string> Ec2Client::AssociateAddress(const AssociateAddressRequest& request) {
  Parameters p;
  p.Set("AllocationId", request.allocation_id);
  p.Set("NetworkInterfaceId", request.network_interface_id);
  p.Set("InstanceId", request.instance_id);
  p.SetBool("AllowReassociation", request.allow_reassociation);
  Ec2Result<Document> answer = Call("AssociateAddress", p.Take());
  if (!answer.ok()) return answer.failure();
  return std::string((*answer)->first_child().child_value("associationId"));
}

Ec2Result<AwsReceipt> Ec2Client::DisassociateAddress(const std::string& association_id) {
  return Order("DisassociateAddress", {{"AssociationId", association_id}});
}

Ec2Result<std::vector<Ec2Address>> Ec2Client::DescribeAddresses(const Ec2Query& query) {
  return Describe<Ec2Address>("DescribeAddresses", query, "AllocationId", "addressesSet");
}

Ec2Result<std::vector<Ec2Subnet>> Ec2Client::DescribeSubnets(const Ec2Query& query) {
  return Describe<Ec2Subnet>("DescribeSubnets", query, "SubnetId", "subnetSet");
}

Ec2Result<std::vector<Ec2Vpc>> Ec2Client::DescribeVpcs(const Ec2Query& query) {
  return Describe<Ec2Vpc>("DescribeVpcs", query, "VpcId", "vpcSet");
}

Ec2Result<std::vector<Ec2SecurityGroup>> Ec2Client::DescribeSecurityGroups(const Ec2Query& query) {
  return Describe<Ec2SecurityGroup>("DescribeSecurityGroups", query, "GroupId",
                                    "securityGroupInfo");
}

}  // namespace snapstore
