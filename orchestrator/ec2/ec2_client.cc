#include "orchestrator/ec2/ec2_client.h"

#include "base/bytes.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "orchestrator/ec2/internal/ec2_request.h"

namespace snapstore {

void Ec2Client::Parameters::List(const std::string& name, const std::vector<std::string>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    list_.emplace_back(fmt::format("{}.{}", name, i + 1), values[i]);
  }
}

void Ec2Client::Parameters::Tags(const Ec2Tags& tags, const std::string& prefix) {
  size_t number = 0;
  for (const auto& [key, value] : tags) {
    ++number;
    list_.emplace_back(fmt::format("{}.{}.Key", prefix, number), key);
    list_.emplace_back(fmt::format("{}.{}.Value", prefix, number), value);
  }
}

void Ec2Client::Parameters::TagSpecifications(const std::map<std::string, Ec2Tags>& by_type) {
  size_t number = 0;
  for (const auto& [type, tags] : by_type) {
    if (tags.empty()) continue;
    const std::string prefix = fmt::format("TagSpecification.{}", ++number);
    list_.emplace_back(prefix + ".ResourceType", type);
    Tags(tags, prefix + ".Tag");
  }
}

void Ec2Client::Parameters::BlockDevices(const std::vector<Ec2BlockDevice>& devices) {
  for (size_t i = 0; i < devices.size(); ++i) {
    const Ec2BlockDevice& device = devices[i];
    const std::string prefix = fmt::format("BlockDeviceMapping.{}.", i + 1);
    Set(prefix + "DeviceName", device.device_name);
    if (!device.no_device.empty()) {
      list_.emplace_back(prefix + "NoDevice", "");
      continue;
    }
    if (!device.virtual_name.empty()) {
      Set(prefix + "VirtualName", device.virtual_name);
      continue;
    }
    Set(prefix + "Ebs.SnapshotId", device.snapshot_id);
    Set(prefix + "Ebs.VolumeType", device.volume_type);
    Set(prefix + "Ebs.VolumeSize", device.volume_size_gib);
    Set(prefix + "Ebs.Iops", device.iops);
    Set(prefix + "Ebs.Throughput", device.throughput);
    Set(prefix + "Ebs.KmsKeyId", device.kms_key_id);
    if (device.encrypted) SetBool(prefix + "Ebs.Encrypted", true);
    SetBool(prefix + "Ebs.DeleteOnTermination", device.delete_on_termination);
  }
}

void Ec2Client::Parameters::Query(const Ec2Query& query, const char* id_name) {
  List(id_name, query.ids);
  size_t number = 0;
  for (const auto& [name, values] : query.filters) {
    const std::string prefix = fmt::format("Filter.{}", ++number);
    list_.emplace_back(prefix + ".Name", name);
    List(prefix + ".Value", values);
  }
  if (query.page_size > 0) list_.emplace_back("MaxResults", std::to_string(query.page_size));
}

void Ec2Client::Parameters::Token(const std::string& token) {
  constexpr size_t kTokenBytes = 16;
  std::array<uint8_t, kTokenBytes> random{};
  SecureRandom(random);
  list_.emplace_back("ClientToken", token.empty() ? HexEncode(random) : token);
}

Ec2Client::Ec2Client(AwsServiceOptions options, std::shared_ptr<AwsCredentialChain> credentials)
    : caller_(
          [&options] {
            options.version = "2016-11-15";
            return std::move(options);
          }(),
          std::move(credentials)) {}

Result<std::unique_ptr<Ec2Client>> Ec2Client::FromEnvironment(
    const AwsEnvironment& environment, std::shared_ptr<AwsCredentialChain> credentials,
    std::function<bool()> cancelled) {
  SNAP_ASSIGN_OR_RETURN(AwsServiceOptions options, MakeAwsServiceOptions("ec2", environment));
  options.cancelled = std::move(cancelled);
  return std::make_unique<Ec2Client>(std::move(options), std::move(credentials));
}

Ec2Result<Ec2Client::Document> Ec2Client::Call(const std::string& action,
                                               QueryParameters parameters,
                                               AwsCaller::Repeat repeat) {
  return caller_.Query(action, std::move(parameters), repeat);
}

Ec2Result<AwsReceipt> Ec2Client::Order(const std::string& action, QueryParameters parameters) {
  Ec2Result<Document> answer = Call(action, std::move(parameters));
  if (!answer.ok()) return answer.failure();
  return AwsReceipt{(*answer)->first_child().child_value("requestId")};
}

Ec2Result<AwsReceipt> Ec2Client::CreateTags(const std::vector<std::string>& ids,
                                            const Ec2Tags& tags) {
  Parameters parameters;
  parameters.List("ResourceId", ids);
  parameters.Tags(tags);
  return Order("CreateTags", parameters.Take());
}

Ec2Result<AwsReceipt> Ec2Client::DeleteTags(const std::vector<std::string>& ids,
                                            const Ec2Tags& tags) {
  Parameters parameters;
  parameters.List("ResourceId", ids);
  size_t number = 0;
  for (const auto& [key, value] : tags) {
    const std::string prefix = fmt::format("Tag.{}.", ++number);
    parameters.Set(prefix + "Key", key);
    parameters.Set(prefix + "Value", value);
  }
  return Order("DeleteTags", parameters.Take());
}

Ec2Result<std::vector<Ec2Tag>> Ec2Client::DescribeTags(const Ec2Query& query) {
  Ec2Query by_filter = query;
  if (!by_filter.ids.empty()) {
    by_filter.filters["resource-id"] = by_filter.ids;
    by_filter.ids.clear();
  }
  return Describe<Ec2Tag>("DescribeTags", by_filter, "", "tagSet");
}

}  // namespace snapstore
