// Ec2Api: Amazon EC2's query API with types: the interface, for those who call it and for what
// takes its place in tests.
//
// Describe calls follow all pages. Calls that make something take a client token where the API has
// one; an empty one is replaced by a random one, so that a call that is tried again by itself makes
// one thing only. Callers that must survive their own death pass a token that they have recorded.
// Calls without a token (CreateSnapshot, CreateImage, RegisterImage, AllocateAddress) are not
// tried again when the answer was lost: look with a Describe whether they took effect.
// Errors: see AwsFailure. Source: "Actions", Amazon EC2 API Reference (2016-11-15).
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_EC2_EC2_API_H_
#define SNAPSTORE_ORCHESTRATOR_EC2_EC2_API_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/ec2/aws_error.h"
#include "orchestrator/ec2/ec2_types.h"

namespace snapstore {

// What a Describe call is asked for. Empty: all.
struct Ec2Query {
  std::vector<std::string> ids = {};
  std::map<std::string, std::vector<std::string>> filters = {};  // "tag:node" -> {"smi-1"}
  int page_size = 0;  // 0: the service's own; not together with ids
};

struct RunInterface {
  int device_index = 0;
  // An interface that exists; else a new one is made from the rest.
  std::string network_interface_id = {};
  std::string subnet_id = {};
  std::string private_ip = {};
  std::string description = {};
  std::vector<std::string> security_group_ids = {};
  std::optional<bool> associate_public_ip = std::nullopt;
  std::optional<bool> delete_on_termination = std::nullopt;
  int ipv6_address_count = 0;
};

struct RunInstancesRequest {
  std::string image_id = {};
  std::string instance_type = {};
  int count = 1;
  std::string client_token = {};
  std::string availability_zone = {};
  std::string tenancy = {};
  std::string subnet_id = {};  // not together with interfaces
  std::vector<std::string> security_group_ids = {};
  std::string key_name = {};
  std::string instance_profile_arn = {};
  std::string instance_profile_name = {};
  std::string user_data_base64 = {};
  std::string cpu_credits = {};  // standard, unlimited
  std::optional<bool> ebs_optimized = std::nullopt;
  std::optional<bool> monitoring = std::nullopt;
  bool spot = false;                // one-time, terminated on interruption
  std::string spot_max_price = {};  // USD an hour; empty: the on-demand price
  Ec2MetadataOptions metadata = {};
  std::vector<Ec2BlockDevice> devices = {};
  std::vector<RunInterface> interfaces = {};
  std::map<std::string, Ec2Tags> tags = {};  // by resource type: "instance", "volume", …
};

struct CreateVolumeRequest {
  std::string availability_zone = {};
  std::string snapshot_id = {};
  uint64_t size_gib = 0;  // 0: the snapshot's
  std::string volume_type = {};
  std::string kms_key_id = {};
  uint64_t iops = 0;
  uint64_t throughput = 0;
  bool encrypted = false;
  Ec2Tags tags = {};
  std::string client_token = {};
};

struct RegisterImageRequest {
  std::string name = {};
  std::string description = {};
  std::string architecture = {};
  std::string root_device_name = {};
  std::string virtualization_type = "hvm";
  std::string boot_mode = {};
  std::string imds_support = {};
  bool ena_support = true;
  std::vector<Ec2BlockDevice> devices = {};
};

struct CreateInterfaceRequest {
  std::string subnet_id = {};
  std::string private_ip = {};
  std::string description = {};
  std::vector<std::string> security_group_ids = {};
  Ec2Tags tags = {};
  std::string client_token = {};
};

struct AssociateAddressRequest {
  std::string allocation_id = {};
  std::string network_interface_id = {};
  std::string instance_id = {};
  bool allow_reassociation = true;
};

struct SpotPriceQuery {
  std::vector<std::string> instance_types = {};
  std::vector<std::string> products = {};  // "Linux/UNIX"
  std::string availability_zone = {};
  int64_t start_ns = 0;  // 0: 90 days ago, as the API has it
  int64_t end_ns = 0;    // 0: now
};

struct Ec2StateChange {
  std::string instance_id = {};
  std::string previous = {};
  std::string current = {};
};

class Ec2Api {
 public:
  virtual ~Ec2Api() = default;

  // Instances.
  // With `count` > 1 all or none.
  virtual Ec2Result<std::vector<Ec2Instance>> RunInstances(RunInstancesRequest request) = 0;
  virtual Ec2Result<std::vector<Ec2StateChange>> TerminateInstances(
      const std::vector<std::string>& ids) = 0;
  virtual Ec2Result<std::vector<Ec2Instance>> DescribeInstances(const Ec2Query& query) = 0;
  // `all`: instances in states other than running, too.
  virtual Ec2Result<std::vector<Ec2InstanceStatus>> DescribeInstanceStatus(const Ec2Query& query,
                                                                           bool all) = 0;
  // "userData" (base64), "instanceType", …: the attribute's value.
  virtual Ec2Result<std::string> DescribeInstanceAttribute(const std::string& instance_id,
                                                           const std::string& attribute) = 0;
  // By device name: whether its volume goes with the instance.
  virtual Ec2Result<AwsReceipt> ModifyDeleteOnTermination(
      const std::string& instance_id, const std::map<std::string, bool>& by_device) = 0;

  // Volumes, snapshots, images.
  virtual Ec2Result<Ec2Volume> CreateVolume(CreateVolumeRequest request) = 0;
  virtual Ec2Result<AwsReceipt> DeleteVolume(const std::string& id) = 0;
  virtual Ec2Result<std::vector<Ec2Volume>> DescribeVolumes(const Ec2Query& query) = 0;
  virtual Ec2Result<Ec2VolumeAttachment> AttachVolume(const std::string& volume_id,
                                                      const std::string& instance_id,
                                                      const std::string& device) = 0;
  virtual Ec2Result<Ec2VolumeAttachment> DetachVolume(const std::string& volume_id,
                                                      const std::string& instance_id,
                                                      bool force) = 0;
  virtual Ec2Result<Ec2Snapshot> CreateSnapshot(const std::string& volume_id,
                                                const std::string& description,
                                                const Ec2Tags& tags) = 0;
  // Of all volumes of an instance at one instant.
  virtual Ec2Result<std::vector<Ec2Snapshot>> CreateSnapshots(
      const std::string& instance_id, bool exclude_root,
      const std::vector<std::string>& exclude_volumes, const std::string& description,
      const Ec2Tags& tags) = 0;
  virtual Ec2Result<AwsReceipt> DeleteSnapshot(const std::string& id) = 0;
  // Of this account only.
  virtual Ec2Result<std::vector<Ec2Snapshot>> DescribeSnapshots(const Ec2Query& query) = 0;
  virtual Ec2Result<std::string> RegisterImage(const RegisterImageRequest& request) = 0;
  virtual Ec2Result<std::string> CreateImage(const std::string& instance_id,
                                             const std::string& name, bool no_reboot,
                                             const std::map<std::string, Ec2Tags>& tags) = 0;
  virtual Ec2Result<AwsReceipt> DeregisterImage(const std::string& id) = 0;
  virtual Ec2Result<std::vector<Ec2Image>> DescribeImages(const Ec2Query& query) = 0;

  // Network.
  virtual Ec2Result<Ec2NetworkInterface> CreateNetworkInterface(CreateInterfaceRequest request) = 0;
  virtual Ec2Result<AwsReceipt> DeleteNetworkInterface(const std::string& id) = 0;
  virtual Ec2Result<AwsReceipt> ModifyInterfaceGroups(
      const std::string& id, const std::vector<std::string>& group_ids) = 0;
  virtual Ec2Result<AwsReceipt> ModifyInterfaceDeleteOnTermination(const std::string& id,
                                                                   const std::string& attachment_id,
                                                                   bool delete_on_termination) = 0;
  virtual Ec2Result<AwsReceipt> UnassignPrivateIpAddresses(
      const std::string& id, const std::vector<std::string>& addresses) = 0;
  virtual Ec2Result<std::vector<Ec2NetworkInterface>> DescribeNetworkInterfaces(
      const Ec2Query& query) = 0;
  virtual Ec2Result<Ec2Address> AllocateAddress(const Ec2Tags& tags) = 0;
  virtual Ec2Result<AwsReceipt> ReleaseAddress(const std::string& allocation_id) = 0;
  // The association's id.
  virtual Ec2Result<std::string> AssociateAddress(const AssociateAddressRequest& request) = 0;
  virtual Ec2Result<AwsReceipt> DisassociateAddress(const std::string& association_id) = 0;
  virtual Ec2Result<std::vector<Ec2Address>> DescribeAddresses(const Ec2Query& query) = 0;
  virtual Ec2Result<std::vector<Ec2Subnet>> DescribeSubnets(const Ec2Query& query) = 0;
  virtual Ec2Result<std::vector<Ec2Vpc>> DescribeVpcs(const Ec2Query& query) = 0;
  virtual Ec2Result<std::vector<Ec2SecurityGroup>> DescribeSecurityGroups(
      const Ec2Query& query) = 0;

  // Spot and the markets. Ids of key pairs, zones and types are their names.
  virtual Ec2Result<std::vector<Ec2SpotPrice>> DescribeSpotPriceHistory(
      const SpotPriceQuery& query) = 0;
  virtual Ec2Result<std::vector<Ec2SpotRequest>> DescribeSpotInstanceRequests(
      const Ec2Query& query) = 0;
  virtual Ec2Result<AwsReceipt> CancelSpotInstanceRequests(const std::vector<std::string>& ids) = 0;
  virtual Ec2Result<std::vector<Ec2AvailabilityZone>> DescribeAvailabilityZones(
      const Ec2Query& query) = 0;
  virtual Ec2Result<std::vector<Ec2InstanceType>> DescribeInstanceTypes(const Ec2Query& query) = 0;
  virtual Ec2Result<std::vector<Ec2InstanceTypeOffering>> DescribeInstanceTypeOfferings(
      const Ec2Query& query) = 0;
  virtual Ec2Result<std::vector<Ec2ReservedInstances>> DescribeReservedInstances(
      const Ec2Query& query) = 0;
  virtual Ec2Result<std::vector<Ec2KeyPair>> DescribeKeyPairs(const Ec2Query& query) = 0;

  // Tags.
  virtual Ec2Result<AwsReceipt> CreateTags(const std::vector<std::string>& ids,
                                           const Ec2Tags& tags) = 0;
  // An empty value takes the tag away whatever it says.
  virtual Ec2Result<AwsReceipt> DeleteTags(const std::vector<std::string>& ids,
                                           const Ec2Tags& tags) = 0;
  virtual Ec2Result<std::vector<Ec2Tag>> DescribeTags(const Ec2Query& query) = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ORCHESTRATOR_EC2_EC2_API_H_
