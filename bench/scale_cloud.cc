#include "bench/scale_cloud.h"

#include <ctime>
#include <thread>

#include "base/clock.h"

namespace snapstore::bench {

double ThreadSeconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(ToNanos(time)) / 1e9;
}

ScaleCloud::ScaleCloud(uint64_t seed, std::chrono::milliseconds call_time) : call_time_(call_time) {
  const InCloud in_cloud;
  clock_.Set(spot::NowMs());
  cloud_ = std::make_unique<spot::SimulatedCloud>(&clock_, seed);
  cloud_->account_lines = 1;
}

ScaleCloud::~ScaleCloud() = default;

template <typename Act>
auto ScaleCloud::Within(const Act& act) {
  const std::lock_guard lock(mutex_);
  const InCloud in_cloud;
  const double began = ThreadSeconds();
  cloud_->Advance(spot::NowMs());
  auto answer = act();
  cpu_nanos_ += static_cast<uint64_t>((ThreadSeconds() - began) * 1e9);
  return answer;
}

template <typename Answer, typename... Wanted, typename... Given>
Answer ScaleCloud::Pass(Answer (spot::SimulatedCloud::*call)(Wanted...), Given&&... given) {
  ++calls_;
  if (call_time_.count() > 0) std::this_thread::sleep_for(call_time_);
  const Answer answer =
      Within([&] { return (cloud_.get()->*call)(std::forward<Given>(given)...); });
  // What the caller gets is the caller's memory, as if it had read it from a connection.
  Answer copy = answer;
  return copy;
}

size_t ScaleCloud::RunningInstances() {
  return Within([&] {
    size_t running = 0;
    for (const auto& [id, instance] : cloud_->instances().all()) {
      if (instance.shown.state == "running") ++running;
    }
    return running;
  });
}

std::string ScaleCloud::Violations() {
  const std::string found = Within([&] { return cloud_->Violations(); });
  std::string copy = found;
  return copy;
}

size_t ScaleCloud::Interrupt(size_t every, std::chrono::milliseconds notice) {
  return Within([&] {
    std::vector<std::string> victims;
    size_t index = 0;
    for (const auto& [id, instance] : cloud_->instances().all()) {
      if (instance.shown.state == "running" && instance.shown.lifecycle == "spot" &&
          index++ % every == 0) {
        victims.push_back(id);
      }
    }
    for (const std::string& id : victims) cloud_->Interrupt(id, notice.count());
    return victims.size();
  });
}

Ec2Result<std::vector<Ec2Instance>> ScaleCloud::RunInstances(RunInstancesRequest request) {
  return Pass(&spot::SimulatedCloud::RunInstances, std::move(request));
}

Ec2Result<std::vector<Ec2StateChange>> ScaleCloud::TerminateInstances(
    const std::vector<std::string>& ids) {
  return Pass(&spot::SimulatedCloud::TerminateInstances, ids);
}

Ec2Result<std::vector<Ec2Instance>> ScaleCloud::DescribeInstances(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeInstances, query);
}

Ec2Result<std::vector<Ec2InstanceStatus>> ScaleCloud::DescribeInstanceStatus(const Ec2Query& query,
                                                                             bool all) {
  return Pass(&spot::SimulatedCloud::DescribeInstanceStatus, query, all);
}

Ec2Result<std::string> ScaleCloud::DescribeInstanceAttribute(const std::string& instance_id,
                                                             const std::string& attribute) {
  return Pass(&spot::SimulatedCloud::DescribeInstanceAttribute, instance_id, attribute);
}

Ec2Result<AwsReceipt> ScaleCloud::ModifyDeleteOnTermination(
    const std::string& instance_id, const std::map<std::string, bool>& by_device) {
  return Pass(&spot::SimulatedCloud::ModifyDeleteOnTermination, instance_id, by_device);
}

Ec2Result<Ec2Volume> ScaleCloud::CreateVolume(CreateVolumeRequest request) {
  return Pass(&spot::SimulatedCloud::CreateVolume, std::move(request));
}

Ec2Result<AwsReceipt> ScaleCloud::DeleteVolume(const std::string& id) {
  return Pass(&spot::SimulatedCloud::DeleteVolume, id);
}

Ec2Result<std::vector<Ec2Volume>> ScaleCloud::DescribeVolumes(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeVolumes, query);
}

Ec2Result<Ec2VolumeAttachment> ScaleCloud::AttachVolume(const std::string& volume_id,
                                                        const std::string& instance_id,
                                                        const std::string& device) {
  return Pass(&spot::SimulatedCloud::AttachVolume, volume_id, instance_id, device);
}

Ec2Result<Ec2VolumeAttachment> ScaleCloud::DetachVolume(const std::string& volume_id,
                                                        const std::string& instance_id,
                                                        bool force) {
  return Pass(&spot::SimulatedCloud::DetachVolume, volume_id, instance_id, force);
}

Ec2Result<Ec2Snapshot> ScaleCloud::CreateSnapshot(const std::string& volume_id,
                                                  const std::string& description,
                                                  const Ec2Tags& tags) {
  return Pass(&spot::SimulatedCloud::CreateSnapshot, volume_id, description, tags);
}

Ec2Result<std::vector<Ec2Snapshot>> ScaleCloud::CreateSnapshots(
    const std::string& instance_id, bool exclude_root,
    const std::vector<std::string>& exclude_volumes, const std::string& description,
    const Ec2Tags& tags) {
  return Pass(&spot::SimulatedCloud::CreateSnapshots, instance_id, exclude_root, exclude_volumes,
              description, tags);
}

Ec2Result<AwsReceipt> ScaleCloud::DeleteSnapshot(const std::string& id) {
  return Pass(&spot::SimulatedCloud::DeleteSnapshot, id);
}

Ec2Result<std::vector<Ec2Snapshot>> ScaleCloud::DescribeSnapshots(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeSnapshots, query);
}

Ec2Result<std::string> ScaleCloud::RegisterImage(const RegisterImageRequest& request) {
  return Pass(&spot::SimulatedCloud::RegisterImage, request);
}

Ec2Result<std::string> ScaleCloud::CreateImage(const std::string& instance_id,
                                               const std::string& name, bool no_reboot,
                                               const std::map<std::string, Ec2Tags>& tags) {
  return Pass(&spot::SimulatedCloud::CreateImage, instance_id, name, no_reboot, tags);
}

Ec2Result<AwsReceipt> ScaleCloud::DeregisterImage(const std::string& id) {
  return Pass(&spot::SimulatedCloud::DeregisterImage, id);
}

Ec2Result<std::vector<Ec2Image>> ScaleCloud::DescribeImages(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeImages, query);
}

Ec2Result<Ec2NetworkInterface> ScaleCloud::CreateNetworkInterface(CreateInterfaceRequest request) {
  return Pass(&spot::SimulatedCloud::CreateNetworkInterface, std::move(request));
}

Ec2Result<AwsReceipt> ScaleCloud::DeleteNetworkInterface(const std::string& id) {
  return Pass(&spot::SimulatedCloud::DeleteNetworkInterface, id);
}

Ec2Result<AwsReceipt> ScaleCloud::ModifyInterfaceGroups(const std::string& id,
                                                        const std::vector<std::string>& group_ids) {
  return Pass(&spot::SimulatedCloud::ModifyInterfaceGroups, id, group_ids);
}

Ec2Result<AwsReceipt> ScaleCloud::ModifyInterfaceDeleteOnTermination(
    const std::string& id, const std::string& attachment_id, bool delete_on_termination) {
  return Pass(&spot::SimulatedCloud::ModifyInterfaceDeleteOnTermination, id, attachment_id,
              delete_on_termination);
}

Ec2Result<AwsReceipt> ScaleCloud::UnassignPrivateIpAddresses(
    const std::string& id, const std::vector<std::string>& addresses) {
  return Pass(&spot::SimulatedCloud::UnassignPrivateIpAddresses, id, addresses);
}

Ec2Result<std::vector<Ec2NetworkInterface>> ScaleCloud::DescribeNetworkInterfaces(
    const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeNetworkInterfaces, query);
}

Ec2Result<Ec2Address> ScaleCloud::AllocateAddress(const Ec2Tags& tags) {
  return Pass(&spot::SimulatedCloud::AllocateAddress, tags);
}

Ec2Result<AwsReceipt> ScaleCloud::ReleaseAddress(const std::string& allocation_id) {
  return Pass(&spot::SimulatedCloud::ReleaseAddress, allocation_id);
}

Ec2Result<std::string> ScaleCloud::AssociateAddress(const AssociateAddressRequest& request) {
  return Pass(&spot::SimulatedCloud::AssociateAddress, request);
}

Ec2Result<AwsReceipt> ScaleCloud::DisassociateAddress(const std::string& association_id) {
  return Pass(&spot::SimulatedCloud::DisassociateAddress, association_id);
}

Ec2Result<std::vector<Ec2Address>> ScaleCloud::DescribeAddresses(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeAddresses, query);
}

Ec2Result<std::vector<Ec2Subnet>> ScaleCloud::DescribeSubnets(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeSubnets, query);
}

Ec2Result<std::vector<Ec2Vpc>> ScaleCloud::DescribeVpcs(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeVpcs, query);
}

Ec2Result<std::vector<Ec2SecurityGroup>> ScaleCloud::DescribeSecurityGroups(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeSecurityGroups, query);
}

Ec2Result<std::vector<Ec2SpotPrice>> ScaleCloud::DescribeSpotPriceHistory(
    const SpotPriceQuery& query) {
  return Pass(&spot::SimulatedCloud::DescribeSpotPriceHistory, query);
}

Ec2Result<std::vector<Ec2SpotRequest>> ScaleCloud::DescribeSpotInstanceRequests(
    const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeSpotInstanceRequests, query);
}

Ec2Result<AwsReceipt> ScaleCloud::CancelSpotInstanceRequests(const std::vector<std::string>& ids) {
  return Pass(&spot::SimulatedCloud::CancelSpotInstanceRequests, ids);
}

Ec2Result<std::vector<Ec2AvailabilityZone>> ScaleCloud::DescribeAvailabilityZones(
    const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeAvailabilityZones, query);
}

Ec2Result<std::vector<Ec2InstanceType>> ScaleCloud::DescribeInstanceTypes(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeInstanceTypes, query);
}

Ec2Result<std::vector<Ec2InstanceTypeOffering>> ScaleCloud::DescribeInstanceTypeOfferings(
    const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeInstanceTypeOfferings, query);
}

Ec2Result<std::vector<Ec2ReservedInstances>> ScaleCloud::DescribeReservedInstances(
    const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeReservedInstances, query);
}

Ec2Result<std::vector<Ec2KeyPair>> ScaleCloud::DescribeKeyPairs(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeKeyPairs, query);
}

Ec2Result<AwsReceipt> ScaleCloud::CreateTags(const std::vector<std::string>& ids,
                                             const Ec2Tags& tags) {
  return Pass(&spot::SimulatedCloud::CreateTags, ids, tags);
}

Ec2Result<AwsReceipt> ScaleCloud::DeleteTags(const std::vector<std::string>& ids,
                                             const Ec2Tags& tags) {
  return Pass(&spot::SimulatedCloud::DeleteTags, ids, tags);
}

Ec2Result<std::vector<Ec2Tag>> ScaleCloud::DescribeTags(const Ec2Query& query) {
  return Pass(&spot::SimulatedCloud::DescribeTags, query);
}

Ec2Result<std::vector<TargetHealth>> ScaleCloud::DescribeTargetHealth(
    const std::string& target_group_arn, const std::string& instance_id) {
  return Pass(&spot::SimulatedCloud::DescribeTargetHealth, target_group_arn, instance_id);
}

Ec2Result<AwsReceipt> ScaleCloud::RegisterTarget(const std::string& target_group_arn,
                                                 const std::string& instance_id) {
  return Pass(&spot::SimulatedCloud::RegisterTarget, target_group_arn, instance_id);
}

Ec2Result<AwsReceipt> ScaleCloud::DeregisterTarget(const std::string& target_group_arn,
                                                   const std::string& instance_id) {
  return Pass(&spot::SimulatedCloud::DeregisterTarget, target_group_arn, instance_id);
}

Ec2Result<std::vector<TargetHealth>> ScaleCloud::DescribeInstanceHealth(
    const std::string& name, const std::string& instance_id) {
  return Pass(&spot::SimulatedCloud::DescribeInstanceHealth, name, instance_id);
}

Ec2Result<AwsReceipt> ScaleCloud::RegisterInstance(const std::string& name,
                                                   const std::string& instance_id) {
  return Pass(&spot::SimulatedCloud::RegisterInstance, name, instance_id);
}

Ec2Result<AwsReceipt> ScaleCloud::DeregisterInstance(const std::string& name,
                                                     const std::string& instance_id) {
  return Pass(&spot::SimulatedCloud::DeregisterInstance, name, instance_id);
}

}  // namespace snapstore::bench
