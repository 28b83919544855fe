// The fields of `compute`, the part of NodeSpec that says what is launched.
// Private to the folder. Source: the tables in docs/controller.md.
#ifndef SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_COMPUTE_FIELDS_H_
#define SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_COMPUTE_FIELDS_H_

#include <algorithm>
#include <array>

#include "orchestrator/model/ids.h"
#include "orchestrator/model/internal/checks.h"
#include "orchestrator/model/internal/fields.h"
#include "orchestrator/model/node_spec.h"

namespace snapstore::spot {

template <>
struct EnumNames<Tenancy> {
  static constexpr std::array<std::string_view, 2> kNames{"default", "dedicated"};
};
template <>
struct EnumNames<CpuCredits> {
  static constexpr std::array<std::string_view, 2> kNames{"standard", "unlimited"};
};
template <>
struct EnumNames<HttpTokens> {
  static constexpr std::array<std::string_view, 2> kNames{"optional", "required"};
};

inline constexpr size_t kUserDataBytesMax = 16 << 10;  // EC2's
inline constexpr size_t kShutdownScriptBytesMax = 64 << 10;
inline constexpr size_t kTagsMax = 50;  // EC2's

inline const WordOf& ProductWord() {
  static const WordOf word{{"Linux/UNIX", "SUSE Linux", "Windows", "Red Hat Enterprise Linux",
                            "Linux/UNIX (Amazon VPC)", "SUSE Linux (Amazon VPC)",
                            "Windows (Amazon VPC)", "Red Hat Enterprise Linux (Amazon VPC)"}};
  return word;
}

// The first value that two entries share, or nothing.
template <typename List, typename Key>
std::string Repeated(const List& list, const Key& key) {
  for (size_t i = 0; i < list.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (key(list[i]) == key(list[j])) return fmt::format("has '{}' twice", key(list[i]));
    }
  }
  return "";
}

// The object that Fields is reading gives only bounds; what they bound is in its owner.
inline auto RangeWithin(int64_t least, int64_t most) {
  return [least, most](const ResourceRange& range) -> std::string {
    if (!range.minimum && !range.maximum) return "must have minimum or maximum";
    const int64_t low = range.minimum.value_or(least);
    const int64_t high = range.maximum.value_or(most);
    if (low < least || high > most || low > most || high < least) {
      return fmt::format("must lie between {} and {}", least, most);
    }
    return low > high ? "has a minimum above its maximum" : "";
  };
}

template <typename V, Is<ResourceRange> T>
void Fields(V& v, T& o) {
  v.Field("minimum", o.minimum);
  v.Field("maximum", o.maximum);
}
template <typename V, Is<ResourceRequirements> T>
void Fields(V& v, T& o) {
  v.Required("requiredVCpu", o.required_vcpus, RangeWithin(1, 64));
  v.Required("requiredMemory", o.required_memory_gib, RangeWithin(1, 512));
  v.Field("requiredGpu", o.required_gpus, RangeWithin(1, 16));
  v.Field("excludedInstanceTypes", o.excluded_instance_types, Each(CheckInstanceType));
  v.Field("excludedInstanceFamilies", o.excluded_instance_families, Each(TextOf{1, 64}));
  v.Field("excludedInstanceGenerations", o.excluded_instance_generations, Each(TextOf{1, 64}));
}

inline bool HasType(const InstanceTypes& o, const std::string& type) {
  return std::find(o.types.begin(), o.types.end(), type) != o.types.end();
}
inline bool HasAllPreferred(const InstanceTypes& o) {
  return std::all_of(o.preferred_types.begin(), o.preferred_types.end(),
                     [&o](const std::string& type) { return HasType(o, type); });
}

template <typename V, Is<InstanceTypes> T>
void Fields(V& v, T& o) {
  v.Field("preferredType", o.preferred_type, CheckInstanceType);
  v.Field("preferredTypes", o.preferred_types, Each(CheckInstanceType), kUnique);
  v.Field("types", o.types, Each(CheckInstanceType), kUnique);
  v.Field("resourceRequirements", o.resource_requirements);
  v.Expect(!(o.preferred_type && !o.preferred_types.empty()), "preferredTypes",
           "must not be given together with preferredType");
  v.Expect(!o.types.empty() || o.resource_requirements, "types",
           "must name at least one instance type, unless resourceRequirements is given");
  v.Expect(o.types.empty() || !o.resource_requirements, "resourceRequirements",
           "must not be given together with types");
  v.Expect(!o.preferred_type || o.types.empty() || HasType(o, *o.preferred_type), "preferredType",
           "must be one of types");
  v.Expect(o.types.empty() || HasAllPreferred(o), "preferredTypes", "must all be among types");
}

template <typename V, Is<IamRole> T>
void Fields(V& v, T& o) {
  v.Field("name", o.name, TextOf{1, 128});
  v.Field("arn", o.arn, CheckProfileArn);
  v.Expect(o.name.has_value() != o.arn.has_value(), "arn",
           o.arn ? "must not be given together with name" : "is required, or name");
}
template <typename V, Is<Tag> T>
void Fields(V& v, T& o) {
  v.Required("tagKey", o.key, TextOf{1, 128});
  v.Required("tagValue", o.value, TextOf{0, 256});
  v.Expect(!o.key.starts_with("aws:"), "tagKey", "must not begin with aws:, which is reserved");
  v.Expect(!IsOwnTag(o.key), "tagKey",
           "must not begin with snapstore:, which says whose a resource is");
}
template <typename V, bool kDefault>
void Fields(V& v, ShouldTag<kDefault>& o) {
  v.Field("shouldTag", o.should_tag);
}
template <typename V, bool kDefault>
void Fields(V& v, const ShouldTag<kDefault>& o) {
  v.Field("shouldTag", o.should_tag);
}
template <typename V, Is<ResourceTagSpecification> T>
void Fields(V& v, T& o) {
  v.Field("volumes", o.volumes);
  v.Field("snapshots", o.snapshots);
  v.Field("enis", o.enis);
  v.Field("amis", o.amis);
}
template <typename V, Is<CreditSpecification> T>
void Fields(V& v, T& o) {
  v.Field("cpuCredits", o.cpu_credits);
}
template <typename V, Is<MetadataOptions> T>
void Fields(V& v, T& o) {
  v.Required("httpTokens", o.http_tokens);
  v.Field("httpPutResponseHopLimit", o.http_put_response_hop_limit, Between(1, 64));
  v.Field("instanceMetadataTags", o.instance_metadata_tags, WordOf{{"enabled", "disabled"}});
}
template <typename V, Is<NetworkInterface> T>
void Fields(V& v, T& o) {
  v.Required("deviceIndex", o.device_index, Between(0, 15));
  v.Field("associatePublicIpAddress", o.associate_public_ip_address);
  v.Field("associateIpv6Address", o.associate_ipv6_address);
  v.Field("networkInterfaceId", o.network_interface_id, IdOf{"eni-"});
  v.Expect(!o.associate_public_ip_address || !o.network_interface_id, "associatePublicIpAddress",
           "must not be given together with networkInterfaceId");
  v.Expect(!o.associate_public_ip_address.value_or(false) || o.device_index == 0,
           "associatePublicIpAddress", "must be true on device index 0 only");
}

inline bool IsVolumeType(const Ebs& o, std::initializer_list<std::string_view> types) {
  return o.volume_type && WordOf{std::vector<std::string_view>(types)}(*o.volume_type).empty();
}

template <typename V, Is<Ebs> T>
void Fields(V& v, T& o) {
  v.Field("volumeType", o.volume_type,
          WordOf{{"standard", "gp2", "gp3", "io1", "io2", "st1", "sc1"}});
  v.Field("volumeSize", o.volume_size_gib, Between(1, 65'536));
  v.Field("iops", o.iops, Between(0, 256'000));
  v.Field("throughput", o.throughput, Between(125, 1000));
  v.Field("deleteOnTermination", o.delete_on_termination);
  v.Field("encrypted", o.encrypted);
  v.Field("kmsKeyId", o.kms_key_id, TextOf{1, 2048});
  v.Field("snapshotId", o.snapshot_id, IdOf{"snap-"});
  const bool has_iops = o.iops.value_or(0) > 0;
  v.Expect(has_iops || !IsVolumeType(o, {"io1", "io2"}), "iops",
           "is required when volumeType is io1 or io2");
  v.Expect(!has_iops || !IsVolumeType(o, {"standard", "gp2", "st1", "sc1"}), "iops",
           "must be given for volumes of type io1, io2 and gp3 only");
  v.Expect(!o.kms_key_id || o.encrypted.value_or(true), "encrypted",
           "must not be false when kmsKeyId is given");
}
template <typename V, Is<BlockDeviceMapping> T>
void Fields(V& v, T& o) {
  v.Required("deviceName", o.device_name, TextOf{1, 64});
  v.Field("ebs", o.ebs);
  v.Field("noDevice", o.no_device, TextOf{0, 64});
  v.Field("virtualName", o.virtual_name, TextOf{0, 64});
}

template <typename V, Is<LaunchSpecification> T>
void Fields(V& v, T& o) {
  v.Required("instanceTypes", o.instance_types);
  v.Required("imageId", o.image_id, IdOf{"ami-"});
  v.Field("securityGroupIds", o.security_group_ids, Each(IdOf{"sg-"}), kUnique);
  v.Field("keyPair", o.key_pair, TextOf{1, 255});
  v.Field("iamRole", o.iam_role);
  v.Field("userData", o.user_data, Base64Of{kUserDataBytesMax, ""});
  v.Field("shutdownScript", o.shutdown_script, Base64Of{kShutdownScriptBytesMax, "#!"});
  v.Field("tags", o.tags, [](const std::vector<Tag>& tags) {
    return tags.size() > kTagsMax
               ? fmt::format("must have at most {} entries", kTagsMax)
               : Repeated(tags, [](const Tag& tag) -> const std::string& { return tag.key; });
  });
  v.Field("resourceTagSpecification", o.resource_tags);
  v.Field("ebsOptimized", o.ebs_optimized);
  v.Field("monitoring", o.monitoring);
  v.Field("tenancy", o.tenancy);
  v.Field("creditSpecification", o.credit_specification);
  v.Field("metadataOptions", o.metadata_options);
  v.Field("networkInterfaces", o.network_interfaces, [](const std::vector<NetworkInterface>& all) {
    return Repeated(all, [](const NetworkInterface& one) { return one.device_index; });
  });
  v.Field("blockDeviceMappings", o.block_device_mappings,
          [](const std::vector<BlockDeviceMapping>& all) {
            return Repeated(all, [](const BlockDeviceMapping& one) -> const std::string& {
              return one.device_name;
            });
          });
}

// Roots are kept or dropped by persistence, not attached.
inline std::string CheckDataDevice(const std::string& name) {
  if (name == "/dev/xvda" || name == "/dev/sda1") return "must not be a root device";
  return TextOf{1, 64}(name);
}
template <typename V, Is<VolumeAttachment> T>
void Fields(V& v, T& o) {
  v.Required("volumeId", o.volume_id, IdOf{"vol-"});
  v.Required("deviceName", o.device_name, CheckDataDevice);
}
template <typename V, Is<VolumeAttachments> T>
void Fields(V& v, T& o) {
  v.Field("volumes", o.volumes, [](const std::vector<VolumeAttachment>& all) {
    std::string twice = Repeated(
        all, [](const VolumeAttachment& one) -> const auto& { return one.volume_id; });
    if (!twice.empty()) return twice;
    return Repeated(
        all, [](const VolumeAttachment& one) -> const auto& { return one.device_name; });
  });
}

template <typename V, Is<Compute> T>
void Fields(V& v, T& o) {
  v.Required("subnetIds", o.subnet_ids, kNotEmpty, Each(IdOf{"subnet-"}), kUnique);
  v.Required("vpcId", o.vpc_id, IdOf{"vpc-"});
  v.Field("elasticIp", o.elastic_ip, IdOf{"eipalloc-"});
  v.Field("privateIp", o.private_ip, CheckIpv4);
  v.Field("privateIps", o.private_ips, Each(CheckIpv4), kUnique);
  v.Field("product", o.product, ProductWord());
  // EC2 compares it with regard to case, wherever it is asked about prices and reservations.
  if constexpr (!std::is_const_v<T>) ProductWord().Spell(&o.product);
  v.Field("volumeAttachments", o.volume_attachments);
  v.Required("launchSpecification", o.launch_specification);
  v.Expect(!o.private_ip || o.private_ips.empty(), "privateIps",
           "must not be given together with privateIp");
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_MODEL_INTERNAL_COMPUTE_FIELDS_H_
