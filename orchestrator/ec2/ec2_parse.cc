#include "orchestrator/ec2/ec2_parse.h"

#include <charconv>
#include <string_view>

#include "base/clock.h"

namespace snapstore {
namespace {

using Node = pugi::xml_node;

uint64_t Number(Node node, const char* name) { return node.child(name).text().as_ullong(); }
bool Truth(Node node, const char* name) {
  return std::string_view(node.child_value(name)) == "true";
}
// 0 when there is none, or none that can be read: nothing here depends on it.
int64_t Time(Node node, const char* name) {
  const Result<int64_t> time = ParseTime(node.child_value(name));
  return time.ok() ? *time : 0;
}
Ec2Tags Tags(Node node) {
  Ec2Tags tags;
  for (const Node item : node.child("tagSet").children("item")) {
    tags[item.child_value("key")] = item.child_value("value");
  }
  return tags;
}
std::vector<Ec2GroupId> Groups(Node list) {
  std::vector<Ec2GroupId> groups;
  for (const Node item : list.children("item")) {
    groups.push_back({item.child_value("groupId"), item.child_value("groupName")});
  }
  return groups;
}
std::vector<std::string> Texts(Node list) {
  std::vector<std::string> texts;
  for (const Node item : list.children("item")) texts.emplace_back(item.text().get());
  return texts;
}

Ec2InstanceDevice InstanceDevice(Node node) {
  const Node ebs = node.child("ebs");
  return {.device_name = node.child_value("deviceName"),
          .volume_id = ebs.child_value("volumeId"),
          .status = ebs.child_value("status"),
          .attach_time_ns = Time(ebs, "attachTime"),
          .delete_on_termination = Truth(ebs, "deleteOnTermination")};
}

Ec2InstanceInterface InstanceInterface(Node node) {
  const Node attachment = node.child("attachment");
  return {.id = node.child_value("networkInterfaceId"),
          .subnet_id = node.child_value("subnetId"),
          .private_ip = node.child_value("privateIpAddress"),
          .status = node.child_value("status"),
          .attachment_id = attachment.child_value("attachmentId"),
          .device_index = attachment.child("deviceIndex").text().as_int(),
          .delete_on_termination = Truth(attachment, "deleteOnTermination")};
}

void ReadPlace(Node node, Ec2Instance* out) {
  out->availability_zone = node.child("placement").child_value("availabilityZone");
  out->tenancy = node.child("placement").child_value("tenancy");
  out->subnet_id = node.child_value("subnetId");
  out->vpc_id = node.child_value("vpcId");
  out->private_ip = node.child_value("privateIpAddress");
  out->public_ip = node.child_value("ipAddress");
  out->private_dns_name = node.child_value("privateDnsName");
  out->public_dns_name = node.child_value("dnsName");
  for (const Node item : node.child("networkInterfaceSet").children("item")) {
    out->interfaces.push_back(InstanceInterface(item));
    if (out->interfaces.back().device_index != 0) continue;
    out->ipv6_address = item.child("ipv6AddressesSet").child("item").child_value("ipv6Address");
  }
}

}  // namespace

void ReadEc2(Node node, Ec2Instance* out) {
  out->id = node.child_value("instanceId");
  out->image_id = node.child_value("imageId");
  out->instance_type = node.child_value("instanceType");
  out->state = node.child("instanceState").child_value("name");
  out->state_reason_code = node.child("stateReason").child_value("code");
  out->state_reason_message = node.child("stateReason").child_value("message");
  out->state_transition_reason = node.child_value("reason");
  out->lifecycle = node.child_value("instanceLifecycle");
  out->spot_request_id = node.child_value("spotInstanceRequestId");
  out->client_token = node.child_value("clientToken");
  ReadPlace(node, out);
  out->key_name = node.child_value("keyName");
  out->instance_profile_arn = node.child("iamInstanceProfile").child_value("arn");
  out->architecture = node.child_value("architecture");
  out->root_device_name = node.child_value("rootDeviceName");
  out->platform_details = node.child_value("platformDetails");
  out->launch_time_ns = Time(node, "launchTime");
  out->ebs_optimized = Truth(node, "ebsOptimized");
  out->monitoring = std::string_view(node.child("monitoring").child_value("state")) == "enabled";
  const Node metadata = node.child("metadataOptions");
  out->metadata = {
      .http_tokens = metadata.child_value("httpTokens"),
      .http_put_response_hop_limit = metadata.child("httpPutResponseHopLimit").text().as_int(),
      .instance_metadata_tags = metadata.child_value("instanceMetadataTags")};
  for (const Node item : node.child("blockDeviceMapping").children("item")) {
    out->devices.push_back(InstanceDevice(item));
  }
  out->groups = Groups(node.child("groupSet"));
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2InstanceStatus* out) {
  out->id = node.child_value("instanceId");
  out->availability_zone = node.child_value("availabilityZone");
  out->state = node.child("instanceState").child_value("name");
  out->system_status = node.child("systemStatus").child_value("status");
  out->instance_status = node.child("instanceStatus").child_value("status");
  for (const Node item : node.child("eventsSet").children("item")) {
    out->event_codes.emplace_back(item.child_value("code"));
  }
}

void ReadEc2(Node node, Ec2VolumeAttachment* out) {
  out->instance_id = node.child_value("instanceId");
  out->device = node.child_value("device");
  out->status = node.child_value("status");
  out->delete_on_termination = Truth(node, "deleteOnTermination");
}

void ReadEc2(Node node, Ec2Volume* out) {
  out->id = node.child_value("volumeId");
  out->state = node.child_value("status");
  out->availability_zone = node.child_value("availabilityZone");
  out->snapshot_id = node.child_value("snapshotId");
  out->volume_type = node.child_value("volumeType");
  out->kms_key_id = node.child_value("kmsKeyId");
  out->size_gib = Number(node, "size");
  out->iops = Number(node, "iops");
  out->throughput = Number(node, "throughput");
  out->encrypted = Truth(node, "encrypted");
  out->create_time_ns = Time(node, "createTime");
  out->attachments = ReadEc2Items<Ec2VolumeAttachment>(node.child("attachmentSet"));
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2Snapshot* out) {
  out->id = node.child_value("snapshotId");
  out->volume_id = node.child_value("volumeId");
  // CreateSnapshots says "state" where all others say "status".
  out->state = node.child_value("status");
  if (out->state.empty()) out->state = node.child_value("state");
  out->state_message = node.child_value("statusMessage");
  out->progress = node.child_value("progress");
  out->description = node.child_value("description");
  out->owner_id = node.child_value("ownerId");
  out->volume_size_gib = Number(node, "volumeSize");
  out->encrypted = Truth(node, "encrypted");
  out->start_time_ns = Time(node, "startTime");
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2BlockDevice* out) {
  const Node ebs = node.child("ebs");
  out->device_name = node.child_value("deviceName");
  out->no_device = node.child_value("noDevice");
  out->virtual_name = node.child_value("virtualName");
  out->snapshot_id = ebs.child_value("snapshotId");
  out->volume_type = ebs.child_value("volumeType");
  out->kms_key_id = ebs.child_value("kmsKeyId");
  out->volume_size_gib = Number(ebs, "volumeSize");
  out->iops = Number(ebs, "iops");
  out->throughput = Number(ebs, "throughput");
  out->encrypted = Truth(ebs, "encrypted");
  out->delete_on_termination = Truth(ebs, "deleteOnTermination");
}

void ReadEc2(Node node, Ec2Image* out) {
  out->id = node.child_value("imageId");
  out->state = node.child_value("imageState");
  out->state_reason_message = node.child("stateReason").child_value("message");
  out->name = node.child_value("name");
  out->description = node.child_value("description");
  out->owner_id = node.child_value("imageOwnerId");
  out->architecture = node.child_value("architecture");
  out->root_device_name = node.child_value("rootDeviceName");
  out->root_device_type = node.child_value("rootDeviceType");
  out->virtualization_type = node.child_value("virtualizationType");
  out->boot_mode = node.child_value("bootMode");
  out->imds_support = node.child_value("imdsSupport");
  out->platform_details = node.child_value("platformDetails");
  out->ena_support = Truth(node, "enaSupport");
  out->devices = ReadEc2Items<Ec2BlockDevice>(node.child("blockDeviceMapping"));
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2NetworkInterface* out) {
  out->id = node.child_value("networkInterfaceId");
  out->status = node.child_value("status");
  out->subnet_id = node.child_value("subnetId");
  out->vpc_id = node.child_value("vpcId");
  out->availability_zone = node.child_value("availabilityZone");
  out->private_ip = node.child_value("privateIpAddress");
  out->mac_address = node.child_value("macAddress");
  out->description = node.child_value("description");
  const Node attachment = node.child("attachment");
  out->instance_id = attachment.child_value("instanceId");
  out->attachment_id = attachment.child_value("attachmentId");
  out->attachment_status = attachment.child_value("status");
  out->device_index = attachment.child("deviceIndex").text().as_int();
  out->delete_on_termination = Truth(attachment, "deleteOnTermination");
  const Node association = node.child("association");
  out->public_ip = association.child_value("publicIp");
  out->allocation_id = association.child_value("allocationId");
  out->association_id = association.child_value("associationId");
  for (const Node item : node.child("privateIpAddressesSet").children("item")) {
    if (Truth(item, "primary")) continue;
    out->secondary_private_ips.emplace_back(item.child_value("privateIpAddress"));
  }
  out->groups = Groups(node.child("groupSet"));
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2Address* out) {
  out->public_ip = node.child_value("publicIp");
  out->allocation_id = node.child_value("allocationId");
  out->association_id = node.child_value("associationId");
  out->instance_id = node.child_value("instanceId");
  out->network_interface_id = node.child_value("networkInterfaceId");
  out->private_ip = node.child_value("privateIpAddress");
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2Subnet* out) {
  out->id = node.child_value("subnetId");
  out->vpc_id = node.child_value("vpcId");
  out->availability_zone = node.child_value("availabilityZone");
  out->cidr = node.child_value("cidrBlock");
  out->state = node.child_value("state");
  out->available_addresses = Number(node, "availableIpAddressCount");
  out->default_for_az = Truth(node, "defaultForAz");
  out->map_public_ip = Truth(node, "mapPublicIpOnLaunch");
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2Vpc* out) {
  out->id = node.child_value("vpcId");
  out->cidr = node.child_value("cidrBlock");
  out->state = node.child_value("state");
  out->is_default = Truth(node, "isDefault");
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2SecurityGroup* out) {
  out->id = node.child_value("groupId");
  out->name = node.child_value("groupName");
  out->vpc_id = node.child_value("vpcId");
  out->description = node.child_value("groupDescription");
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2KeyPair* out) {
  out->id = node.child_value("keyPairId");
  out->name = node.child_value("keyName");
}

void ReadEc2(Node node, Ec2AvailabilityZone* out) {
  out->name = node.child_value("zoneName");
  out->id = node.child_value("zoneId");
  out->state = node.child_value("zoneState");
  out->region = node.child_value("regionName");
}

void ReadEc2(Node node, Ec2InstanceType* out) {
  out->name = node.child_value("instanceType");
  out->architectures = Texts(node.child("processorInfo").child("supportedArchitectures"));
  out->usage_classes = Texts(node.child("supportedUsageClasses"));
  out->virtualization_types = Texts(node.child("supportedVirtualizationTypes"));
  out->vcpus = Number(node.child("vCpuInfo"), "defaultVCpus");
  out->memory_mib = Number(node.child("memoryInfo"), "sizeInMiB");
  for (const Node item : node.child("gpuInfo").child("gpus").children("item")) {
    out->gpus += Number(item, "count");
  }
  out->burstable = Truth(node, "burstablePerformanceSupported");
  out->current_generation = Truth(node, "currentGeneration");
}

void ReadEc2(Node node, Ec2InstanceTypeOffering* out) {
  out->instance_type = node.child_value("instanceType");
  out->location = node.child_value("location");
}

void ReadEc2(Node node, Ec2SpotPrice* out) {
  out->instance_type = node.child_value("instanceType");
  out->availability_zone = node.child_value("availabilityZone");
  out->product = node.child_value("productDescription");
  out->usd_per_hour = node.child("spotPrice").text().as_double();
  out->time_ns = Time(node, "timestamp");
}

void ReadEc2(Node node, Ec2SpotRequest* out) {
  out->id = node.child_value("spotInstanceRequestId");
  out->state = node.child_value("state");
  out->status_code = node.child("status").child_value("code");
  out->status_message = node.child("status").child_value("message");
  out->instance_id = node.child_value("instanceId");
  out->instance_type = node.child("launchSpecification").child_value("instanceType");
  out->type = node.child_value("type");
  out->max_price = node.child_value("spotPrice");
  out->availability_zone = node.child_value("launchedAvailabilityZone");
  out->create_time_ns = Time(node, "createTime");
  out->tags = Tags(node);
}

void ReadEc2(Node node, Ec2ReservedInstances* out) {
  out->id = node.child_value("reservedInstancesId");
  out->instance_type = node.child_value("instanceType");
  out->availability_zone = node.child_value("availabilityZone");
  out->state = node.child_value("state");
  out->product = node.child_value("productDescription");
  out->count = Number(node, "instanceCount");
}

void ReadEc2(Node node, Ec2Tag* out) {
  out->resource_id = node.child_value("resourceId");
  out->resource_type = node.child_value("resourceType");
  out->key = node.child_value("key");
  out->value = node.child_value("value");
}

}  // namespace snapstore
