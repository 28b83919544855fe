// Imports: a running instance becomes a stateful node, by way of an image of it.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "orchestrator/lifecycle/import_image.h"
#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/operations.h"

namespace snapstore::spot {
namespace {

constexpr size_t kNameBytesMax = 255;  // of a node
constexpr const char* kCancelled = "cancelled";

// As much of an instance's name as a node's name can hold.
std::string NodeName(std::string name) {
  std::replace_if(
      name.begin(), name.end(),
      [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, ' ');
  if (name.size() <= kNameBytesMax) return name;
  constexpr unsigned char kContinues = 0x80;  // RFC 3629: 10xxxxxx
  constexpr unsigned char kLead = 0xc0;
  size_t end = kNameBytesMax;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & kLead) == kContinues) --end;
  name.resize(end);
  return name;
}

// "us-east-1" of "us-east-1a".
std::string ZoneRegion(const std::string& zone) {
  const size_t number = zone.find_first_of("0123456789");
  if (number == std::string::npos) return zone;
  return zone.substr(0, zone.find_first_not_of("0123456789", number));
}

// The product whose prices an instance's platform has: "Windows" of "Windows BYOL". What is none of
// them is priced as Linux.
std::string ProductOf(const std::string& platform) {
  for (const char* product : {"Windows", "SUSE Linux", "Red Hat Enterprise Linux"}) {
    if (platform.starts_with(product)) return product;
  }
  return "Linux/UNIX";
}

const Ec2InstanceInterface* PrimaryInterface(const Ec2Instance& instance) {
  const auto found =
      std::find_if(instance.interfaces.begin(), instance.interfaces.end(),
                   [](const Ec2InstanceInterface& one) { return one.device_index == 0; });
  return found == instance.interfaces.end() ? nullptr : &*found;
}

class Import {
 public:
  explicit Import(OperationRun* run) : run_(run), services_(run->services()) {}

  Flow<Ending> Run() {
    SNAP_FLOW(Load());
    if (run_->IsDone("give-up")) return GiveUp("", "");
    Flow<Ending> done = Steps();
    if (done.ok()) return done;
    if (done.halt().kind == Halt::Kind::kFail) {
      return GiveUp("MIGRATE_ERROR", done.halt().status.message());
    }
    if (done.halt().kind == Halt::Kind::kSuperseded && !IsMigrationOver(migration_.state)) {
      SNAP_FLOW(Show("MIGRATE_CANCEL", "the node was deleted"));
    }
    return done;
  }

 private:
  const MigrationRequest& Request() const { return migration_.request; }

  Flow<Done> Load() {
    const std::string id = run_->operation().input.value("migrationId", "");
    auto migration = services_.state->GetMigration(run_->operation().account_id, id);
    if (!migration.ok()) return RetryLater(migration.status());
    migration_ = *std::move(migration);
    return Done{};
  }

  Flow<Done> Show(const std::string& state, const std::string& description = {}) {
    if (migration_.state == state && migration_.state_description.value_or("") == description) {
      return Done{};
    }
    auto changed = services_.state->ChangeMigration(migration_.account_id, migration_.id,
                                                    [&](MigrationRecord* record) {
                                                      record->state = state;
                                                      record->state_description.reset();
                                                      if (!description.empty())
                                                        record->state_description = description;
                                                      return Status::Ok();
                                                    });
    if (!changed.ok()) return RetryLater(changed.status());
    migration_ = *std::move(changed);
    return Done{};
  }

  Flow<Ending> Steps() {
    SNAP_FLOW_ASSIGN(const Json source, run_->Observe("source", [this]() { return ReadSource(); }));
    if (!SourceEnds() && migration_.cancel_requested.value()) {
      return GiveUp("MIGRATE_CANCEL", kCancelled);
    }
    if (!run_->IsDone("image/available")) SNAP_FLOW(Show("MIGRATE_CREATE_IMAGE"));
    SNAP_FLOW_ASSIGN(const Json image, run_->Do("image", Json(), [this](const StepRecord& step) {
      return MakeImage(step);
    }));
    const std::string image_id = image.value("imageId", "");
    SNAP_FLOW(AwaitImage(image_id));
    SNAP_FLOW(EndSource(source));
    SNAP_FLOW_ASSIGN(const Json interface, AwaitInterface(source));
    SNAP_FLOW(MakeNode(source, image_id));
    SNAP_FLOW(TakeInterface(interface));
    SNAP_FLOW(TellWhatIsLost(source, interface));
    if (!run_->IsDone("launch/plan")) SNAP_FLOW(Show("MIGRATE_LAUNCH_INSTANCE"));
    SNAP_FLOW_ASSIGN(const Beginning beginning, Begin(run_, NodeState::kResuming));
    if (!beginning.problem.empty()) return Fail(Status::InvalidArgument(beginning.problem));
    SNAP_FLOW_ASSIGN(const Launched launched, LaunchInstance(run_, beginning));
    SNAP_FLOW(Finish(launched.instance_id));
    Ending ending;
    const std::string operation_id = run_->operation().id;
    ending.change = [operation_id](ControllerState::NodeChange* change) {
      change->node.state = NodeState::kActive;
      change->AddEvent("AWS_EC2_MANAGED_INSTANCE_ACTIVE", Severity::kInfo,
                       "the imported node is active", operation_id);
    };
    return ending;
  }

  Flow<Json> ReadSource() {
    SNAP_FLOW(Show("MIGRATE_PREPARE_AWS_INSTANCE"));
    const std::string& id = Request().original_instance_id;
    SNAP_FLOW_ASSIGN(const auto found, FindInstance(services_, id));
    if (!found || !IsAlive(*found)) {
      return Fail(Status::NotFound(fmt::format("there is no instance {}", id)));
    }
    const Ec2Instance& instance = *found;
    // Its owner may have tagged it, for a policy that wants that of what is terminated.
    if (IsOwnInstance(instance)) {
      const auto node = instance.tags.find(NodeTag::kNode);
      return Fail(Status::InvalidArgument(
          fmt::format("{} is a stateful node already: {}", id,
                      node == instance.tags.end() ? "of another name" : node->second)));
    }
    const auto user_data = services_.ec2->DescribeInstanceAttribute(id, "userData");
    if (!user_data.ok()) return user_data.failure();
    const Ec2InstanceInterface* const primary = PrimaryInterface(instance);
    Json source = {{"zone", instance.availability_zone},
                   {"ip", instance.private_ip},
                   {"publicIp", instance.public_ip},
                   {"architecture", instance.architecture},
                   {"interface", primary == nullptr ? "" : primary->id},
                   {"interfaceStays", primary != nullptr && !primary->delete_on_termination}};
    SNAP_FLOW_ASSIGN(const bool has_key, HasKeyPair(instance.key_name));
    if (!has_key) source["lostKeyPair"] = instance.key_name;
    SNAP_FLOW_ASSIGN(source["spec"], SpecOf(instance, *user_data, has_key));
    SNAP_FLOW(Check(source));
    return source;
  }

  // An instance runs on without it, a launch with it is refused.
  Flow<bool> HasKeyPair(const std::string& name) {
    if (name.empty()) return true;
    const auto keys = services_.ec2->DescribeKeyPairs({.filters = {{"key-name", {name}}}});
    if (!keys.ok()) return RetryLater(keys.status());
    return !keys->empty();
  }

  // Whatever would keep the node from being launched, as far as it can be known before.
  Flow<Done> Check(const Json& source) {
    FieldErrors errors;
    const auto spec = ParseNodeSpec(source.at("spec"), &errors);
    if (!spec) return Fail(errors.ToStatus());
    SNAP_FLOW_ASSIGN(const Places places, FindPlaces(services_, *spec));
    if (!places.problem.empty()) return Fail(Status::InvalidArgument(places.problem));
    MarketLimits limits;
    limits.subnets = places.subnets;
    limits.architecture = source.value("architecture", "");
    const Flow<std::vector<Market>> markets = ChooseMarkets(services_, *spec, limits);
    const char* const field = "spotInstanceTypes";
    if (!markets.ok()) {
      Halt halt = markets.halt();
      if (halt.kind == Halt::Kind::kFail) halt.status = halt.status.WithContext(field);
      return halt;
    }
    if (markets->empty()) {
      return Fail(Status::InvalidArgument("none of the types is offered where the node is to run")
                      .WithContext(field));
    }
    return Done{};
  }

  // The body of a create call that makes a node like the instance; its image is put in later.
  Flow<Json> SpecOf(const Ec2Instance& instance, const std::string& user_data, bool has_key) {
    Json launch = {{"imageId", instance.image_id}};
    std::vector<std::string> types = Request().spot_instance_types;
    if (types.empty()) types = {instance.instance_type};
    launch["instanceTypes"] = {{"types", types}};
    Json groups = Json::array();
    for (const Ec2GroupId& group : instance.groups) groups.push_back(group.id);
    if (!groups.empty()) launch["securityGroupIds"] = std::move(groups);
    if (!instance.key_name.empty() && has_key) launch["keyPair"] = instance.key_name;
    if (!instance.instance_profile_arn.empty()) {
      launch["iamRole"] = {{"arn", instance.instance_profile_arn}};
    }
    if (!user_data.empty()) launch["userData"] = user_data;
    if (instance.ebs_optimized) launch["ebsOptimized"] = true;
    if (instance.monitoring) launch["monitoring"] = true;
    if (instance.tenancy == "dedicated") launch["tenancy"] = "dedicated";
    if (Request().should_keep_metadata_options.value()) KeepMetadata(instance.metadata, &launch);
    SNAP_FLOW(KeepTags(instance, &launch));

    const bool keeps_ip = Request().should_keep_private_ip.value();
    Json compute = {{"vpcId", instance.vpc_id}};
    SNAP_FLOW_ASSIGN(compute["subnetIds"], Subnets(instance));
    if (keeps_ip) compute["privateIp"] = instance.private_ip;
    if (Request().product) {
      compute["product"] = *Request().product;
    } else if (!instance.platform_details.empty()) {
      compute["product"] = ProductOf(instance.platform_details);
    }
    compute["launchSpecification"] = std::move(launch);
    const auto name = instance.tags.find("Name");
    const std::string region =
        services_.region.empty() ? ZoneRegion(instance.availability_zone) : services_.region;
    return Json{{"name", Request().name.value_or(name == instance.tags.end() || name->second.empty()
                                                     ? instance.id
                                                     : NodeName(name->second))},
                {"region", Request().region.value_or(region)},
                {"persistence",
                 {{"persistRootDevice", true},
                  {"persistBlockDevices", true},
                  {"blockDevicesMode", "onLaunch"},
                  {"persistPrivateIp", keeps_ip}}},
                {"compute", std::move(compute)}};
  }

  static void KeepMetadata(const Ec2MetadataOptions& options, Json* launch) {
    if (options.http_tokens.empty()) return;
    Json metadata = {{"httpTokens", options.http_tokens}};
    if (options.http_put_response_hop_limit > 0) {
      metadata["httpPutResponseHopLimit"] = options.http_put_response_hop_limit;
    }
    if (!options.instance_metadata_tags.empty()) {
      metadata["instanceMetadataTags"] = options.instance_metadata_tags;
    }
    (*launch)["metadataOptions"] = std::move(metadata);
  }

  static Flow<Done> KeepTags(const Ec2Instance& instance, Json* launch) {
    Json tags = Json::array();
    for (const auto& [key, value] : instance.tags) {
      if (key.starts_with("aws:") || key.starts_with("snapstore:")) continue;
      tags.push_back({{"tagKey", key}, {"tagValue", value}});
    }
    const size_t most = kTagsMax - 3;  // node, account, token
    if (tags.size() > most) {
      return Fail(Status::InvalidArgument(
          fmt::format("{} has {} tags, its node can have {}", instance.id, tags.size(), most)));
    }
    if (!tags.empty()) (*launch)["tags"] = std::move(tags);
    return Done{};
  }

  Flow<Json> Subnets(const Ec2Instance& instance) {
    Json subnets = Json::array();
    if (Request().should_keep_private_ip.value()) return Json{instance.subnet_id};
    for (const ZoneSubnets& zone : Request().availability_zones) {
      for (const std::string& id : zone.subnet_ids) subnets.push_back(id);
      if (!zone.subnet_ids.empty()) continue;
      const auto found =
          services_.ec2->DescribeSubnets({.filters = {{"availability-zone", {zone.name}},
                                                      {"default-for-az", {"true"}},
                                                      {"vpc-id", {instance.vpc_id}}}});
      if (!found.ok()) return found.failure();
      if (found->empty()) {
        return Fail(Status::InvalidArgument(
            fmt::format("{} has no default subnet in {}", zone.name, instance.vpc_id)));
      }
      subnets.push_back(found->front().id);
    }
    if (subnets.empty()) subnets.push_back(instance.subnet_id);
    return subnets;
  }

  Flow<Json> MakeImage(const StepRecord& step) {
    const std::string name = ImageName(migration_.node_id, step.client_token);
    const auto made = services_.ec2->DescribeImages({.filters = {{"name", {name}}}});
    if (!made.ok()) return RetryLater(made.status());
    if (!made->empty()) return Json{{"imageId", made->front().id}};
    Ec2Tags tags = {{NodeTag::kNode, migration_.node_id},
                    {NodeTag::kAccount, migration_.account_id}};
    // Until its image is good the source is not disturbed.
    const auto image =
        services_.ec2->CreateImage(Request().original_instance_id, name, /*no_reboot=*/true,
                                   {{"image", tags}, {"snapshot", tags}});
    if (!image.ok()) return image.failure();
    return Json{{"imageId", *image}};
  }

  Flow<Done> AwaitImage(const std::string& image_id) {
    if (!run_->IsDone("image/available")) SNAP_FLOW(Show("MIGRATE_AWAIT_FOR_IMAGE", image_id));
    SNAP_FLOW(run_->Observe("image/available", [&]() -> Flow<Json> {
      const auto found = services_.ec2->DescribeImages({.ids = {image_id}});
      if (!found.ok() && !found.status().Is(StatusCode::kNotFound)) {
        return RetryLater(found.status());
      }
      if (migration_.cancel_requested.value()) return Fail(Status::Cancelled("cancelled"));
      if (!found.ok() || found->empty() || found->front().state == "pending") return Wait();
      if (found->front().state != "available") {
        return Fail(Status::Io(fmt::format("image {} is {}", image_id, found->front().state)));
      }
      return Json();
    }));
    return Done{};
  }

  // It is being terminated, or may be: from now on there is no way back.
  bool SourceEnds() const { return migration_.source_ends.value() || run_->IsDone("terminate"); }

  // The source ends: asked for with the import, or (of a group) by its owner later.
  Flow<Done> EndSource(const Json& source) {
    const bool ends = Request().should_terminate_instance.value();
    if (!ends && !migration_.group_id) return Done{};
    if (!ends) SNAP_FLOW(AwaitOwner());
    if (!SourceEnds()) {
      // That was long ago.
      SNAP_FLOW(Check(source));
    }
    SNAP_FLOW(Terminate());
    if (!run_->IsDone("terminated")) SNAP_FLOW(Show("MIGRATE_AWAIT_INSTANCE_TERMINATION"));
    SNAP_FLOW(run_->Observe("terminated", [&]() -> Flow<Json> {
      SNAP_FLOW_ASSIGN(const auto instance,
                       FindInstance(services_, Request().original_instance_id));
      if (instance && instance->state != "terminated") return Wait();
      return Json();
    }));
    return Done{};
  }

  Flow<Done> AwaitOwner() {
    if (run_->IsDone("confirmed")) return Done{};
    SNAP_FLOW(Show("MIGRATE_AWAIT_USER_ACTION", "terminate the source, or confirm that it may be"));
    SNAP_FLOW(run_->Observe("confirmed", [&]() -> Flow<Json> {
      if (migration_.cancel_requested.value()) return Fail(Status::Cancelled(kCancelled));
      if (migration_.termination_confirmed.value()) return Json();
      SNAP_FLOW_ASSIGN(const auto source, FindInstance(services_, Request().original_instance_id));
      if (!source || source->state == "terminated") return Json();
      return Wait(services_.options.poll_max_ms);
    }));
    return Done{};
  }

  Flow<Done> Terminate() {
    SNAP_FLOW(run_->Observe("terminate", [&]() -> Flow<Json> {
      const std::string& id = Request().original_instance_id;
      SNAP_FLOW(SetSourceEnds());
      const auto ended = services_.ec2->TerminateInstances({id});
      if (ended.ok() || ended.status().Is(StatusCode::kNotFound)) return Json();
      const Halt halt = HaltOf(ended.failure());
      const bool refused = halt.kind == Halt::Kind::kFail ||
                           ended.status().Is(StatusCode::kPermissionDenied) ||
                           ended.code() == "OperationNotPermitted";
      if (!refused) return halt;
      SNAP_FLOW_ASSIGN(const auto source, FindInstance(services_, id));
      if (source && IsAlive(*source)) SNAP_FLOW(SetSourceRunsOn(ended.status().message()));
      return halt;
    }));
    return Done{};
  }

  // In one transaction with the question whether the import is cancelled.
  Flow<Done> SetSourceEnds() {
    auto changed = services_.state->ChangeMigration(migration_.account_id, migration_.id,
                                                    [](MigrationRecord* record) {
                                                      if (record->cancel_requested.value())
                                                        return Status::Cancelled(kCancelled);
                                                      record->source_ends = true;
                                                      record->state = "MIGRATE_TERMINATE_INSTANCE";
                                                      return Status::Ok();
                                                    });
    if (changed.status().Is(StatusCode::kCancelled)) {
      migration_.cancel_requested = true;
      return Fail(changed.status());
    }
    if (!changed.ok()) return RetryLater(changed.status());
    migration_ = *std::move(changed);
    return Done{};
  }

  // Its end was refused: the import can be cancelled again.
  Flow<Done> SetSourceRunsOn(const std::string& why) {
    auto changed = services_.state->ChangeMigration(migration_.account_id, migration_.id,
                                                    [&](MigrationRecord* record) {
                                                      record->source_ends = false;
                                                      record->state_description = why;
                                                      return Status::Ok();
                                                    });
    if (!changed.ok()) return RetryLater(changed.status());
    migration_ = *std::move(changed);
    return Done{};
  }

  // The source's interface, if it outlives its instance: it has the address, which no other can get
  // then. One that goes with its instance may be seen for a while.
  Flow<Json> AwaitInterface(const Json& source) {
    const std::string id = source.value("interface", "");
    if (!Request().should_keep_private_ip.value() || id.empty()) return Json();
    return run_->Observe("interface", [&]() -> Flow<Json> {
      const auto found = services_.ec2->DescribeNetworkInterfaces({.ids = {id}});
      if (!found.ok() && !found.status().Is(StatusCode::kNotFound)) {
        return RetryLater(found.status());
      }
      if (!found.ok() || found->empty()) return Json();
      const Ec2NetworkInterface& one = found->front();
      if (!one.instance_id.empty() && one.instance_id != Request().original_instance_id) {
        return Json();
      }
      if (one.status != "available") return Wait();
      const int64_t age = run_->Now() - run_->BegunAt("terminated").value_or(0);
      if (!source.value("interfaceStays", false) && age < kConsistencyMs) return Wait();
      return Json{{"id", id},
                  {"subnet", one.subnet_id},
                  {"ip", one.private_ip},
                  {"publicIp", one.allocation_id.empty() ? "" : one.public_ip}};
    });
  }

  Flow<Done> TakeInterface(const Json& interface) {
    if (!interface.is_object()) return Done{};
    SNAP_FLOW(run_->Observe(
        "interface/taken",
        [&]() -> Flow<Json> {
          const std::string id = interface.value("id", "");
          const auto tagged = services_.ec2->CreateTags({id}, TagsOfNode(run_->node(), ""));
          if (tagged.ok() || tagged.status().Is(StatusCode::kNotFound)) return Json();
          // The node has it all the same; what a policy forbids now it may forbid always.
          if (!tagged.status().Is(StatusCode::kPermissionDenied)) {
            return RetryLater(tagged.status());
          }
          LogWarning("{}: {} is not tagged: {}", migration_.node_id, id, tagged.status().message());
          return Json();
        },
        [&](const Json&, ControllerState::NodeChange* change) {
          KeptResources& kept = change->node.runtime.resources;
          kept.interface_id = interface.value("id", "");
          kept.subnet_id = interface.value("subnet", "");
          kept.private_ip = interface.value("ip", "");
        }));
    return Done{};
  }

  Flow<Done> TellWhatIsLost(const Json& source, const Json& interface) {
    const std::string key = source.value("lostKeyPair", "");
    if (!key.empty()) {
      SNAP_FLOW(run_->Report(
          "told/key", "KEY_PAIR_LOST", Severity::kWarning,
          fmt::format("there is no key pair {} any more: the node is launched without", key)));
    }
    const std::string ip = source.value("publicIp", "");
    const std::string kept = interface.is_object() ? interface.value("publicIp", "") : "";
    if (ip.empty() || ip == kept || !SourceEnds()) return Done{};
    return run_->Report(
        "told/address", "PUBLIC_ADDRESS_LOST", Severity::kWarning,
        fmt::format("the source's public address {} does not come along: an elastic address stays "
                    "with a node that has it as compute.elasticIp",
                    ip));
  }

  Flow<Done> MakeNode(const Json& source, const std::string& image_id) {
    SNAP_FLOW(run_->ReloadNode());
    if (run_->has_node()) return Done{};
    Json body = source.at("spec");
    body["compute"]["launchSpecification"]["imageId"] = image_id;
    FieldErrors errors;
    const auto spec = ParseNodeSpec(body, &errors);
    if (!spec) return Fail(errors.ToStatus());
    const auto node = services_.state->CreateImportedNode(migration_, *spec);
    if (!node.ok()) return RetryLater(node.status());
    return run_->ReloadNode();
  }

  Flow<Done> Finish(const std::string& instance_id) {
    if (migration_.state == "MIGRATE_FINISH") return Done{};
    auto changed = services_.state->ChangeMigration(migration_.account_id, migration_.id,
                                                    [&](MigrationRecord* record) {
                                                      record->state = "MIGRATE_FINISH";
                                                      record->state_description.reset();
                                                      record->instance_id = instance_id;
                                                      return Status::Ok();
                                                    });
    if (!changed.ok()) return RetryLater(changed.status());
    return Done{};
  }

  // The source goes on as if nothing had been, unless it is gone already: then what was made of it
  // is all there is, and stays.
  Flow<Ending> GiveUp(const std::string& state, const std::string& why) {
    const bool cancelled = why == kCancelled || migration_.cancel_requested.value();
    SNAP_FLOW_ASSIGN(const Json plan, run_->Observe("give-up", [&]() -> Flow<Json> {
      SNAP_FLOW_ASSIGN(const auto source, FindInstance(services_, Request().original_instance_id));
      return Json{{"state", cancelled ? "MIGRATE_CANCEL" : state},
                  {"why", cancelled ? kCancelled : why},
                  {"clean", !SourceEnds() && source && IsAlive(*source)}};
    }));
    SNAP_FLOW(run_->ReloadNode());
    Ending ending;
    ending.state = OperationState::kFailed;
    ending.error = plan.value("why", "");
    if (run_->has_node() && run_->node().runtime.instance_id) {
      Beginning beginning;
      beginning.instance_id = *run_->node().runtime.instance_id;
      SNAP_FLOW(ReleaseInstance(run_, beginning, "undo"));
    }
    // A node that was made has it.
    if (!run_->has_node()) SNAP_FLOW(LeaveImage(run_, migration_, plan.value("clean", false)));
    SNAP_FLOW(Show(plan.value("state", ""), plan.value("why", "")));
    const std::string reason = ending.error;
    const std::string operation_id = run_->operation().id;
    ending.change = [reason, operation_id](ControllerState::NodeChange* change) {
      change->node.state = NodeState::kError;
      change->node.state_reason = reason;
      change->AddEvent("AWS_EC2_MANAGED_INSTANCE_ERROR", Severity::kError,
                       fmt::format("the import ended: {}", reason), operation_id);
    };
    return ending;
  }

  OperationRun* const run_;
  const Services& services_;
  MigrationRecord migration_;
};

}  // namespace

Flow<Ending> RunImport(OperationRun* run) { return Import(run).Run(); }

}  // namespace snapstore::spot
