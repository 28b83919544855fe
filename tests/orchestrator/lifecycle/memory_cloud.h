// MemoryCloud: EC2 and load balancers in memory, with a clock that the test moves.
//
// Faithful where a life-cycle can go wrong: states that take their time, client tokens,
// DeleteOnTermination, zones, addresses in use, snapshots that an image holds, markets without
// capacity. Every disk carries the number of its last write, which snapshots and copies carry on.
// A filter that is not known, and a second living instance of a node, fail the test at once.
//
// Calls that change something go through `around`, before and after they take effect.
//
// Thread safety: for one thread.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_MEMORY_CLOUD_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_MEMORY_CLOUD_H_

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "orchestrator/ec2/ec2_api.h"
#include "orchestrator/ec2/elb_api.h"

namespace snapstore::spot {

class MemoryCloud : public Ec2Api, public ElbApi {
 public:
  static constexpr const char* kImage = "ami-base";
  static constexpr const char* kVpc = "vpc-1";
  static constexpr const char* kRoot = "/dev/xvda";

  MemoryCloud();

  // The world.
  int64_t now_ms = 1'700'000'000'000;
  void Advance(int64_t ms);
  // A failure to answer with in place of the call (before), or although it took effect (after).
  using Around = std::function<std::optional<AwsFailure>(const std::string& action, bool after)>;
  Around around;
  void TakeAway(const std::string& instance_id);  // as an interruption without a notice does
  void SetCapacity(const std::string& type, const std::string& zone, bool spot, int count);
  void SetImpaired(const std::string& instance_id, bool impaired);

  // What is there.
  std::map<std::string, Ec2Instance> instances;
  std::map<std::string, Ec2Volume> volumes;
  std::map<std::string, Ec2Snapshot> snapshots;
  std::map<std::string, Ec2Image> images;
  std::map<std::string, Ec2NetworkInterface> interfaces;
  std::map<std::string, int64_t> writes;  // of volumes and snapshots: the number of the last one
  std::map<std::string, int> calls;
  std::vector<std::string> violations;
  // Of living ones, by their tag snapstore:node.
  std::vector<std::string> LivingOf(const std::string& node) const;

  // Ec2Api.
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

  // ElbApi.
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
  std::string NewId(const std::string& prefix);
  void After(int64_t ms, std::function<void()> what);
  // Runs a call that changes something between the two calls of `around`.
  template <typename T>
  Ec2Result<T> Change(const std::string& action, const std::function<Ec2Result<T>()>& body);
  bool TagsFit(const std::string& name, const std::vector<std::string>& values, const Ec2Tags& tags,
               bool* fits) const;
  void UnknownFilter(const std::string& action, const std::string& name);
  Ec2Result<std::string> MakeInterface(const RunInterface& wanted, const Ec2Tags& tags);
  std::string MakeVolume(const std::string& zone, const std::string& snapshot_id,
                         const Ec2Tags& tags);
  void AttachTo(Ec2Instance* instance, const std::string& volume_id, const std::string& device,
                bool delete_on_termination);
  void End(const std::string& instance_id, const std::string& reason);
  Ec2Snapshot MakeSnapshot(const std::string& volume_id, const std::string& description,
                           const Ec2Tags& tags);
  Ec2Result<std::vector<Ec2Instance>> Run(const RunInstancesRequest& request);

  int64_t next_id_ = 1;
  int64_t last_write_ = 0;
  int64_t next_address_ = 10;
  std::multimap<int64_t, std::function<void()>> due_;
  std::map<std::string, std::pair<std::string, std::string>> tokens_;  // token: what, id
  std::map<std::string, int> capacity_;                                // by "type/zone/spot"
  std::set<std::string> impaired_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_MEMORY_CLOUD_H_
