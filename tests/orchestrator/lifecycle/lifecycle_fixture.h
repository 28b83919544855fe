// A life-cycle over a cloud and a state in memory, driven by the test, with a clock of its own.
#ifndef SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_LIFECYCLE_FIXTURE_H_
#define SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_LIFECYCLE_FIXTURE_H_

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>

#include "orchestrator/lifecycle/reconciler.h"
#include "tests/orchestrator/lifecycle/memory_cloud.h"
#include "tests/orchestrator/state/memory_state_store.h"

namespace snapstore::spot {

// Thrown where a controller is killed; not derived from what anybody catches.
struct Killed {};

class NoAgents : public AgentCaller {
 public:
  Result<std::vector<AgentOutcome>> Stop(const AgentRecord& /*agent*/,
                                         int64_t /*deadline_ms*/) override {
    return Status::Io("no agent");
  }
  Status StartShutdownScript(const AgentRecord& /*agent*/, const std::string& /*script*/) override {
    return Status::Io("no agent");
  }
  Result<std::optional<int>> PollShutdownScript(const AgentRecord& /*agent*/) override {
    return Status::Io("no agent");
  }
};

// One controller after the other over the same cloud and state.
class World {
 public:
  static constexpr const char* kAccount = "act-1";

  World() {
    sources_.now_ms = [this] { return cloud.now_ms; };
    sources_.new_id = [this](std::string_view prefix) {
      return fmt::format("{}{:08x}", prefix, ++ids_);
    };
    sources_.new_uuid = [this] { return fmt::format("uuid-{}", ++ids_); };
    options.capacity_retry_ms = 5'000;
    options.retention_ms = 3'600'000;
    Restart();
  }

  // A controller that knows nothing but what is stored.
  void Restart() {
    state = std::make_unique<ControllerState>(&store, nullptr, sources_);
    journal = std::make_unique<OperationJournal>(state.get());
    markets = std::make_unique<MarketMemory>();
    services = {};
    services.state = state.get();
    services.journal = journal.get();
    services.ec2 = &cloud;
    services.elb = &cloud;
    services.agents = &agents;
    services.markets = markets.get();
    services.on_demand_price = [](const std::string&) { return 0.1; };
    services.options = options;
    reconciler = std::make_unique<Reconciler>(&services);
    due_.clear();
    next_poll_ms_ = cloud.now_ms;
    started_ = false;
  }

  // Does what is due, then moves the clock to what is due next, at most to `until_ms`.
  void Step(int64_t until_ms) {
    if (!started_) {
      started_ = true;
      EXPECT_TRUE(reconciler->AdoptSnapshots().ok());
    }
    const auto active = journal->Active();
    ASSERT_TRUE(active.ok());
    for (const Operation& operation : *active) {
      const auto known = due_.find(operation.id);
      if (known != due_.end() && known->second > cloud.now_ms) continue;
      const auto again = reconciler->Advance(operation.id);
      if (again) {
        due_[operation.id] = cloud.now_ms + std::max<int64_t>(1, *again);
      } else {
        due_.erase(operation.id);
      }
    }
    if (cloud.now_ms >= next_poll_ms_) {
      next_poll_ms_ = cloud.now_ms + 5'000;
      const auto names = reconciler->Poll();
      if (names.ok()) {
        for (const auto& name : *names) (void)reconciler->TakeSnapshots(name);
      }
      EXPECT_TRUE(reconciler->PurgeRetained().ok());
    }
    int64_t next = std::min(until_ms, next_poll_ms_);
    for (const auto& [id, due] : due_) next = std::min(next, due);
    cloud.Advance(std::max<int64_t>(1, next - cloud.now_ms));
  }

  // True once it holds, within `ms` of the cloud's time. A controller that is killed is followed by
  // another one.
  bool Until(const std::function<bool()>& holds, int64_t ms = 3'600'000) {
    const int64_t end = cloud.now_ms + ms;
    while (cloud.now_ms < end) {
      if (holds()) return true;
      try {
        Step(end);
      } catch (const Killed&) {
        ++kills;
        Restart();
      }
    }
    return holds();
  }

  std::optional<NodeRecord> Node(const std::string& id) {
    auto node = ControllerState(&store).GetNode(kAccount, id);
    if (!node.ok()) return std::nullopt;
    return *std::move(node);
  }
  bool Rests(const std::string& id, NodeState at) {
    const auto node = Node(id);
    return node && node->state == at && !node->operation_id;
  }

  // What the cloud holds for the node that its record does not know; empty: nothing.
  std::string Leaks(const std::string& id) {
    const auto node = Node(id);
    std::set<std::string> known;
    if (node) {
      const KeptResources& kept = node->runtime.resources;
      known.insert({kept.image_id, kept.interface_id, kept.image_snapshot_id,
                    node->spec.compute.launch_specification.image_id});
      for (const KeptDevice& device : kept.devices) {
        known.insert(device.volume_id);
        for (const KeptSnapshot& one : device.snapshots) known.insert(one.id);
      }
      if (node->runtime.instance_id) {
        known.insert(*node->runtime.instance_id);
        for (const auto& one : cloud.instances[*node->runtime.instance_id].interfaces) {
          known.insert(one.id);
        }
      }
    }
    for (const auto& [key, image] : cloud.images) {
      if (!known.contains(key)) continue;
      for (const Ec2BlockDevice& one : image.devices) known.insert(one.snapshot_id);
    }
    const auto retained = ControllerState(&store).ListRetained();
    for (const RetainedRecord& one : *retained) known.insert(one.id);
    std::string leaks;
    const auto look = [&](const auto& all, const auto& counts) {
      for (const auto& [key, one] : all) {
        const auto tag = one.tags.find("snapstore:node");
        if (tag == one.tags.end() || tag->second != id || known.contains(key) || !counts(one)) {
          continue;
        }
        leaks += key + " ";
      }
    };
    const auto always = [](const auto&) { return true; };
    look(cloud.instances, [](const Ec2Instance& one) { return one.state != "terminated"; });
    look(cloud.volumes, always);
    look(cloud.snapshots, always);
    look(cloud.images, always);
    look(cloud.interfaces, always);
    return leaks;
  }

  MemoryCloud cloud;
  MemoryStateStore store{std::make_shared<StateMemory>()};
  NoAgents agents;
  LifecycleOptions options;
  std::unique_ptr<ControllerState> state;
  std::unique_ptr<OperationJournal> journal;
  std::unique_ptr<MarketMemory> markets;
  Services services;
  std::unique_ptr<Reconciler> reconciler;
  int kills = 0;

 private:
  StateSources sources_;
  std::map<std::string, int64_t> due_;  // of operations
  int64_t next_poll_ms_ = 0;
  int64_t ids_ = 0;
  bool started_ = false;
};

// A node in subnet-a, with a data volume.
inline NodeSpec TestSpec(BlockDevicesMode mode = BlockDevicesMode::kReattach) {
  NodeSpec spec;
  spec.name = "node";
  spec.region = "us-east-1";
  spec.persistence.persist_root_device = true;
  spec.persistence.persist_block_devices = true;
  spec.persistence.block_devices_mode = mode;
  spec.persistence.persist_private_ip = true;
  spec.compute.vpc_id = MemoryCloud::kVpc;
  spec.compute.subnet_ids = {"subnet-a"};
  spec.compute.launch_specification.image_id = MemoryCloud::kImage;
  spec.compute.launch_specification.instance_types.types = {"m5.large", "c5.large"};
  BlockDeviceMapping data;
  data.device_name = "/dev/sdf";
  data.ebs.emplace();
  data.ebs->volume_size_gib = 1;
  spec.compute.launch_specification.block_device_mappings = {data};
  return spec;
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_TESTS_ORCHESTRATOR_LIFECYCLE_LIFECYCLE_FIXTURE_H_
