// Fills a state folder with what a controller would hold after some days: fill_state DIR COUNT
// makes COUNT nodes, the first one with a long history, and prints a token of the account act-1.
// fill_state DIR checkpoint NODE adds a checkpoint, fill_state DIR paused NODE tells that it is
// paused.
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orchestrator/model/json.h"
#include "orchestrator/state/controller_state.h"
#include "orchestrator/state/operation_journal.h"
#include "orchestrator/state/rocks_state_store.h"

namespace snapstore::spot {
namespace {

constexpr const char* kAccount = "act-1";
constexpr int64_t kMinute = 60'000;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;
constexpr int64_t kMiB = 1 << 20;

void Check(const Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "fill_state: {}\n", status.ToString());
  exit(1);
}

template <typename T>
T Take(Result<T> result) {
  Check(result.status());
  return *std::move(result);
}

const char* const kNames[] = {"payments-db",   "session-cache", "search-index", "ci-runner",
                              "report-worker", "feature-store", "notebook",     "build-cache"};
const char* const kTypes[] = {"m5.large", "r6i.xlarge", "c6a.2xlarge", "m6g.large"};
const char* const kZones[] = {"us-east-1a", "us-east-1b", "us-east-1c"};
const NodeState kStates[] = {NodeState::kActive,  NodeState::kActive,    NodeState::kPaused,
                             NodeState::kActive,  NodeState::kRecycling, NodeState::kActive,
                             NodeState::kError,   NodeState::kActive,    NodeState::kPaused,
                             NodeState::kResuming};

class Filler {
 public:
  explicit Filler(const std::string& folder)
      : store_(Take(RocksStateStore::Open(folder + "/state"))),
        state_(store_.get(), nullptr, {.now_ms = [this] { return now_; }}) {}

  void Fill(int64_t count) {
    const auto token = Take(state_.AddToken({kAccount}, "dashboard", std::nullopt));
    PersistencyConfig config;
    config.name = "Postgres";
    config.run_cmd = "postgres -D /data";
    config.snapshot_destination = "snapshots";
    config.snapshot_scheduler = "*/5 * * * *";
    config_ = Take(state_.CreateConfig(kAccount, config)).id;
    for (int64_t i = 0; i < count; ++i) AddNode(i);
    fmt::print("{}\n", token.text);
  }

  void AddCheckpoint(const std::string& node, int64_t time, int64_t number, bool fails = false) {
    CheckpointReport report;
    report.config_id = config_.empty() ? "apc-1" : config_;
    report.time_ms = time;
    report.trigger = number % 9 == 0 ? "notice" : "schedule";
    if (fails) {
      report.error = "write /data/snap: no space left on device";
    } else {
      report.checkpoint_id = fmt::format("c{:06x}", number * 7919);
      report.frozen_ms = 18 + static_cast<double>((number * number * 37) % 61);
      report.seconds = 1.2 + static_cast<double>(number % 5) / 4;
      report.bytes_captured = (800 + number * 31 % 400) * kMiB;
      report.bytes_new = (20 + number * 53 % 160) * kMiB;
      report.bytes_stored = report.bytes_new * 2 / 5;
    }
    Check(state_.AddCheckpoint(kAccount, node, report));
  }

  void Report(const std::string& node, int64_t time, const std::string& type, Severity severity,
              const std::string& message, std::optional<NodeState> state = std::nullopt) {
    now_ = time;
    Check(state_
              .ChangeNode(kAccount, node,
                          [&](ControllerState::NodeChange* change) {
                            if (state) change->node.state = *state;
                            change->AddEvent(type, severity, message);
                            return Status::Ok();
                          })
              .status());
    now_ = start_;
  }

  int64_t start() const { return start_; }

 private:
  void AddNode(int64_t i) {
    NodeSpec spec = SpecOf(i);
    FieldErrors errors;
    now_ = start_ - 9 * kDay - i * kMinute;
    const NodeRecord node = Take(state_.CreateNode(kAccount, spec, &errors));
    now_ = start_;
    // A large fleet is for lists; only some of it has a life.
    Check(OperationJournal(&state_).Finish(
        *node.operation_id, OperationState::kDone, "",
        [&](ControllerState::NodeChange* change) { return SetRuntime(i, change); }));
    if (i == 0) FillHistory(node.id);
    if (i < 12) {
      AddUsage(node.id, i);
      if (i > 0) AddCheckpoint(node.id, start_ - (i * 7 + 2) * kMinute, 40 + i, i == 3);
    }
  }

  NodeSpec SpecOf(int64_t i) const {
    const Json json = {
        {"name", fmt::format("{}-{}", kNames[i % 8], i / 8 + 1)},
        {"description", "ledger of the shop"},
        {"region", "us-east-1"},
        {"persistence",
         {{"persistRootDevice", true},
          {"persistPrivateIp", true},
          {"persistApplication", true},
          {"applicationPersistencyConfig", {config_}}}},
        {"compute",
         {{"subnetIds", {"subnet-1"}},
          {"vpcId", "vpc-1"},
          {"launchSpecification",
           {{"instanceTypes", {{"types", {"m5.large"}}}}, {"imageId", "ami-0abc1234"}}}}}};
    FieldErrors errors;
    auto spec = ParseNodeSpec(json, &errors);
    Check(spec ? Status::Ok() : errors.ToStatus());
    return *std::move(spec);
  }

  Status SetRuntime(int64_t i, ControllerState::NodeChange* change) const {
    NodeRecord& node = change->node;
    node.state = i == 0 ? NodeState::kActive : kStates[i % 10];
    NodeRuntime& runtime = node.runtime;
    if (node.state == NodeState::kError) {
      node.state_reason = "no instance could be launched: InsufficientInstanceCapacity";
    }
    runtime.private_ip = fmt::format("10.0.{}.{}", i / 200, i % 200 + 5);
    runtime.devices = {{"/dev/xvda", fmt::format("vol-0a{:06x}", i), "snap-0b61f2"},
                       {"/dev/sdf", fmt::format("vol-0d{:06x}", i), std::nullopt}};
    if (node.state == NodeState::kError || node.state == NodeState::kPaused) return Status::Ok();
    change->SetInstance(fmt::format("i-0{:08x}", 0x5a31 + i * 131));
    runtime.image_id = "ami-0abc1234";
    runtime.instance_type = kTypes[i % 4];
    runtime.availability_zone = kZones[i % 3];
    runtime.life_cycle = i % 5 == 1 ? LifeCycle::kOnDemand : LifeCycle::kSpot;
    runtime.launched_at_ms = start_ - 25 * kHour;
    return Status::Ok();
  }

  void AddUsage(const std::string& node, int64_t i) {
    const double share = 0.25 + 0.05 * static_cast<double>(i % 6);
    Check(state_.PutUsage(kAccount, node,
                          {"i-1", start_ - 9 * kDay, start_ - kDay, 0.096 * share, {}, 0.096}));
    Check(state_.PutUsage(kAccount, node,
                          {"i-2", start_ - kDay + kHour, std::nullopt, 0.096 * share, {}, 0.096}));
  }

  void FillHistory(const std::string& node) {
    const auto say = [&](int64_t back, const char* type, Severity severity, const char* message) {
      Report(node, start_ - back, type, severity, message);
    };
    constexpr auto kInfo = Severity::kInfo;
    const auto launched = [&](int64_t back) {
      say(back, "AWS_EC2_INSTANCE_LAUNCH", kInfo, "a spot instance m5.large in us-east-1a");
      say(back - 2 * kMinute, "AWS_EC2_MANAGED_INSTANCE_ACTIVE", kInfo, "the node is active");
    };
    launched(9 * kDay - kMinute);
    for (int64_t day = 8; day >= 2; --day) {
      say(day * kDay, "AWS_EC2_MANAGED_INSTANCE_PAUSING", kInfo, "a pause was asked for");
      say(day * kDay - 4 * kMinute, "AWS_EC2_MANAGED_INSTANCE_PAUSED", kInfo, "the node is paused");
      const int64_t morning = (day - 1) * kDay + 14 * kHour;
      say(morning, "AWS_EC2_MANAGED_INSTANCE_RESUMING", kInfo, "a resume was asked for");
      if (day == 5) {
        say(morning - kMinute, "AWS_EC2_CANT_SPIN_SPOT", Severity::kWarning,
            "no spot capacity in us-east-1a, us-east-1b");
        say(morning - 3 * kMinute, "AWS_EC2_MANAGED_INSTANCE_ERROR", Severity::kError,
            "no instance could be launched");
        say(morning - 5 * kHour, "AWS_EC2_MANAGED_INSTANCE_RESUMING", kInfo, "a resume");
        launched(morning - 5 * kHour - 2 * kMinute);
      } else {
        launched(morning - kMinute);
      }
    }
    say(5 * kHour, "AWS_EC2_INSTANCE_TERMINATED", Severity::kWarning,
        "the cloud took i-0a11: spot interruption");
    say(5 * kHour - 1000, "AWS_EC2_MANAGED_INSTANCE_RECYCLING", kInfo, "a new instance is needed");
    launched(5 * kHour - 2 * kMinute);
    say(34 * kMinute, "AWS_EC2_MANAGED_INSTANCE_RECYCLING", kInfo, "a recycle was asked for");
    launched(31 * kMinute);
    for (int64_t i = 0; i < 84; ++i) {
      AddCheckpoint(node, start_ - (84 - i) * 5 * kMinute, i, i == 51);
    }
    AddAgent(node);
  }

  void AddAgent(const std::string& node) {
    AgentRecord agent;
    agent.instance_id = *Take(state_.GetNode(kAccount, node)).runtime.instance_id;
    agent.version = "0.1.0";
    agent.seen_at_ms = start_;
    ReportedApplication application;
    application.config_id = config_;
    application.state = "running";
    application.restored_from = "c09f21e";
    application.reason = "the newest checkpoint fits this processor";
    application.checkpoint_id = "c0a0e5d";
    application.checkpoint_at_ms = start_ - 5 * kMinute;
    agent.applications = {application};
    Check(state_.PutAgent(kAccount, node, agent));
  }

  const int64_t start_ = NowMs();
  int64_t now_ = start_;
  std::string config_;
  std::unique_ptr<StateStore> store_;
  ControllerState state_;
};

int Main(const std::vector<std::string>& words) {
  if (words.size() < 2 ||
      (words.size() == 2) != (words[1] != "checkpoint" && words[1] != "paused")) {
    fmt::print(stderr, "fill_state DIR COUNT | DIR checkpoint NODE | DIR paused NODE\n");
    return 2;
  }
  Filler filler(words[0]);
  if (words[1] == "checkpoint") {
    filler.AddCheckpoint(words[2], filler.start(), 99);
  } else if (words[1] == "paused") {
    filler.Report(words[2], filler.start(), "AWS_EC2_MANAGED_INSTANCE_PAUSED", Severity::kInfo,
                  "the node is paused", NodeState::kPaused);
  } else {
    filler.Fill(strtoll(words[1].c_str(), nullptr, 10));
  }
  return 0;
}

}  // namespace
}  // namespace snapstore::spot

// What is thrown here, for want of memory, is the end of it.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) { return snapstore::spot::Main({argv + 1, argv + argc}); }
