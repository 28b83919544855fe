// What workers do for instances.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "base/base64.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/localcloud/cloud.h"
#include "orchestrator/localcloud/machine/loop_device.h"
#include "orchestrator/localcloud/resources.h"

namespace snapstore::localcloud {
namespace {

constexpr int64_t kCredentialNs = 6 * 3600 * kNanosPerSecond;

// Of text that was checked when it came in.
std::string PlainText(const std::string& base64) {
  auto text = Base64Decode(base64);
  return text.ok() ? *std::move(text) : "";
}

std::string NetworkBatch(const std::vector<Json>& interfaces, const Fabric& fabric) {
  std::string batch = "link set lo up\naddr add 169.254.169.254/32 dev lo\n";
  for (const Json& interface : interfaces) {
    const int index = interface.at("attachment").value("deviceIndex", 0);
    const std::string address = interface.at("privateIpAddress");
    batch += fmt::format("addr add {}/20 dev eth{}\nlink set eth{} up\n", address, index, index);
    if (index == 0) {
      batch += fmt::format("route add default via {} dev eth0\n",
                           fabric.Gateway(Fabric::SubnetOfAddress(address)));
    }
  }
  return batch;
}

void AddTo(std::map<std::string, std::string>* entries, const Json& record,
           std::initializer_list<std::pair<const char*, const char*>> fields) {
  for (const auto& [name, path] : fields) {
    const auto values = ValuesAt(record, path);
    if (!values.empty() && !values.front().empty()) {
      (*entries)[std::string("/latest/meta-data/") + name] = values.front();
    }
  }
}

std::string IdentityDocument(const Json& instance, const CloudFacts& facts) {
  return Json{{"accountId", facts.account},
              {"architecture", instance.at("architecture")},
              {"availabilityZone", instance.at("placement").at("availabilityZone")},
              {"imageId", instance.at("imageId")},
              {"instanceId", instance.at("instanceId")},
              {"instanceType", instance.at("instanceType")},
              {"pendingTime", instance.at("launchTime")},
              {"privateIp", instance.value("privateIpAddress", "")},
              {"region", facts.region},
              {"version", "2017-09-30"}}
      .dump(2);
}

void AddCredentials(const Json& instance, const CloudKeys& keys,
                    std::map<std::string, std::string>* entries) {
  const auto arn = ValuesAt(instance, "iamInstanceProfile.arn");
  if (arn.empty()) return;
  const std::string role = arn.front().substr(arn.front().rfind('/') + 1);
  // New ones each hour: the same for all who ask within it.
  constexpr int64_t kHourNs = 3600 * kNanosPerSecond;
  const int64_t expires = WallNanos() / kHourNs * kHourNs + kCredentialNs;
  const AwsCredentials made = InstanceCredentials(keys, role, instance.at("instanceId"), expires);
  const std::string base = "/latest/meta-data/iam/";
  (*entries)[base + "security-credentials/" + role] = Json{
      {"Code", "Success"},
      {"Type", "AWS-HMAC"},
      {"LastUpdated", FormatTime(expires - kCredentialNs, 0)},
      {"AccessKeyId", made.access_key_id},
      {"SecretAccessKey", made.secret_access_key},
      {"Token", made.session_token},
      {"Expiration", FormatTime(expires, 0)}}.dump(2);
  (*entries)[base + "info"] =
      Json{{"Code", "Success"}, {"InstanceProfileArn", arn.front()}}.dump(2);
}

}  // namespace

void Cloud::ServeMetadata(const Json& instance, pid_t pid) {
  const std::string id = instance.at("instanceId");
  const int hops = instance.at("metadataOptions").value("httpPutResponseHopLimit", 1);
  auto server = ImdsServer::Start(pid, hops, [this, id] { return ViewForMetadata(id); });
  if (!server.ok()) {
    LogWarning("{}: no metadata service: {}", id, server.status().message());
    return;
  }
  const std::lock_guard lock(imds_mutex_);
  imds_[id] = std::move(*server);
}

void Cloud::StopServingInstances() {
  std::map<std::string, std::unique_ptr<ImdsServer>> servers;
  {
    const std::lock_guard lock(imds_mutex_);
    servers.swap(imds_);
  }
}

ImdsView Cloud::ViewForMetadata(const std::string& id) {
  ImdsView view;
  const std::lock_guard lock(mutex_);
  const Json* record = records_->Find(id);
  if (record == nullptr) return view;
  const Records::Transaction tx(records_.get());
  const Json instance = InstanceView(tx, *record);
  view.tokens_required = instance.at("metadataOptions").value("httpTokens", "") == "required";
  auto& entries = view.entries;
  const std::string base = "/latest/meta-data/";
  AddTo(&entries, instance,
        {{"instance-id", "instanceId"},
         {"ami-id", "imageId"},
         {"ami-launch-index", "amiLaunchIndex"},
         {"instance-type", "instanceType"},
         {"local-ipv4", "privateIpAddress"},
         {"public-ipv4", "ipAddress"},
         {"local-hostname", "privateDnsName"},
         {"hostname", "privateDnsName"},
         {"reservation-id", "_reservation"},
         {"placement/availability-zone", "placement.availabilityZone"},
         {"security-groups", "groupSet.*.groupName"},
         {"mac", "networkInterfaceSet.*.macAddress"}});
  entries[base + "placement/region"] = facts_.region;
  entries[base + "instance-life-cycle"] =
      instance.contains("spotInstanceRequestId") ? "spot" : "on-demand";
  entries[base + "block-device-mapping/ami"] = "xvda";
  entries[base + "block-device-mapping/root"] = instance.at("rootDeviceName");
  int number = 0;
  for (const std::string& device : ValuesAt(instance, "blockDeviceMapping.*.deviceName")) {
    if (device == instance.at("rootDeviceName")) continue;
    entries[fmt::format("{}block-device-mapping/ebs{}", base, ++number)] = device.substr(5);
  }
  for (const Json& interface : instance.at("networkInterfaceSet")) {
    const std::string mac =
        fmt::format("{}network/interfaces/macs/{}/", base, interface.value("macAddress", ""));
    entries[mac + "interface-id"] = interface.value("networkInterfaceId", "");
    entries[mac + "subnet-id"] = interface.value("subnetId", "");
    entries[mac + "vpc-id"] = facts_.vpc_id;
    entries[mac + "local-ipv4s"] = interface.value("privateIpAddress", "");
    entries[mac + "device-number"] =
        std::to_string(interface.at("attachment").value("deviceIndex", 0));
  }
  if (instance.at("metadataOptions").value("instanceMetadataTags", "") == "enabled") {
    for (const Json& tag : instance.value("tagSet", Json::array())) {
      entries[base + "tags/instance/" + tag.value("key", "")] = tag.value("value", "");
    }
  }
  if (const Json* key = records_->Find("key-name/" + instance.value("keyName", ""))) {
    entries[base + "public-keys/0/openssh-key"] = PlainText(key->value("_material", ""));
  }
  AddCredentials(instance, keys_, &entries);
  entries["/latest/dynamic/instance-identity/document"] = IdentityDocument(instance, facts_);
  const std::string user_data = PlainText(instance.value("_userData", ""));
  if (!user_data.empty()) entries["/latest/user-data"] = user_data;
  if (const int64_t end = instance.value("_noticeNs", int64_t{0}); end != 0) {
    entries[base + "spot/instance-action"] =
        Json{{"action", "terminate"}, {"time", FormatTime(end, 0)}}.dump();
    entries[base + "spot/termination-time"] = FormatTime(end, 0);
  }
  if (const int64_t at = instance.value("_rebalanceNs", int64_t{0}); at != 0) {
    entries[base + "events/recommendations/rebalance"] =
        Json{{"noticeTime", FormatTime(at, 0)}}.dump();
  }
  return view;
}

Result<InstanceProcess> Cloud::StartOnMachine(const Json& instance,
                                              const std::vector<Json>& volumes,
                                              const std::vector<Json>& interfaces) {
  const std::string id = instance.at("instanceId");
  InstancePlan plan;
  plan.id = id;
  std::string host = instance.value("privateDnsName", id);
  plan.host_name = host.substr(0, host.find('.'));
  plan.hidden = options_.folder;
  plan.file_systems = file_systems_;
  plan.scratch = options_.folder + "/run/" + id;
  plan.user_data = PlainText(instance.value("_userData", ""));
  plan.network_batch = NetworkBatch(interfaces, *fabric_);
  for (const Json& volume : volumes) {
    SNAP_ASSIGN_OR_RETURN(const LoopDevice loop, AttachLoop(volumes_->Path(volume.at("volumeId"))));
    const std::string device = volume.at("attachmentSet")[0].at("device");
    plan.devices.push_back({.name = device, .number = loop.number});
    if (device == instance.at("rootDeviceName")) plan.root_device = loop.path;
  }
  const InstanceType* type = FindInstanceType(instance.value("instanceType", ""));
  constexpr int kMibShift = 20;
  plan.group_files =
      groups_->Make(id, uint64_t{type == nullptr ? 1024 : type->memory_mib} << kMibShift);
  const std::string folder = options_.folder + "/instances/" + id;
  SNAP_RETURN_IF_ERROR(MakeDirectories(folder, 0700));
  SNAP_RETURN_IF_ERROR(MakeDirectories(plan.scratch, 0700));
  const auto connect = [&](pid_t pid) -> Status {
    for (const Json& interface : interfaces) {
      SNAP_RETURN_IF_ERROR(
          fabric_->Connect(interface.at("networkInterfaceId"),
                           Fabric::SubnetOfAddress(interface.at("privateIpAddress")), pid,
                           fmt::format("eth{}", interface.at("attachment").value("deviceIndex", 0)),
                           interface.at("macAddress")));
    }
    ServeMetadata(instance, pid);
    return {};
  };
  return StartInstance(options_.program, plan, folder + "/plan.json", folder + "/console.log",
                       connect);
}

void Cloud::LaunchInstance(const std::string& id) {
  std::optional<Json> instance = Read(id);
  if (!instance) return;
  if (StateOf(*instance) != "pending" && !instance->value("_reboot", false)) return;
  std::vector<Json> volumes;
  std::vector<Json> interfaces;
  Status ready;
  for (const Json& volume : instance->value("_volumes", Json::array())) {
    std::optional<Json> record = Read(volume);
    if (!record || record->value("status", "") == "error") {
      ready = Status::Io(fmt::format("volume {} could not be made", volume.get<std::string>()));
    } else {
      volumes.push_back(std::move(*record));
    }
  }
  for (const Json& interface : instance->value("_interfaces", Json::array())) {
    if (std::optional<Json> record = Read(interface)) interfaces.push_back(std::move(*record));
  }
  FinishLaunch(id, ready.ok() ? StartOnMachine(*instance, volumes, interfaces)
                              : Result<InstanceProcess>(ready));
}

void Cloud::FinishLaunch(const std::string& id, const Result<InstanceProcess>& process) {
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  if (!process.ok()) {
    LogError("{} cannot be launched: {}", id, process.status().message());
    BeginTermination(
        tx, id, "Server.InternalError",
        "Server.InternalError: Internal error on launch: " + process.status().message());
    Commit(&tx);
    return;
  }
  Json& instance = tx.Edit(id);
  instance["_pid"] = process.value().pid;
  instance["_start"] = process.value().start_ticks;
  instance.erase("_reboot");
  // It may have been terminated meanwhile.
  if (StateOf(instance) == "pending") instance["instanceState"] = InstanceState("running");
  for (const Json& volume : instance.value("_volumes", Json::array())) {
    Json& record = tx.Edit(volume);
    record["status"] = "in-use";
    if (!record["attachmentSet"].empty()) record["attachmentSet"][0]["status"] = "attached";
  }
  for (const Json& interface : instance.value("_interfaces", Json::array())) {
    Json& attachment = tx.Edit(interface)["attachment"];
    if (attachment.value("status", "") == "attaching") attachment["status"] = "attached";
  }
  Commit(&tx);
  LogInfo("{} runs (process {})", id, process.value().pid);
}

void Cloud::EndInstanceWork(const std::string& id) {
  const std::optional<Json> instance = Read(id);
  if (!instance) return;
  if (!PowerOff(*instance)) return;
  ReleaseVolumes(*instance);
  ReleaseInterfaces(*instance);
  std::error_code ignored;
  std::filesystem::remove_all(options_.folder + "/instances/" + id, ignored);
  const std::lock_guard lock(mutex_);
  Records::Transaction tx(records_.get());
  Json& record = tx.Edit(id);
  record["instanceState"] = InstanceState("terminated");
  record["_volumes"] = Json::array();
  record["_interfaces"] = Json::array();
  record["_terminatedNs"] = WallNanos();
  for (const char* name :
       {"privateIpAddress", "_pid", "_start", "_noticeNs", "_interruptNs", "_reboot"}) {
    record.erase(name);
  }
  record["privateDnsName"] = "";
  Commit(&tx);
  LogInfo("{} has ended", id);
}

void Cloud::ReleaseVolumes(const Json& instance) {
  for (const Json& volume : instance.value("_volumes", Json::array())) {
    const std::string id = volume;
    const std::lock_guard lock(mutex_);
    const Json* record = records_->Find(id);
    if (record == nullptr || record->at("attachmentSet").empty()) continue;
    // Attached elsewhere by now.
    if (record->at("attachmentSet")[0].at("instanceId") != instance.at("instanceId")) continue;
    const bool goes = record->at("attachmentSet")[0].value("deleteOnTermination", false);
    Records::Transaction tx(records_.get());
    Json& changed = tx.Edit(id);
    changed["attachmentSet"] = Json::array();
    if (changed.value("status", "") != "creating")
      changed["status"] = goes ? "deleting" : "available";
    changed.erase("_force");
    Commit(&tx);
  }
}

}  // namespace snapstore::localcloud
