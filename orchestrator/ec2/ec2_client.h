// Ec2Client: Ec2Api over the network, for AWS and for whatever speaks it.
//
//   Result<std::unique_ptr<Ec2Client>> ec2 = Ec2Client::FromEnvironment(environment, chain);
//   Ec2Result<std::vector<Ec2Instance>> got = (*ec2)->DescribeInstances({.ids = {"i-0abc…"}});
//   if (!got.ok() && got.code() == "InvalidInstanceID.NotFound") …
//
// What the calls do: ec2_api.h.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_EC2_CLIENT_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_EC2_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "orchestrator/ec2/aws_caller.h"
#include "orchestrator/ec2/ec2_api.h"

namespace snapstore {

class Ec2Client : public Ec2Api {
 public:
  Ec2Client(AwsServiceOptions options, std::shared_ptr<AwsCredentialChain> credentials);
  // Region, endpoint and certificates as AWS's own tools find them.
  static Result<std::unique_ptr<Ec2Client>> FromEnvironment(
      const AwsEnvironment& environment, std::shared_ptr<AwsCredentialChain> credentials,
      std::function<bool()> cancelled = nullptr);

  Ec2Result<std::vector<Ec2Instance>> RunInstances(RunInstancesRequest request) override;
  Ec2Result<std::vector<Ec2StateChange>> TerminateInstances(
      const std::vector<std::string>& ids) override;
  Ec2Result<std::vector<Ec2Instance>> DescribeInstances(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2InstanceStatus>> DescribeInstanceStatus(const Ec2Query& query,
                                                                   bool all) override;
  Ec2Result<std::string> DescribeInstanceAttribute(const std::string& instance_id,
                                                   const std::string& attribute) override;
  Ec2Result<AwsReceipt> ModifyDeleteOnTermination(
      const std::string& instance_id, const std::map<std::string, bool>& by_device) override;

  Ec2Result<Ec2Volume> CreateVolume(CreateVolumeRequest request) override;
  Ec2Result<AwsReceipt> DeleteVolume(const std::string& id) override;
  Ec2Result<std::vector<Ec2Volume>> DescribeVolumes(const Ec2Query& query) override;
  Ec2Result<Ec2VolumeAttachment> AttachVolume(const std::string& volume_id,
                                              const std::string& instance_id,
                                              const std::string& device) override;
  Ec2Result<Ec2VolumeAttachment> DetachVolume(const std::string& volume_id,
                                              const std::string& instance_id, bool force) override;
  Ec2Result<Ec2Snapshot> CreateSnapshot(const std::string& volume_id,
                                        const std::string& description,
                                        const Ec2Tags& tags) override;
  Ec2Result<std::vector<Ec2Snapshot>> CreateSnapshots(
      const std::string& instance_id, bool exclude_root,
      const std::vector<std::string>& exclude_volumes, const std::string& description,
      const Ec2Tags& tags) override;
  Ec2Result<AwsReceipt> DeleteSnapshot(const std::string& id) override;
  Ec2Result<std::vector<Ec2Snapshot>> DescribeSnapshots(const Ec2Query& query) override;
  Ec2Result<std::string> RegisterImage(const RegisterImageRequest& request) override;
  Ec2Result<std::string> CreateImage(const std::string& instance_id, const std::string& name,
                                     bool no_reboot,
                                     const std::map<std::string, Ec2Tags>& tags) override;
  Ec2Result<AwsReceipt> DeregisterImage(const std::string& id) override;
  Ec2Result<std::vector<Ec2Image>> DescribeImages(const Ec2Query& query) override;

  Ec2Result<Ec2NetworkInterface> CreateNetworkInterface(CreateInterfaceRequest request) override;
  Ec2Result<AwsReceipt> DeleteNetworkInterface(const std::string& id) override;
  Ec2Result<AwsReceipt> ModifyInterfaceGroups(const std::string& id,
                                              const std::vector<std::string>& group_ids) override;
  Ec2Result<AwsReceipt> ModifyInterfaceDeleteOnTermination(const std::string& id,
                                                           const std::string& attachment_id,
                                                           bool delete_on_termination) override;
  Ec2Result<AwsReceipt> UnassignPrivateIpAddresses(
      const std::string& id, const std::vector<std::string>& addresses) override;
  Ec2Result<std::vector<Ec2NetworkInterface>> DescribeNetworkInterfaces(
      const Ec2Query& query) override;
  Ec2Result<Ec2Address> AllocateAddress(const Ec2Tags& tags) override;
  Ec2Result<AwsReceipt> ReleaseAddress(const std::string& allocation_id) override;
  Ec2Result<std::string> AssociateAddress(const AssociateAddressRequest& request) override;
  Ec2Result<AwsReceipt> DisassociateAddress(const std::string& association_id) override;
  Ec2Result<std::vector<Ec2Address>> DescribeAddresses(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2Subnet>> DescribeSubnets(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2Vpc>> DescribeVpcs(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2SecurityGroup>> DescribeSecurityGroups(const Ec2Query& query) override;

  Ec2Result<std::vector<Ec2SpotPrice>> DescribeSpotPriceHistory(
      const SpotPriceQuery& query) override;
  Ec2Result<std::vector<Ec2SpotRequest>> DescribeSpotInstanceRequests(
      const Ec2Query& query) override;
  Ec2Result<AwsReceipt> CancelSpotInstanceRequests(const std::vector<std::string>& ids) override;
  Ec2Result<std::vector<Ec2AvailabilityZone>> DescribeAvailabilityZones(
      const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2InstanceType>> DescribeInstanceTypes(const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2InstanceTypeOffering>> DescribeInstanceTypeOfferings(
      const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2ReservedInstances>> DescribeReservedInstances(
      const Ec2Query& query) override;
  Ec2Result<std::vector<Ec2KeyPair>> DescribeKeyPairs(const Ec2Query& query) override;

  Ec2Result<AwsReceipt> CreateTags(const std::vector<std::string>& ids,
                                   const Ec2Tags& tags) override;
  Ec2Result<AwsReceipt> DeleteTags(const std::vector<std::string>& ids,
                                   const Ec2Tags& tags) override;
  Ec2Result<std::vector<Ec2Tag>> DescribeTags(const Ec2Query& query) override;

  const AwsServiceOptions& options() const { return caller_.options(); }

 private:
  class Parameters;
  using Document = std::shared_ptr<pugi::xml_document>;

  Ec2Result<Document> Call(const std::string& action, QueryParameters parameters,
                           AwsCaller::Repeat repeat = AwsCaller::Repeat::kSafe);
  Ec2Result<AwsReceipt> Order(const std::string& action, QueryParameters parameters);
  template <typename T>
  Ec2Result<std::vector<T>> Pages(const std::string& action, const QueryParameters& parameters,
                                  const char* set, const char* inner_set = nullptr);
  template <typename T>
  Ec2Result<std::vector<T>> Describe(const std::string& action, const Ec2Query& query,
                                     const char* id_name, const char* set);

  AwsCaller caller_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_EC2_CLIENT_H_
