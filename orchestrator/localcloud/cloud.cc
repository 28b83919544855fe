#include "orchestrator/localcloud/cloud.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/balancers.h"
#include "orchestrator/localcloud/machine/loop_device.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

constexpr const char* kFactsKey = "!facts";
constexpr unsigned kWorkers = 8;
constexpr uint64_t kBaseImageGib = 8;
constexpr const char* kParts[] = {"records", "volumes", "staging",  "repository",
                                  "cache",   "run",     "instances"};

std::string RandomHex(size_t digits) {
  Bytes random((digits + 1) / 2);
  SecureRandom(random);
  return HexEncode(random).substr(0, digits);
}

CloudFacts FactsOf(const Json& record) {
  return {.id = record.at("id"),
          .region = record.at("region"),
          .account = record.at("account"),
          .network = record.at("network"),
          .vpc_id = record.at("vpc_id"),
          .group_id = record.at("group_id"),
          .base_image_id = record.at("base_image_id")};
}

Json SubnetRecord(const CloudFacts& facts, int number) {
  const std::string id = NewId("subnet-");
  const char letter = static_cast<char>('a' + number);
  return {
      {"subnetId", id},
      {"subnetArn", fmt::format("arn:aws:ec2:{}:{}:subnet/{}", facts.region, facts.account, id)},
      {"state", "available"},
      {"vpcId", facts.vpc_id},
      {"cidrBlock", fmt::format("{}.{}.0/20", facts.network, number * 16)},
      {"availabilityZone", facts.region + letter},
      {"availabilityZoneId", fmt::format("lcl1-az{}", number + 1)},
      {"defaultForAz", true},
      {"mapPublicIpOnLaunch", false},
      {"ownerId", facts.account},
      {"tagSet", Json::array()}};
}

// This machine as it is: a root volume from `snapshot`, which is empty.
Json BaseImageRecord(const CloudFacts& facts, const std::string& snapshot) {
  const Json device = {{"deviceName", "/dev/xvda"},
                       {"ebs",
                        {{"snapshotId", snapshot},
                         {"volumeSize", kBaseImageGib},
                         {"deleteOnTermination", true},
                         {"volumeType", "gp3"},
                         {"encrypted", false}}}};
  return {{"imageId", facts.base_image_id},
          {"imageLocation", "amazon/snapstore-localcloud-host"},
          {"imageState", "available"},
          {"imageOwnerId", facts.account},
          {"imageOwnerAlias", "amazon"},
          {"creationDate", TimeText()},
          {"isPublic", true},
          {"architecture", "x86_64"},
          {"imageType", "machine"},
          {"name", "snapstore-localcloud-host"},
          {"description", "this machine's root, under an overlay"},
          {"rootDeviceType", "ebs"},
          {"rootDeviceName", "/dev/xvda"},
          {"virtualizationType", "hvm"},
          {"hypervisor", "xen"},
          {"enaSupport", true},
          {"imdsSupport", "v2.0"},
          {"platformDetails", "Linux/UNIX"},
          {"usageOperation", "RunInstances"},
          {"blockDeviceMapping", Json::array({device})},
          {"tagSet", Json::array()}};
}

}  // namespace

Cloud::Cloud(CloudOptions options) : options_(std::move(options)) {}

Result<std::unique_ptr<Cloud>> Cloud::Open(const CloudOptions& options) {
  if (geteuid() != 0) {
    return Status::PermissionDenied("must be root to make namespaces, mounts and loop devices");
  }
  if (options.folder.find_first_of(":,\\\n ") != std::string::npos) {
    return Status::InvalidArgument(
        fmt::format("{}: the folder's name must not have spaces, ':', ',' or '\\'; mount options "
                    "could not name it",
                    options.folder));
  }
  std::unique_ptr<Cloud> cloud(new Cloud(options));
  SNAP_RETURN_IF_ERROR(cloud->Prepare());
  return cloud;
}

Status Cloud::Prepare() {
  SNAP_RETURN_IF_ERROR(MakeDirectories(options_.folder, 0700));
  for (const char* part : {"run", "instances"}) {
    SNAP_RETURN_IF_ERROR(MakeDirectories(options_.folder + "/" + part, 0700));
  }
  SNAP_ASSIGN_OR_RETURN(records_, Records::Open(options_.folder + "/records"));
  {
    Records::Transaction tx(records_.get());
    if (tx.Find(kFactsKey) == nullptr) {
      SNAP_RETURN_IF_ERROR(MakeFirstRecords(&tx));
      SNAP_RETURN_IF_ERROR(tx.Commit());
    }
  }
  if (!options_.file_systems.empty()) {
    Records::Transaction tx(records_.get());
    Json& known = tx.Edit(kFactsKey)["file_systems"];
    for (const auto& [id, folder] : options_.file_systems) known[id] = folder;
    SNAP_RETURN_IF_ERROR(tx.Commit());
  }
  const Json& record = *records_->Find(kFactsKey);
  facts_ = FactsOf(record);
  std::map<std::string, std::string> by_zone;
  for (const std::string& id : records_->Ids("subnet-")) {
    by_zone[records_->Find(id)->at("availabilityZone")] = id;
  }
  for (const auto& [zone, id] : by_zone) facts_.subnet_ids.push_back(id);
  if (record.contains("file_systems")) record.at("file_systems").get_to(file_systems_);
  keys_ = {.access_key_id = record.at("access_key_id"),
           .secret_access_key = record.at("secret_access_key"),
           .instance_secret = record.at("instance_secret")};
  HideInLogs(keys_.secret_access_key);
  fabric_ = std::make_unique<Fabric>(facts_.id, facts_.network);
  SNAP_RETURN_IF_ERROR(fabric_->Ensure().WithContext("the cloud's network"));
  groups_ = std::make_unique<ControlGroups>(facts_.id);
  SNAP_ASSIGN_OR_RETURN(volumes_, VolumeFiles::Open(options_.folder));
  // First processes of instances are handed over to this one, which reaps them.
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  Adopt();
  threads_.emplace_back([this] { Scan(); });
  for (unsigned i = 0; i < kWorkers; ++i) threads_.emplace_back([this] { Work(); });
  return {};
}

Status Cloud::MakeFirstRecords(Records::Transaction* tx) {
  CloudFacts facts{.id = RandomHex(6), .region = options_.region, .account = "000000000000"};
  SNAP_ASSIGN_OR_RETURN(facts.network, Fabric::ChooseNetwork());
  facts.vpc_id = NewId("vpc-");
  facts.group_id = NewId("sg-");
  facts.base_image_id = NewId("ami-");
  const CloudKeys keys = MakeCloudKeys();
  tx->Edit(kFactsKey) = {{"id", facts.id},
                         {"region", facts.region},
                         {"account", facts.account},
                         {"network", facts.network},
                         {"vpc_id", facts.vpc_id},
                         {"group_id", facts.group_id},
                         {"base_image_id", facts.base_image_id},
                         {"access_key_id", keys.access_key_id},
                         {"secret_access_key", keys.secret_access_key},
                         {"instance_secret", keys.instance_secret}};
  tx->Edit(facts.vpc_id) = {{"vpcId", facts.vpc_id},      {"ownerId", facts.account},
                            {"state", "available"},       {"cidrBlock", facts.network + ".0.0/16"},
                            {"isDefault", true},          {"instanceTenancy", "default"},
                            {"dhcpOptionsId", "default"}, {"tagSet", Json::array()}};
  for (int number = 0; number < Fabric::kSubnets; ++number) {
    const Json subnet = SubnetRecord(facts, number);
    tx->Edit(subnet.at("subnetId")) = subnet;
  }
  tx->Edit(facts.group_id) = {{"groupId", facts.group_id},
                              {"groupName", "default"},
                              {"groupDescription", "default VPC security group"},
                              {"ownerId", facts.account},
                              {"vpcId", facts.vpc_id},
                              {"ipPermissions", Json::array()},
                              {"ipPermissionsEgress", Json::array()},
                              {"tagSet", Json::array()}};
  const std::string snapshot = NewId("snap-");
  // Stands for an empty file system: nothing is stored.
  tx->Edit(snapshot) = {{"snapshotId", snapshot},      {"volumeId", "vol-ffffffffffffffff0"},
                        {"status", "completed"},       {"startTime", TimeText()},
                        {"progress", "100%"},          {"ownerId", facts.account},
                        {"volumeSize", kBaseImageGib}, {"description", "empty root volume"},
                        {"encrypted", false},          {"storageTier", "standard"},
                        {"tagSet", Json::array()},     {"_blank", true}};
  tx->Edit(facts.base_image_id) = BaseImageRecord(facts, snapshot);
  return {};
}

void Cloud::Adopt() {
  const std::lock_guard lock(mutex_);
  for (const std::string& id : records_->Ids("i-")) {
    const Json& instance = *records_->Find(id);
    if (StateOf(instance) != "running") continue;
    const InstanceProcess process{.pid = instance.value("_pid", -1),
                                  .start_ticks = instance.value("_start", uint64_t{0})};
    if (!IsAlive(process)) continue;  // the scan will notice
    for (const Json& volume : instance.value("_volumes", Json::array())) {
      const auto loops = LoopsOf(volumes_->Path(volume));
      if (loops.ok() && !(*loops).empty()) {
        FrozenMounts::ThawAll(process.pid, (*loops).front().number);
      }
    }
    ServeMetadata(instance, process.pid);
    LogInfo("{} goes on (process {})", id, process.pid);
  }
}

Cloud::~Cloud() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_scan_.notify_all();
  wake_work_.notify_all();
  wake_delayed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

ApiResult<Json> Cloud::Query(const std::string& version, const std::string& action,
                             const Parameters& parameters) {
  const Action handler = version == kTargetGroupVersion ? FindTargetGroupAction(action)
                         : version == kClassicVersion   ? FindClassicBalancerAction(action)
                                                        : FindAction(action);
  if (handler == nullptr) {
    return ApiError{"InvalidAction",
                    fmt::format("The action {} is not valid for this web service.", action)};
  }
  const Fault fault = TakeFault(action);
  if (!fault.error.ok()) return fault.error;
  SNAP_ASSIGN_OR_RETURN(const bool dry, parameters.Truth("DryRun", false));
  std::vector<std::string> capture;
  ApiResult<Json> answer = Json();
  {
    const std::lock_guard lock(mutex_);
    Records::Transaction tx(records_.get());
    Call call{action, parameters, tx, facts_, &capture};
    answer = handler(call);
    if (!answer.ok()) return answer;
    if (dry) {
      return ApiError{"DryRunOperation", "Request would have succeeded, but DryRun flag is set.",
                      412};
    }
    if (Status committed = tx.Commit(); !committed.ok()) return InternalError(committed);
    busy_.insert(capture.begin(), capture.end());
  }
  if (!capture.empty()) Capture(capture);
  wake_scan_.notify_all();
  if (fault.answer_lost) return ApiError{kAnswerLost, action};
  return answer;
}

ApiResult<std::string> Cloud::HostedZones(const HostedZoneCall& call) {
  const Fault fault = TakeFault(call.action);
  if (!fault.error.ok()) return fault.error;
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  ApiResult<std::string> answer = AnswerHostedZoneCall(tx, call);
  if (!answer.ok()) return answer;
  if (Status committed = tx.Commit(); !committed.ok()) return InternalError(committed);
  if (fault.answer_lost) return ApiError{kAnswerLost, call.action};
  return answer;
}

Status Cloud::Destroy(const std::string& folder) {
  if (access((folder + "/records").c_str(), F_OK) != 0) {
    return Status::NotFound(fmt::format("{}: there is no cloud", folder));
  }
  CloudFacts facts;
  {
    SNAP_ASSIGN_OR_RETURN(const auto records, Records::Open(folder + "/records"));
    if (records->Find(kFactsKey) != nullptr) facts = FactsOf(*records->Find(kFactsKey));
    for (const std::string& id : records->Ids("i-")) {
      const Json& instance = *records->Find(id);
      SNAP_RETURN_IF_ERROR(EndInstance(
          {.pid = instance.value("_pid", -1), .start_ticks = instance.value("_start", uint64_t{0})},
          0));
    }
  }
  if (!facts.id.empty()) {
    // Instances that were being started when the server was killed are in no record yet.
    SNAP_RETURN_IF_ERROR(ControlGroups(facts.id).RemoveAll());
    SNAP_RETURN_IF_ERROR(Fabric(facts.id, facts.network).Remove());
  }
  SNAP_ASSIGN_OR_RETURN(const auto loops, LoopsOf(folder));
  for (const LoopDevice& loop : loops) SNAP_RETURN_IF_ERROR(DetachLoop(loop, /*force=*/true));
  std::error_code error;
  for (const char* part : kParts) {
    std::filesystem::remove_all(folder + "/" + part, error);
    if (error) return Status::FromErrno(error.value(), fmt::format("remove {}/{}", folder, part));
  }
  (void)unlink((folder + "/cloud.json").c_str());
  (void)rmdir(folder.c_str());  // if nothing of others is in it
  return {};
}

}  // namespace snapstore::localcloud
