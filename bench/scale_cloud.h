// ScaleCloud: a simulated cloud on the clock of this machine, for many threads, that tells its own
// share of time and memory from that of the controller that calls it.
//
// Thread safety: all calls may run concurrently; they are done one at a time.
#ifndef SNAPSTORE_BENCH_SCALE_CLOUD_H_
#define SNAPSTORE_BENCH_SCALE_CLOUD_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "bench/scale_memory.h"
#include "orchestrator/ec2/ec2_api.h"
#include "orchestrator/ec2/elb_api.h"
#include "tests/orchestrator/lifecycle/simulated_cloud.h"

namespace snapstore::bench {

// Seconds of processor time that the calling thread took.
double ThreadSeconds();

class ScaleCloud : public Ec2Api, public ElbApi {
 public:
  // Every call takes at least `call_time`, as on the way to a real cloud.
  ScaleCloud(uint64_t seed, std::chrono::milliseconds call_time);
  ~ScaleCloud() override;

  double cpu_seconds() const { return static_cast<double>(cpu_nanos_) / 1e9; }
  uint64_t calls() const { return calls_; }
  size_t RunningInstances();
  std::string Violations();
  // Takes every `every`th running instance away, with that notice. How many.
  size_t Interrupt(size_t every, std::chrono::milliseconds notice);
  double OnDemandPrice(const std::string& type) const { return cloud_->OnDemandPrice(type); }

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
  template <typename Act>
  auto Within(const Act& act);
  template <typename Answer, typename... Wanted, typename... Given>
  Answer Pass(Answer (spot::SimulatedCloud::*call)(Wanted...), Given&&... given);

  const std::chrono::milliseconds call_time_;
  std::mutex mutex_;  // guards the next two
  spot::SimulatedClock clock_;
  std::unique_ptr<spot::SimulatedCloud> cloud_;
  std::atomic<uint64_t> cpu_nanos_ = 0;
  std::atomic<uint64_t> calls_ = 0;
};

}  // namespace snapstore::bench

#endif  // SNAPSTORE_BENCH_SCALE_CLOUD_H_
