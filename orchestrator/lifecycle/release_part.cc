// The first half: an instance is let go, with everything that is to survive it kept.
#include <algorithm>

#include "base/log.h"
#include "orchestrator/lifecycle/node_names.h"
#include "orchestrator/lifecycle/node_parts.h"

namespace snapstore::spot {
namespace {

constexpr int64_t kAgentTriesMs = 30'000;  // of a final checkpoint that the agent does not answer

class Release {
 public:
  Release(OperationRun* run, const Beginning& beginning, std::string prefix)
      : run_(run),
        services_(run->services()),
        beginning_(beginning),
        instance_id_(beginning.instance_id),
        prefix_(std::move(prefix)) {}

  Flow<Done> Run() {
    if (!instance_id_.empty()) {
      SNAP_FLOW(LeaveBalancers(run_, instance_id_, Name("deregister")));
      SNAP_FLOW(WithdrawNames(run_, prefix_));
      const bool taken = beginning_.deadline_ms > 0;
      if (!taken) {
        SNAP_FLOW(Drain());
      }
      SNAP_FLOW(StopApplications());
      // Of an instance that is taken away nothing comes before the final checkpoints.
      if (taken) {
        SNAP_FLOW(Drain());
      }
      SNAP_FLOW(RunShutdownScript());
      SNAP_FLOW(KeepWhatIsKept());
      SNAP_FLOW(Terminate());
    }
    SNAP_FLOW(AwaitVolumes());
    SNAP_FLOW(MakeFinalCopies(run_, beginning_, prefix_));
    return LetGo();
  }

 private:
  std::string Name(const std::string& step) const { return prefix_ + "/" + step; }
  // Somebody waits for nothing: the instance is gone already, or goes by itself before long.
  bool IsPlanned() const {
    const std::string& trigger = run_->operation().trigger;
    return beginning_.deadline_ms == 0 && trigger != "terminated" && trigger != "unhealthy";
  }
  bool MayAskAgent() const {
    return IsPlanned() || (beginning_.deadline_ms > 0 && run_->Now() < beginning_.deadline_ms);
  }
  // The agent on the instance; nothing: there is none, or it is silent.
  Flow<std::optional<AgentRecord>> Agent() {
    auto agent = services_.state->GetAgent(run_->operation().account_id, run_->operation().node_id);
    if (!agent.ok()) {
      if (!agent.status().Is(StatusCode::kNotFound)) return RetryLater(agent.status());
      return std::optional<AgentRecord>();
    }
    if (agent->instance_id != instance_id_ ||
        run_->Now() - std::max(agent->seen_at_ms, services_.started_at_ms) >
            services_.options.agent_silence_ms) {
      return std::optional<AgentRecord>();
    }
    return std::optional<AgentRecord>(*std::move(agent));
  }

  Flow<Done> Drain() {
    const auto seconds = run_->spec().strategy.draining_timeout_seconds;
    if (!seconds || *seconds == 0 || !MayAskAgent()) return Done{};
    if (run_->spec().integrations.load_balancers_config.load_balancers.empty()) return Done{};
    SNAP_FLOW(run_->Linger(Name("drain"), [&](const StepRecord& step) -> Flow<Json> {
      int64_t until = step.started_at_ms + *seconds * 1000;
      if (beginning_.deadline_ms > 0) until = std::min(until, DrainUntil(step.started_at_ms));
      const int64_t left = until - run_->Now();
      if (left > 0) return Wait(left);
      return Json();
    }));
    return Done{};
  }

  // Half of the time that is left is the shutdown script's.
  int64_t DrainUntil(int64_t now_ms) const {
    const bool script = run_->spec().compute.launch_specification.shutdown_script.has_value();
    return script ? now_ms + (beginning_.deadline_ms - now_ms) / 2 : beginning_.deadline_ms;
  }

  Flow<Done> StopApplications() {
    if (!run_->spec().persistence.persist_application.value() || !MayAskAgent()) {
      return Done{};
    }
    SNAP_FLOW_ASSIGN(const Json stopped,
                     run_->Do(Name("stop-applications"), Json(),
                              [&](const StepRecord& step) { return AskToStop(step); }));
    if (stopped.contains("error")) {
      SNAP_FLOW(run_->Report(Name("stop-applications/event"), "APPLICATION_CHECKPOINT_FAILED",
                             Severity::kWarning,
                             fmt::format("no final checkpoint, the newest earlier one will be "
                                         "used: {}",
                                         stopped.value("error", ""))));
    } else if (stopped.contains("checkpoints")) {
      SNAP_FLOW(run_->Report(
          Name("stop-applications/event"), "APPLICATION_CHECKPOINTED", Severity::kInfo,
          fmt::format("final checkpoint taken: {}", stopped.value("checkpoints", ""))));
    }
    return Done{};
  }

  Flow<Json> AskToStop(const StepRecord& step) {
    SNAP_FLOW_ASSIGN(const auto agent, Agent());
    if (!agent) return Json{{"error", "no agent reports from the instance"}};
    int64_t limit = services_.options.stop_limit_ms;
    if (beginning_.deadline_ms > 0) {
      limit = std::min(limit, beginning_.deadline_ms - run_->Now());
      if (limit <= 0) return Json{{"error", "the instance is taken away"}};
    }
    const auto outcomes = services_.agents->Stop(*agent, limit);
    if (!outcomes.ok()) {
      if (run_->Now() - step.started_at_ms < kAgentTriesMs && MayAskAgent()) return Wait(1000);
      return Json{{"error", outcomes.status().message()}};
    }
    std::string checkpoints;
    for (const AgentOutcome& outcome : *outcomes) {
      if (!outcome.error.empty()) {
        return Json{{"error", fmt::format("{}: {}", outcome.config_id, outcome.error)}};
      }
      if (!checkpoints.empty()) checkpoints += ", ";
      checkpoints += outcome.config_id + " " + outcome.checkpoint_id;
    }
    return Json{{"checkpoints", checkpoints}};
  }

  Flow<Done> RunShutdownScript() {
    const auto& script = run_->spec().compute.launch_specification.shutdown_script;
    if (!script || !MayAskAgent()) return Done{};
    SNAP_FLOW_ASSIGN(
        const Json ended,
        run_->Do(Name("shutdown-script"), Json(), [&](const StepRecord& step) -> Flow<Json> {
          SNAP_FLOW_ASSIGN(const auto agent, Agent());
          if (!agent) return Json{{"error", "no agent reports from the instance"}};
          const int64_t spent = run_->Now() - step.started_at_ms;
          const Status started = services_.agents->StartShutdownScript(*agent, *script);
          if (!started.ok()) {
            if (spent < kAgentTriesMs && MayAskAgent()) return Wait(1000);
            return Json{{"error", started.message()}};
          }
          const auto code = services_.agents->PollShutdownScript(*agent);
          if (code.ok() && code->has_value()) return Json{{"exitCode", **code}};
          if (spent >= services_.options.script_limit_ms || !MayAskAgent()) {
            return Json{{"timeout", true}};
          }
          return Wait();
        }));
    if (ended.contains("timeout")) {
      SNAP_FLOW(run_->Report(Name("shutdown-script/event"), "SIGNAL_TIMEOUT_SHUTDOWN_SCRIPT",
                             Severity::kWarning, "the shutdown script did not end in time"));
    } else if (ended.contains("error") || ended.value("exitCode", 0) != 0) {
      SNAP_FLOW(run_->Report(
          Name("shutdown-script/event"), "SHUTDOWN_SCRIPT_FAILED", Severity::kWarning,
          ended.contains("error")
              ? fmt::format("the shutdown script was not run: {}", ended.value("error", ""))
              : fmt::format("the shutdown script ended with exit code {}",
                            ended.value("exitCode", 0))));
    }
    return Done{};
  }

  // Nothing that is kept may go with the instance; what is on it now is what is kept.
  Flow<Done> KeepWhatIsKept() {
    SNAP_FLOW(run_->Observe(
        Name("keep"),
        [&]() -> Flow<Json> {
          SNAP_FLOW_ASSIGN(const auto instance, FindInstance(services_, instance_id_));
          if (!instance) return Json();
          KeptResources kept = run_->node().runtime.resources;
          // Of an instance that is ending EC2 may have forgotten devices; the record has not.
          if (IsAlive(*instance)) {
            MergeDevices(*instance, run_->spec(), &kept);
            MergeInterface(*instance, run_->spec(), &kept);
            SNAP_FLOW(Protect(*instance, kept));
          }
          seen_ = std::move(kept);
          return Json{{"spotRequestId", instance->spot_request_id}};
        },
        [this](const Json&, ControllerState::NodeChange* change) {
          if (!seen_) return;
          KeptResources& kept = change->node.runtime.resources;
          kept.devices = seen_->devices;
          kept.interface_id = seen_->interface_id;
          kept.subnet_id = seen_->subnet_id;
          kept.private_ip = seen_->private_ip;
          change->node.runtime.devices = ShownDevices(*seen_);
        }));
    return Done{};
  }

  Flow<Done> Protect(const Ec2Instance& instance, const KeptResources& kept) {
    std::map<std::string, bool> goes;
    for (const Ec2InstanceDevice& one : instance.devices) {
      const auto device = std::find_if(
          kept.devices.begin(), kept.devices.end(),
          [&](const KeptDevice& known) { return known.device_name == one.device_name; });
      if (device == kept.devices.end() || !IsKept(run_->spec(), *device)) continue;
      if (one.delete_on_termination) goes[one.device_name] = false;
    }
    if (!goes.empty()) {
      SNAP_FLOW(Tolerate(services_.ec2->ModifyDeleteOnTermination(instance.id, goes)));
    }
    if (!run_->spec().persistence.persist_private_ip.value()) return Done{};
    for (const Ec2InstanceInterface& one : instance.interfaces) {
      if (one.device_index != 0 || !one.delete_on_termination) continue;
      SNAP_FLOW(Tolerate(
          services_.ec2->ModifyInterfaceDeleteOnTermination(one.id, one.attachment_id, false)));
    }
    return Done{};
  }

  Flow<Done> Terminate() {
    SNAP_FLOW_ASSIGN(const Json terminated, run_->Observe(Name("terminate"), [&]() -> Flow<Json> {
      SNAP_FLOW_ASSIGN(const auto instance, FindInstance(services_, instance_id_));
      if (!instance) return Json();
      if (instance->state != "terminated") {
        SNAP_FLOW(Tolerate(services_.ec2->TerminateInstances({instance_id_})));
      }
      return Json{{"spotRequestId", instance->spot_request_id}};
    }));
    const std::string request = terminated.is_object() ? terminated.value("spotRequestId", "") : "";
    if (!request.empty()) {
      SNAP_FLOW(run_->Observe(Name("cancel-request"), [&]() -> Flow<Json> {
        SNAP_FLOW(Tolerate(services_.ec2->CancelSpotInstanceRequests({request})));
        return Json();
      }));
    }
    SNAP_FLOW(run_->Observe(
        Name("terminated"),
        [&]() -> Flow<Json> {
          SNAP_FLOW_ASSIGN(const auto instance, FindInstance(services_, instance_id_));
          if (instance && instance->state != "terminated") return Wait();
          return Json{{"at", run_->Now()}};
        },
        [this](const Json&, ControllerState::NodeChange* change) {
          change->AddEvent("AWS_EC2_INSTANCE_TERMINATED", Severity::kInfo,
                           fmt::format("{} is terminated", instance_id_), run_->operation().id);
          NodeRuntime& runtime = change->node.runtime;
          change->SetInstance(std::nullopt);
          runtime.applications_wanted = false;
          runtime.public_ip.reset();
          runtime.ipv6_address.reset();
          runtime.resources.healthy_once = false;
          runtime.resources.unhealthy_since_ms.reset();
          runtime.resources.stop_reported = false;
        }));
    return CloseUsage(run_, Name("usage"));
  }

  // Volumes that are kept, or to be snapshotted, and the interface are free.
  Flow<Done> AwaitVolumes() {
    SNAP_FLOW(run_->Observe(
        Name("free"),
        [&]() -> Flow<Json> {
          Json lost = Json::array();
          for (const KeptDevice& device : run_->node().runtime.resources.devices) {
            if (device.volume_id.empty()) continue;
            const auto found = services_.ec2->DescribeVolumes({.ids = {device.volume_id}});
            const bool gone = found.ok() ? found->empty() || found->front().state == "deleted" ||
                                               found->front().state == "deleting"
                                         : found.status().Is(StatusCode::kNotFound);
            if (!found.ok() && !gone) return RetryLater(found.status());
            // One that the last launch made may not be known everywhere yet.
            if (gone && IsKept(run_->spec(), device) && IsYoung()) return Wait();
            if (gone) {
              lost.push_back(device.device_name);
            } else if (IsKept(run_->spec(), device) && found->front().state != "available" &&
                       IsMine(found->front())) {
              return Wait();
            }
          }
          SNAP_FLOW(AwaitInterface());
          return Json{{"lost", std::move(lost)}};
        },
        [this](const Json& output, ControllerState::NodeChange* change) {
          KeptResources& kept = change->node.runtime.resources;
          for (const Json& name : output.at("lost")) {
            KeptDevice* device = FindDevice(&kept, name.get<std::string>());
            if (device == nullptr) continue;
            device->volume_id.clear();
            if (IsKept(run_->spec(), *device)) {
              change->AddEvent("VOLUME_LOST", Severity::kWarning,
                               fmt::format("the volume of {} is gone", device->device_name),
                               run_->operation().id);
            }
          }
        }));
    return Done{};
  }

  bool IsYoung() const {
    const auto launched = run_->node().runtime.launched_at_ms;
    return launched && run_->Now() - *launched < kConsistencyMs;
  }

  // A volume that somebody attached elsewhere meanwhile is not waited for.
  bool IsMine(const Ec2Volume& volume) const {
    return volume.attachments.empty() ||
           std::any_of(volume.attachments.begin(), volume.attachments.end(),
                       [&](const Ec2VolumeAttachment& one) {
                         return one.instance_id == instance_id_ || instance_id_.empty();
                       });
  }

  Flow<Done> AwaitInterface() {
    const std::string& id = run_->node().runtime.resources.interface_id;
    if (id.empty() || !run_->spec().persistence.persist_private_ip.value()) return Done{};
    const auto found = services_.ec2->DescribeNetworkInterfaces({.ids = {id}});
    if (!found.ok()) return Tolerate(found);
    if (!found->empty() && found->front().status != "available" &&
        (found->front().instance_id == instance_id_ || found->front().instance_id.empty())) {
      return Wait();
    }
    return Done{};
  }

  Flow<Done> LetGo() {
    SNAP_FLOW(run_->Observe(
        Name("let-go"), [] { return Flow<Json>(Json()); },
        [this](const Json&, ControllerState::NodeChange* change) {
          NodeRuntime& runtime = change->node.runtime;
          std::erase_if(runtime.resources.devices,
                        [](const KeptDevice& device) { return device.foreign; });
          LetGoOfUnkept(services_, run_->spec(), change);
          if (!run_->spec().persistence.persist_private_ip.value()) runtime.private_ip.reset();
          if (runtime.instance_type) runtime.resources.checkpointed_on = *runtime.instance_type;
          runtime.instance_type.reset();
          runtime.life_cycle.reset();
          runtime.launched_at_ms.reset();
          runtime.devices = ShownDevices(runtime.resources);
        }));
    return Done{};
  }

  OperationRun* const run_;
  const Services& services_;
  const Beginning& beginning_;
  const std::string instance_id_;
  const std::string prefix_;
  std::optional<KeptResources> seen_;
};

}  // namespace

Flow<Done> ReleaseInstance(OperationRun* run, const Beginning& beginning,
                           const std::string& prefix) {
  const Flow<Done> done = Release(run, beginning, prefix).Run();
  // There is no way back from half a release: what is refused is tried again.
  if (!done.ok() && done.halt().kind == Halt::Kind::kFail) return RetryLater(done.halt().status);
  return done;
}

}  // namespace snapstore::spot
