// Imports: a running instance becomes a stateful node, by way of an image of it.
#include <fmt/format.h>

#include <algorithm>

#include "base/base64.h"
#include "orchestrator/lifecycle/node_parts.h"
#include "orchestrator/lifecycle/operations.h"

namespace snapstore::spot {
namespace {

class Import {
 public:
  explicit Import(OperationRun* run) : run_(run), services_(run->services()) {}

  Flow<Ending> Run() {
    SNAP_FLOW(Load());
    if (run_->IsDone("give-up")) return GiveUp("", "");
    const Flow<Ending> done = Steps();
    if (!done.ok() && done.halt().kind == Halt::Kind::kFail) {
      return GiveUp("MIGRATE_ERROR", done.halt().status.message());
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
    if (!run_->IsDone("terminated") && migration_.cancel_requested.value()) {
      return GiveUp("MIGRATE_CANCEL", "cancelled");
    }
    if (!run_->IsDone("image/available")) SNAP_FLOW(Show("MIGRATE_CREATE_IMAGE"));
    SNAP_FLOW_ASSIGN(const Json image, run_->Do("image", Json(), [this](const StepRecord& step) {
      return MakeImage(step);
    }));
    const std::string image_id = image.value("imageId", "");
    SNAP_FLOW(AwaitImage(image_id));
    SNAP_FLOW(EndSource());
    SNAP_FLOW(MakeNode(source, image_id));
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
    if (instance.tags.contains(NodeTag::kNode)) {
      return Fail(Status::InvalidArgument(
          fmt::format("{} is a stateful node already: {}", id, instance.tags.at(NodeTag::kNode))));
    }
    const auto user_data = services_.ec2->DescribeInstanceAttribute(id, "userData");
    if (!user_data.ok()) return user_data.failure();
    Json source = {{"zone", instance.availability_zone}, {"ip", instance.private_ip}};
    SNAP_FLOW_ASSIGN(source["spec"], SpecOf(instance, *user_data));
    return source;
  }

  // The body of a create call that makes a node like the instance; its image is put in later.
  Flow<Json> SpecOf(const Ec2Instance& instance, const std::string& user_data) {
    Json launch = {{"imageId", instance.image_id}};
    std::vector<std::string> types = Request().spot_instance_types;
    if (types.empty()) types = {instance.instance_type};
    launch["instanceTypes"] = {{"types", types}};
    Json groups = Json::array();
    for (const Ec2GroupId& group : instance.groups) groups.push_back(group.id);
    if (!groups.empty()) launch["securityGroupIds"] = std::move(groups);
    if (!instance.key_name.empty()) launch["keyPair"] = instance.key_name;
    if (!instance.instance_profile_arn.empty()) {
      launch["iamRole"] = {{"arn", instance.instance_profile_arn}};
    }
    if (!user_data.empty()) launch["userData"] = user_data;
    if (instance.ebs_optimized) launch["ebsOptimized"] = true;
    if (instance.monitoring) launch["monitoring"] = true;
    if (instance.tenancy == "dedicated") launch["tenancy"] = "dedicated";
    if (Request().should_keep_metadata_options.value() && !instance.metadata.http_tokens.empty()) {
      Json metadata = {{"httpTokens", instance.metadata.http_tokens}};
      if (instance.metadata.http_put_response_hop_limit > 0) {
        metadata["httpPutResponseHopLimit"] = instance.metadata.http_put_response_hop_limit;
      }
      launch["metadataOptions"] = std::move(metadata);
    }
    Json tags = Json::array();
    for (const auto& [key, value] : instance.tags) {
      if (key.starts_with("aws:") || key.starts_with("snapstore:")) continue;
      tags.push_back({{"tagKey", key}, {"tagValue", value}});
    }
    if (!tags.empty()) launch["tags"] = std::move(tags);

    const bool keeps_ip = Request().should_keep_private_ip.value();
    Json compute = {{"vpcId", instance.vpc_id}};
    SNAP_FLOW_ASSIGN(compute["subnetIds"], Subnets(instance));
    if (keeps_ip) compute["privateIp"] = instance.private_ip;
    if (Request().product) {
      compute["product"] = *Request().product;
    } else if (!instance.platform_details.empty()) {
      compute["product"] = instance.platform_details;
    }
    compute["launchSpecification"] = std::move(launch);
    const auto name = instance.tags.find("Name");
    return Json{{"name", Request().name.value_or(name == instance.tags.end() || name->second.empty()
                                                     ? instance.id
                                                     : name->second)},
                {"region", Request().region.value_or(ZoneRegion(instance.availability_zone))},
                {"persistence",
                 {{"persistRootDevice", true},
                  {"persistBlockDevices", true},
                  {"blockDevicesMode", "onLaunch"},
                  {"persistPrivateIp", keeps_ip}}},
                {"compute", std::move(compute)}};
  }

  // "us-east-1" of "us-east-1a".
  static std::string ZoneRegion(const std::string& zone) {
    return zone.substr(0, zone.find_last_of("0123456789") + 1);
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
    const std::string name = fmt::format("snapstore-{}-{}", migration_.node_id, step.client_token);
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

  // The source ends: asked for with the import, or (of a group) by its owner later.
  Flow<Done> EndSource() {
    const bool ends = Request().should_terminate_instance.value();
    if (!ends && !migration_.group_id) return Done{};
    if (!ends && !run_->IsDone("confirmed")) {
      SNAP_FLOW(
          Show("MIGRATE_AWAIT_USER_ACTION", "terminate the source, or confirm that it may be"));
      SNAP_FLOW(run_->Observe("confirmed", [&]() -> Flow<Json> {
        if (migration_.cancel_requested.value()) return Fail(Status::Cancelled("cancelled"));
        if (migration_.termination_confirmed.value()) return Json();
        SNAP_FLOW_ASSIGN(const auto source,
                         FindInstance(services_, Request().original_instance_id));
        if (!source || source->state == "terminated") return Json();
        return Wait(services_.options.poll_max_ms);
      }));
    }
    if (!run_->IsDone("terminate")) SNAP_FLOW(Show("MIGRATE_TERMINATE_INSTANCE"));
    SNAP_FLOW(run_->Observe("terminate", [&]() -> Flow<Json> {
      SNAP_FLOW(Tolerate(services_.ec2->TerminateInstances({Request().original_instance_id})));
      return Json();
    }));
    if (!run_->IsDone("terminated")) SNAP_FLOW(Show("MIGRATE_AWAIT_INSTANCE_TERMINATION"));
    SNAP_FLOW(run_->Observe("terminated", [&]() -> Flow<Json> {
      SNAP_FLOW_ASSIGN(const auto source, FindInstance(services_, Request().original_instance_id));
      if (source && source->state != "terminated") return Wait();
      return Json();
    }));
    return Done{};
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
    const bool cancelled = why == "cancelled" || migration_.cancel_requested.value();
    SNAP_FLOW_ASSIGN(const Json plan, run_->Observe("give-up", [&]() -> Flow<Json> {
      return Json{{"state", cancelled ? "MIGRATE_CANCEL" : state},
                  {"why", why},
                  {"clean", !run_->IsDone("terminate")}};
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
    const bool cleans = plan.value("clean", false) && !run_->has_node();
    if (cleans) SNAP_FLOW(DeleteImage());
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

  Flow<Done> DeleteImage() {
    SNAP_FLOW(run_->Observe("give-up/clean", [&]() -> Flow<Json> {
      const Ec2Query query{
          .filters = {{std::string("tag:") + NodeTag::kNode, {migration_.node_id}}}};
      const auto images = services_.ec2->DescribeImages(query);
      if (!images.ok()) return RetryLater(images.status());
      for (const Ec2Image& image : *images) {
        SNAP_FLOW(Tolerate(services_.ec2->DeregisterImage(image.id)));
      }
      const auto snapshots = services_.ec2->DescribeSnapshots(query);
      if (!snapshots.ok()) return RetryLater(snapshots.status());
      for (const Ec2Snapshot& snapshot : *snapshots) {
        SNAP_FLOW(Tolerate(services_.ec2->DeleteSnapshot(snapshot.id)));
      }
      return Json();
    }));
    return Done{};
  }

  OperationRun* const run_;
  const Services& services_;
  MigrationRecord migration_;
};

}  // namespace

Flow<Ending> RunImport(OperationRun* run) { return Import(run).Run(); }

}  // namespace snapstore::spot
