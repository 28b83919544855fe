#include "orchestrator/ec2/internal/ec2_request.h"

namespace snapstore {

Ec2Result<Ec2Volume> Ec2Client::CreateVolume(CreateVolumeRequest request) {
  Parameters p;
  p.Set("AvailabilityZone", request.availability_zone);
  p.Set("SnapshotId", request.snapshot_id);
  p.Set("Size", request.size_gib);
  p.Set("VolumeType", request.volume_type);
  p.Set("KmsKeyId", request.kms_key_id);
  p.Set("Iops", request.iops);
  p.Set("Throughput", request.throughput);
  if (request.encrypted) p.SetBool("Encrypted", true);
  p.TagSpecifications({{"volume", request.tags}});
  p.Token(request.client_token);
  Ec2Result<Document> answer = Call("CreateVolume", p.Take());
  if (!answer.ok()) return answer.failure();
  Ec2Volume volume;
  ReadEc2((*answer)->first_child(), &volume);
  caller_.Remember(volume.id);
  return volume;
}

Ec2Result<AwsReceipt> Ec2Client::DeleteVolume(const std::string& id) {
  return Order("DeleteVolume", {{"VolumeId", id}});
}

Ec2Result<std::vector<Ec2Volume>> Ec2Client::DescribeVolumes(const Ec2Query& query) {
  return Describe<Ec2Volume>("DescribeVolumes", query, "VolumeId", "volumeSet");
}

Ec2Result<Ec2VolumeAttachment> Ec2Client::AttachVolume(const std::string& volume_id,
                                                       const std::string& instance_id,
                                                       const std::string& device) {
  Ec2Result<Document> answer = Call(
      "AttachVolume", {{"VolumeId", volume_id}, {"InstanceId", instance_id}, {"Device", device}});
  if (!answer.ok()) return answer.failure();
  Ec2VolumeAttachment attachment;
  ReadEc2((*answer)->first_child(), &attachment);
  return attachment;
}

Ec2Result<Ec2VolumeAttachment> Ec2Client::DetachVolume(const std::string& volume_id,
                                                       const std::string& instance_id, bool force) {
  Parameters p;
  p.Set("VolumeId", volume_id);
  p.Set("InstanceId", instance_id);
  if (force) p.SetBool("Force", true);
  Ec2Result<Document> answer = Call("DetachVolume", p.Take());
  if (!answer.ok()) return answer.failure();
  Ec2VolumeAttachment attachment;
  ReadEc2((*answer)->first_child(), &attachment);
  return attachment;
}

Ec2Result<Ec2Snapshot> Ec2Client::CreateSnapshot(const std::string& volume_id,
                                                 const std::string& description,
                                                 const Ec2Tags& tags) {
  Parameters p;
  p.Set("VolumeId", volume_id);
  p.Set("Description", description);
  p.TagSpecifications({{"snapshot", tags}});
  Ec2Result<Document> answer = Call("CreateSnapshot", p.Take(), AwsCaller::Repeat::kUnsafe);
  if (!answer.ok()) return answer.failure();
  Ec2Snapshot snapshot;
  ReadEc2((*answer)->first_child(), &snapshot);
  caller_.Remember(snapshot.id);
  return snapshot;
}

Ec2Result<std::vector<Ec2Snapshot>> Ec2Client::CreateSnapshots(
    const std::string& instance_id, bool exclude_root,
    const std::vector<std::string>& exclude_volumes, const std::string& description,
    const Ec2Tags& tags) {
  Parameters p;
  p.Set("InstanceSpecification.InstanceId", instance_id);
  if (exclude_root) p.SetBool("InstanceSpecification.ExcludeBootVolume", true);
  p.List("InstanceSpecification.ExcludeDataVolumeId", exclude_volumes);
  p.Set("Description", description);
  p.TagSpecifications({{"snapshot", tags}});
  Ec2Result<Document> answer = Call("CreateSnapshots", p.Take(), AwsCaller::Repeat::kUnsafe);
  if (!answer.ok()) return answer.failure();
  auto snapshots = ReadEc2Items<Ec2Snapshot>((*answer)->first_child().child("snapshotSet"));
  for (const Ec2Snapshot& snapshot : snapshots) caller_.Remember(snapshot.id);
  return snapshots;
}

Ec2Result<AwsReceipt> Ec2Client::DeleteSnapshot(const std::string& id) {
  return Order("DeleteSnapshot", {{"SnapshotId", id}});
}

Ec2Result<std::vector<Ec2Snapshot>> Ec2Client::DescribeSnapshots(const Ec2Query& query) {
  Parameters p;
  p.Query(query, "SnapshotId");
  p.List("Owner", {"self"});
  return Pages<Ec2Snapshot>("DescribeSnapshots", p.Take(), "snapshotSet");
}

Ec2Result<std::string> Ec2Client::RegisterImage(const RegisterImageRequest& request) {
  Parameters p;
  p.Set("Name", request.name);
  p.Set("Description", request.description);
  p.Set("Architecture", request.architecture);
  p.Set("RootDeviceName", request.root_device_name);
  p.Set("VirtualizationType", request.virtualization_type);
  p.Set("BootMode", request.boot_mode);
  p.Set("ImdsSupport", request.imds_support);
  p.SetBool("EnaSupport", request.ena_support);
  p.BlockDevices(request.devices);
  Ec2Result<Document> answer = Call("RegisterImage", p.Take(), AwsCaller::Repeat::kUnsafe);
  if (!answer.ok()) return answer.failure();
  std::string id = (*answer)->first_child().child_value("imageId");
  caller_.Remember(id);
  return id;
}

Ec2Result<std::string> Ec2Client::CreateImage(const std::string& instance_id,
                                              const std::string& name, bool no_reboot,
                                              const std::map<std::string, Ec2Tags>& tags) {
  Parameters p;
  p.Set("InstanceId", instance_id);
  p.Set("Name", name);
  p.SetBool("NoReboot", no_reboot);
  p.TagSpecifications(tags);
  Ec2Result<Document> answer = Call("CreateImage", p.Take(), AwsCaller::Repeat::kUnsafe);
  if (!answer.ok()) return answer.failure();
  std::string id = (*answer)->first_child().child_value("imageId");
  caller_.Remember(id);
  return id;
}

Ec2Result<AwsReceipt> Ec2Client::DeregisterImage(const std::string& id) {
  return Order("DeregisterImage", {{"ImageId", id}});
}

Ec2Result<std::vector<Ec2Image>> Ec2Client::DescribeImages(const Ec2Query& query) {
  return Describe<Ec2Image>("DescribeImages", query, "ImageId", "imagesSet");
}

}  // namespace snapstore
