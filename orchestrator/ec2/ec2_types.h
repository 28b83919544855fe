// What EC2 tells about its resources, as far as somebody here needs it. Names are the API's.
// Source: "Data Types", Amazon EC2 API Reference (2016-11-15).
//
// Texts are empty, and numbers 0, where EC2 says nothing. Times are ns since 1970.
//
// Thread safety: values only.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_EC2_TYPES_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_EC2_TYPES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace snapstore {

using Ec2Tags = std::map<std::string, std::string>;

struct Ec2GroupId {
  std::string id = {};
  std::string name = {};
};

struct Ec2InstanceDevice {
  std::string device_name = {};
  std::string volume_id = {};
  std::string status = {};  // attaching, attached, detaching, detached
  int64_t attach_time_ns = 0;
  bool delete_on_termination = false;
};

struct Ec2InstanceInterface {
  std::string id = {};
  std::string subnet_id = {};
  std::string private_ip = {};
  std::string status = {};
  std::string attachment_id = {};
  int device_index = 0;
  bool delete_on_termination = false;
};

struct Ec2MetadataOptions {
  std::string http_tokens = {};  // optional, required
  int http_put_response_hop_limit = 0;
  std::string instance_metadata_tags = {};  // enabled, disabled
};

struct Ec2Instance {
  std::string id = {};
  std::string image_id = {};
  std::string instance_type = {};
  // pending, running, shutting-down, terminated, stopping, stopped
  std::string state = {};
  std::string state_reason_code = {};  // "Server.SpotInstanceTermination"
  std::string state_reason_message = {};
  std::string state_transition_reason = {};
  std::string lifecycle = {};  // "spot"; empty: on-demand
  std::string spot_request_id = {};
  std::string client_token = {};
  std::string availability_zone = {};
  std::string tenancy = {};
  std::string subnet_id = {};
  std::string vpc_id = {};
  std::string private_ip = {};
  std::string public_ip = {};
  std::string private_dns_name = {};
  std::string public_dns_name = {};
  std::string ipv6_address = {};  // the first of the primary interface
  std::string key_name = {};
  std::string instance_profile_arn = {};
  std::string architecture = {};
  std::string root_device_name = {};
  std::string platform_details = {};  // "Linux/UNIX"
  int64_t launch_time_ns = 0;
  bool ebs_optimized = false;
  bool monitoring = false;
  Ec2MetadataOptions metadata = {};
  std::vector<Ec2InstanceDevice> devices = {};
  std::vector<Ec2InstanceInterface> interfaces = {};
  std::vector<Ec2GroupId> groups = {};
  Ec2Tags tags = {};
};

struct Ec2InstanceStatus {
  std::string id = {};
  std::string availability_zone = {};
  std::string state = {};
  // ok, impaired, insufficient-data, not-applicable, initializing
  std::string system_status = {};
  std::string instance_status = {};
  std::vector<std::string> event_codes = {};  // "instance-retirement"
};

struct Ec2VolumeAttachment {
  std::string instance_id = {};
  std::string device = {};
  std::string status = {};  // attaching, attached, detaching, detached, busy
  bool delete_on_termination = false;
};

struct Ec2Volume {
  std::string id = {};
  std::string state = {};  // creating, available, in-use, deleting, deleted, error
  std::string availability_zone = {};
  std::string snapshot_id = {};
  std::string volume_type = {};
  std::string kms_key_id = {};
  uint64_t size_gib = 0;
  uint64_t iops = 0;
  uint64_t throughput = 0;  // MiB/s
  bool encrypted = false;
  int64_t create_time_ns = 0;
  std::vector<Ec2VolumeAttachment> attachments = {};
  Ec2Tags tags = {};
};

struct Ec2Snapshot {
  std::string id = {};
  std::string volume_id = {};
  std::string state = {};  // pending, completed, error
  std::string state_message = {};
  std::string progress = {};  // "80%"
  std::string description = {};
  std::string owner_id = {};
  uint64_t volume_size_gib = 0;
  bool encrypted = false;
  int64_t start_time_ns = 0;
  Ec2Tags tags = {};
};

// Of an image, of a launch, of a registration. Fields that are 0 or empty are not sent.
struct Ec2BlockDevice {
  std::string device_name = {};
  std::string snapshot_id = {};
  std::string volume_type = {};
  std::string kms_key_id = {};
  std::string no_device = {};  // not empty: the image's device of this name is left out
  std::string virtual_name = {};
  uint64_t volume_size_gib = 0;
  uint64_t iops = 0;
  uint64_t throughput = 0;  // MiB/s
  bool encrypted = false;
  bool delete_on_termination = true;
};

struct Ec2Image {
  std::string id = {};
  std::string state = {};  // pending, available, invalid, deregistered, failed, error
  std::string state_reason_message = {};
  std::string name = {};
  std::string description = {};
  std::string owner_id = {};
  std::string architecture = {};
  std::string root_device_name = {};
  std::string root_device_type = {};
  std::string virtualization_type = {};
  std::string boot_mode = {};
  std::string imds_support = {};
  std::string platform_details = {};
  bool ena_support = false;
  std::vector<Ec2BlockDevice> devices = {};
  Ec2Tags tags = {};
};

struct Ec2NetworkInterface {
  std::string id = {};
  std::string status = {};  // available, attaching, in-use, detaching
  std::string subnet_id = {};
  std::string vpc_id = {};
  std::string availability_zone = {};
  std::string private_ip = {};
  std::string mac_address = {};
  std::string description = {};
  std::string instance_id = {};  // attached to
  std::string attachment_id = {};
  std::string attachment_status = {};
  int device_index = 0;
  bool delete_on_termination = false;
  std::string public_ip = {};
  std::string allocation_id = {};
  std::string association_id = {};
  std::vector<std::string> secondary_private_ips = {};
  std::vector<Ec2GroupId> groups = {};
  Ec2Tags tags = {};
};

struct Ec2Address {
  std::string public_ip = {};
  std::string allocation_id = {};
  std::string association_id = {};
  std::string instance_id = {};
  std::string network_interface_id = {};
  std::string private_ip = {};
  Ec2Tags tags = {};
};

struct Ec2Subnet {
  std::string id = {};
  std::string vpc_id = {};
  std::string availability_zone = {};
  std::string cidr = {};
  std::string state = {};
  uint64_t available_addresses = 0;
  bool default_for_az = false;
  bool map_public_ip = false;
  Ec2Tags tags = {};
};

struct Ec2Vpc {
  std::string id = {};
  std::string cidr = {};
  std::string state = {};
  bool is_default = false;
  Ec2Tags tags = {};
};

struct Ec2SecurityGroup {
  std::string id = {};
  std::string name = {};
  std::string vpc_id = {};
  std::string description = {};
  Ec2Tags tags = {};
};

struct Ec2KeyPair {
  std::string id = {};
  std::string name = {};
};

struct Ec2AvailabilityZone {
  std::string name = {};
  std::string id = {};
  std::string state = {};
  std::string region = {};
};

struct Ec2InstanceType {
  std::string name = {};
  std::vector<std::string> architectures = {};
  std::vector<std::string> usage_classes = {};  // spot, on-demand
  std::vector<std::string> virtualization_types = {};
  uint64_t vcpus = 0;
  uint64_t memory_mib = 0;
  uint64_t gpus = 0;
  bool burstable = false;
  bool current_generation = false;
};

struct Ec2InstanceTypeOffering {
  std::string instance_type = {};
  std::string location = {};
};

struct Ec2SpotPrice {
  std::string instance_type = {};
  std::string availability_zone = {};
  std::string product = {};
  double usd_per_hour = 0;
  int64_t time_ns = 0;
};

struct Ec2SpotRequest {
  std::string id = {};
  std::string state = {};        // open, active, closed, cancelled, failed
  std::string status_code = {};  // "fulfilled", "marked-for-termination"
  std::string status_message = {};
  std::string instance_id = {};
  std::string instance_type = {};
  std::string type = {};  // one-time, persistent
  std::string max_price = {};
  std::string availability_zone = {};
  int64_t create_time_ns = 0;
  Ec2Tags tags = {};
};

struct Ec2ReservedInstances {
  std::string id = {};
  std::string instance_type = {};
  std::string availability_zone = {};
  std::string state = {};
  std::string product = {};
  uint64_t count = 0;
};

struct Ec2Tag {
  std::string resource_id = {};
  std::string resource_type = {};
  std::string key = {};
  std::string value = {};
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_EC2_TYPES_H_
