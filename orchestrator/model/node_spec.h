// NodeSpec: a stateful node as its owner asks for it: the `managedInstance` object of the Spot API.
//
// Names follow the JSON; what a field means, its range and its default are documented in
// docs/controller.md. A Setting has a default, an optional has none; a list is empty when it is
// not given. A NodeSpec that ParseNodeSpec returned keeps every rule.
//
// Thread safety: a value.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_NODE_SPEC_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_NODE_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/model/field_error.h"
#include "orchestrator/model/json.h"
#include "orchestrator/model/setting.h"

namespace snapstore::spot {

enum class LifeCycle { kSpot, kOnDemand };
enum class Orientation { kAvailabilityOriented, kBalanced, kCostOriented, kCheapest };
enum class PerformAt { kNever, kAlways, kTimeWindow };
enum class BlockDevicesMode { kReattach, kOnLaunch };
enum class HealthCheckType { kEc2, kElb, kTargetGroup };
enum class Tenancy { kDefault, kDedicated };
enum class CpuCredits { kStandard, kUnlimited };
enum class HttpTokens { kOptional, kRequired };
enum class TaskType { kPause, kResume, kRecycle };
enum class Frequency { kHourly, kDaily, kWeekly };
enum class LoadBalancerType { kClassic, kTargetGroup };
enum class RecordSetType { kA, kCname };
enum class OperatingSystem { kLinux, kSuse, kWindows, kRedHat };

struct RevertToSpot {
  Setting<PerformAt, PerformAt::kNever> perform_at;
};

struct Strategy {
  Setting<LifeCycle, LifeCycle::kSpot> life_cycle;
  Setting<Orientation, Orientation::kAvailabilityOriented> orientation;
  std::optional<int64_t> draining_timeout_seconds;
  Flag<true> fallback_to_on_demand;
  Flag<false> utilize_reserved_instances;
  Flag<false> utilize_commitments;
  std::vector<std::string> optimization_windows;  // "Mon:03:00-Wed:02:30", UTC, may wrap the week
  RevertToSpot revert_to_spot;
  std::optional<int64_t> minimum_instance_lifetime_hours;
};

struct Persistence {
  Flag<false> persist_root_device;
  Flag<false> persist_block_devices;
  Setting<BlockDevicesMode, BlockDevicesMode::kOnLaunch> block_devices_mode;
  Flag<false> persist_private_ip;
  Flag<false> persist_application;
  std::vector<std::string> application_persistency_configs;  // apc-…
};

struct HealthCheck {
  Setting<HealthCheckType, HealthCheckType::kEc2> type;
  Flag<true> auto_healing;
  Number<120> grace_period_seconds;
  Number<120> unhealthy_duration_seconds;
};

struct ResourceRange {
  std::optional<int64_t> minimum;
  std::optional<int64_t> maximum;
};
struct ResourceRequirements {
  ResourceRange required_vcpus;
  ResourceRange required_memory_gib;
  std::optional<ResourceRange> required_gpus;
  std::vector<std::string> excluded_instance_types;
  std::vector<std::string> excluded_instance_families;
  std::vector<std::string> excluded_instance_generations;
};
struct InstanceTypes {
  std::optional<std::string> preferred_type;
  std::vector<std::string> preferred_types;
  std::vector<std::string> types;
  std::optional<ResourceRequirements> resource_requirements;
};

struct IamRole {  // exactly one is set
  std::optional<std::string> name;
  std::optional<std::string> arn;
};
struct Tag {
  std::string key;
  std::string value;
};
// Keys that the controller keeps for itself.
inline bool IsOwnTag(const std::string& key) { return key.starts_with("snapstore:"); }
template <bool kDefault>
struct ShouldTag {
  Flag<kDefault> should_tag;
};
struct ResourceTagSpecification {
  ShouldTag<false> volumes;
  ShouldTag<true> snapshots;
  ShouldTag<false> enis;
  ShouldTag<true> amis;
};
struct CreditSpecification {
  std::optional<CpuCredits> cpu_credits;
};
struct MetadataOptions {
  HttpTokens http_tokens = HttpTokens::kOptional;
  std::optional<int64_t> http_put_response_hop_limit;
  std::optional<std::string> instance_metadata_tags;  // as written: enabled or disabled, any case
};
struct NetworkInterface {
  int64_t device_index = 0;
  std::optional<bool> associate_public_ip_address;
  Flag<false> associate_ipv6_address;
  std::optional<std::string> network_interface_id;
};
struct Ebs {
  std::optional<std::string> volume_type;  // as written, any case
  std::optional<int64_t> volume_size_gib;
  std::optional<int64_t> iops;  // 0: unset
  // MiB/s. To be sent for gp3 only: the API's own sample has it beside gp2.
  std::optional<int64_t> throughput;
  std::optional<bool> delete_on_termination;
  std::optional<bool> encrypted;
  std::optional<std::string> kms_key_id;
  std::optional<std::string> snapshot_id;
};
struct BlockDeviceMapping {
  std::string device_name;
  std::optional<Ebs> ebs;
  std::optional<std::string> no_device;
  std::optional<std::string> virtual_name;
};

struct LaunchSpecification {
  InstanceTypes instance_types;
  std::string image_id;
  std::vector<std::string> security_group_ids;
  std::optional<std::string> key_pair;
  std::optional<IamRole> iam_role;
  std::optional<std::string> user_data;        // base64
  std::optional<std::string> shutdown_script;  // base64
  std::vector<Tag> tags;
  ResourceTagSpecification resource_tags;
  Flag<false> ebs_optimized;
  Flag<false> monitoring;
  Setting<Tenancy, Tenancy::kDefault> tenancy;
  CreditSpecification credit_specification;
  std::optional<MetadataOptions> metadata_options;
  std::vector<NetworkInterface> network_interfaces;
  std::vector<BlockDeviceMapping> block_device_mappings;
};

struct VolumeAttachment {
  std::string volume_id;
  std::string device_name;
};
struct VolumeAttachments {
  std::vector<VolumeAttachment> volumes;
};

struct Compute {
  std::vector<std::string> subnet_ids;
  std::string vpc_id;
  std::optional<std::string> elastic_ip;  // eipalloc-…
  std::optional<std::string> private_ip;
  // An extension: the first free one is taken at the first launch, then kept.
  std::vector<std::string> private_ips;
  std::optional<std::string> product;  // as EC2 spells it; see OperatingSystemOf
  VolumeAttachments volume_attachments;
  LaunchSpecification launch_specification;
};

struct Task {
  TaskType type = TaskType::kPause;
  Flag<true> is_enabled;
  std::optional<std::string> cron_expression;  // UTC
  std::optional<Frequency> frequency;          // counted from start_time
  std::optional<std::string> start_time;       // alone: once
};
struct Scheduling {
  std::vector<Task> tasks;
};

struct LoadBalancer {
  LoadBalancerType type = LoadBalancerType::kClassic;
  std::optional<std::string> name;  // of a classic one
  std::optional<std::string> arn;   // of a target group
};
struct LoadBalancersConfig {
  std::vector<LoadBalancer> load_balancers;
};
struct RecordSet {
  std::string name;
  Flag<false> use_public_ip;   // of an A record
  Flag<false> use_public_dns;  // of a CNAME record
};
struct Domain {
  std::string hosted_zone_id;
  std::optional<std::string> spotinst_account_id;
  Setting<RecordSetType, RecordSetType::kA> record_set_type;
  std::vector<RecordSet> record_sets;
};
struct Route53 {
  std::vector<Domain> domains;
};
struct Integrations {
  LoadBalancersConfig load_balancers_config;
  Route53 route53;
};

struct NodeSpec {
  std::string name;
  std::optional<std::string> description;
  std::string region;
  Strategy strategy;
  Persistence persistence;
  HealthCheck health_check;
  Compute compute;
  Scheduling scheduling;
  Integrations integrations;
};

// The object of a create, its fields named "managedInstance.…". Nothing, and at least one error,
// when it breaks a rule.
std::optional<NodeSpec> ParseNodeSpec(const Json& object, FieldErrors* errors);

// `current` changed by what an update says: a field that is absent stays, null removes it, objects
// merge, lists are replaced as a whole. Errors as above, also for what cannot be changed (region,
// product).
std::optional<NodeSpec> UpdateNodeSpec(const NodeSpec& current, const Json& change,
                                       FieldErrors* errors);

// What was set, in the order of the documentation; defaults are left out.
Json NodeSpecJson(const NodeSpec& spec);

// What NodeSpecJson made, by whatever version: no rule is asked. Corruption.
Result<NodeSpec> StoredNodeSpec(const Json& stored);

// Of compute.product, whose default is Linux/UNIX.
OperatingSystem OperatingSystemOf(const NodeSpec& spec);

// Whether anything survives a replacement.
bool PersistsAnything(const Persistence& persistence);

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_NODE_SPEC_H_
