#include "tests/orchestrator/lifecycle/simulation.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "orchestrator/model/node_change.h"

namespace snapstore::spot {
namespace {

LifecycleOptions EngineOptions(const SimulationOptions& options) {
  LifecycleOptions engine;
  engine.snapshot_interval_ms = options.snapshot_interval_ms;
  // A tenth of the looks that a real controller takes: they are what a simulation's time goes to.
  engine.poll_ms = kSecondMs;
  engine.poll_max_ms = 20 * kSecondMs;
  engine.agent_silence_ms = 30 * kMinuteMs;  // agents report every ten minutes
  return engine;
}

std::unique_ptr<StateStore> OpenStore(const SimulationOptions& options,
                                      const std::shared_ptr<StateMemory>& memory) {
  if (options.open_store) return options.open_store();
  return std::make_unique<MemoryStateStore>(memory);
}

}  // namespace

Simulation::Simulation(const SimulationOptions& options)
    : cloud(&clock, options.seed),
      agents(&cloud, &clock, options.seed),
      options_(options),
      random_(options.seed * 31 + 7),
      memory_(std::make_shared<StateMemory>()),
      store_(OpenStore(options, memory_)),
      state_(&store_, nullptr,
             StateSources{.now_ms = [this] { return clock.now_ms(); },
                          .new_id =
                              [this](std::string_view prefix) {
                                return fmt::format("{}{:08x}", prefix, next_id_++);
                              },
                          .new_uuid = [this] { return fmt::format("token-{:08x}", next_id_++); }}) {
  memory_->history_max = 0;
  if (options.forgetful) memory_->write_only = {"event/", "operation/done/", "checkpoint/"};
  store_.before_commit = [this](const Transaction& transaction) { BeforeCommit(transaction); };
  store_.after_commit = [this](const Transaction& transaction) { AfterCommit(transaction); };
  cloud.on_call = [this](const char*, bool changes, bool after) {
    if (!in_controller_ || !changes) return;
    MayDie(after ? CrashPoint::Kind::kAfterCall : CrashPoint::Kind::kBeforeCall, counted_calls_);
    if (after) ++counted_calls_;
  };
  cloud.may_delete = [this](const std::string& kind, const std::string& id,
                            const std::string& node) { return MayDelete(kind, id, node); };
  cloud.on_delete = [this](const std::string& kind, const std::string& id, bool by_itself) {
    JudgeDeletion(kind, id, by_itself);
  };
  cloud.on_loss = [this](const std::string& node, const std::string& device, int64_t lost_ms) {
    JudgeLoss(node, device, lost_ms);
  };
  Restart();
}

Simulation::~Simulation() = default;

// Deaths.

void Simulation::Arm(const std::optional<CrashPoint>& point) {
  armed_ = point;
  counted_calls_ = counted_commits_ = 0;
}

void Simulation::MayDie(CrashPoint::Kind kind, uint64_t index) {
  const bool here = armed_ && armed_->kind == kind && armed_->index == index;
  constexpr uint64_t kSteps = 1'000'000'000;
  const bool chance = crash_chance > 0 && static_cast<double>(random_.Below(kSteps)) <
                                              crash_chance * static_cast<double>(kSteps);
  if (!here && !chance) return;
  armed_.reset();
  if (options_.kills_process) ::kill(::getpid(), SIGKILL);
  throw Crash();
}

template <typename Act>
void Simulation::AsController(const Act& act) {
  in_controller_ = true;
  try {
    act();
  } catch (const Crash&) {
    Die();
  }
  in_controller_ = false;
}

void Simulation::Die() {
  ++crashes_;
  cloud.Note("", "the controller dies");
  dues_.clear();
  queue_.clear();
  snapshots_.clear();
  reconciler_.reset();
  if (on_death) on_death(&store_);
  down_until_ms_ =
      clock.now_ms() + 1 +
      static_cast<int64_t>(random_.Below(static_cast<uint64_t>(options_.restart_ms_max)));
}

void Simulation::Restart() {
  down_until_ms_ = 0;
  journal_ = std::make_unique<OperationJournal>(&state_);
  markets_ = std::make_unique<MarketMemory>();
  services_.state = &state_;
  services_.journal = journal_.get();
  services_.ec2 = &cloud;
  services_.elb = &cloud;
  services_.route53 = &cloud;
  services_.agents = &agents;
  services_.markets = markets_.get();
  services_.on_demand_price = [this](const std::string& type) { return cloud.OnDemandPrice(type); };
  services_.region = SimulatedCloud::kRegion;
  services_.options = EngineOptions(options_);
  reconciler_ = std::make_unique<Reconciler>(&services_);
  slow_round_ms_ = 0;
  dirty_ = true;
  const auto active = journal_->Active();
  for (const Operation& operation : *active) Schedule(operation.id, clock.now_ms());
}

// The queue.

void Simulation::Schedule(const std::string& operation, int64_t due_ms) {
  const auto known = dues_.find(operation);
  if (known != dues_.end()) {
    if (known->second <= due_ms) return;
    queue_.erase({known->second, operation});
  }
  dues_[operation] = due_ms;
  queue_.insert({due_ms, operation});
}

void Simulation::AfterCommit(const Transaction& transaction) {
  dirty_ = true;
  FollowRecords(transaction);
  size_t operations = 0;
  for (const Transaction::Change& change : transaction.changes) {
    if (!change.key.starts_with(kActiveOperations)) continue;
    ++operations;
    if (change.deleted) ++operations_ended_;
  }
  for (const Transaction::Change& change : transaction.changes) {
    if (!change.key.starts_with(kActiveOperations) || change.deleted || down_until_ms_ > 0)
      continue;
    const std::string id = change.key.substr(kActiveOperations.size());
    // With a second one this is a supersession: both have something to do now.
    if (operations > 1 || !dues_.contains(id)) Schedule(id, clock.now_ms());
  }
  if (!in_controller_) return;
  MayDie(CrashPoint::Kind::kAfterCommit, counted_commits_++);
}

void Simulation::RunOperation(const std::string& id) {
  const auto due = dues_.find(id);
  if (due == dues_.end()) return;
  queue_.erase({due->second, id});
  // It stays known: its own commits are no news.
  due->second = INT64_MAX;
  queue_.insert({INT64_MAX, id});
  AsController([&] {
    const std::optional<int64_t> delay = reconciler_->Advance(id);
    const auto mine = dues_.find(id);
    if (mine != dues_.end()) {
      const int64_t asked = mine->second;
      queue_.erase({asked, id});
      dues_.erase(mine);
      if (delay) Schedule(id, std::min(asked, clock.now_ms() + std::max<int64_t>(1, *delay)));
    }
  });
}

void Simulation::Poll() {
  polled_ms_ = clock.now_ms();
  dirty_ = false;
  ++polls_;
  for (const std::string& node : agents.Report(&state_)) {
    AsController([&] { (void)reconciler_->HeedAgent(kAccount, node); });
    if (reconciler_ == nullptr) return;
  }
  dirty_ = false;
  AsController([&] {
    const auto due = reconciler_->Poll();
    if (!due.ok()) {
      dirty_ = true;
      return;
    }
    for (const auto& node : *due) (void)reconciler_->TakeSnapshots(node);
    if (clock.now_ms() - purged_ms_ < 10 * kMinuteMs) return;
    purged_ms_ = clock.now_ms();
    (void)reconciler_->PurgeRetained();
    (void)reconciler_->FollowPrices();
  });
}

void Simulation::SlowRound() {
  slow_round_ms_ = clock.now_ms();
  AsController([&] { (void)reconciler_->AdoptSnapshots(); });
  if (reconciler_ == nullptr) return;
  const auto active = journal_->Active();
  for (const Operation& operation : *active) {
    if (!dues_.contains(operation.id)) Schedule(operation.id, clock.now_ms());
  }
}

void Simulation::Step(int64_t until_ms) {
  const int64_t now = clock.now_ms();
  int64_t next = until_ms;
  if (down_until_ms_ > 0) {
    next = std::min(next, down_until_ms_);
  } else {
    if (!queue_.empty()) next = std::min(next, queue_.begin()->first);
    next = std::min(next, polled_ms_ + (dirty_ ? options_.poll_ms : options_.quiet_poll_ms));
  }
  next = std::min(next, cloud.NextEventMs());
  cloud.Advance(std::max(now, next));
  if (cloud.changes() != seen_changes_) dirty_ = true;
  seen_changes_ = cloud.changes();
  if (down_until_ms_ > 0) {
    if (clock.now_ms() >= down_until_ms_) Restart();
    return;
  }
  if (slow_round_ms_ == 0 || clock.now_ms() - slow_round_ms_ >= kHourMs) SlowRound();
  if (reconciler_ == nullptr) return;
  const int64_t interval = dirty_ ? options_.poll_ms : options_.quiet_poll_ms;
  if (clock.now_ms() - polled_ms_ >= interval) Poll();
  while (reconciler_ != nullptr && !queue_.empty() && queue_.begin()->first <= clock.now_ms()) {
    const std::string id = queue_.begin()->second;
    RunOperation(id);
  }
}

void Simulation::RunUntil(int64_t time_ms) {
  while (clock.now_ms() < time_ms) Step(time_ms);
}

bool Simulation::RunUntilIdle(int64_t limit_ms) {
  const int64_t limit = clock.now_ms() + limit_ms;
  while (clock.now_ms() < limit) {
    if (down_until_ms_ == 0 && dues_.empty() && journal_->Active()->empty()) return true;
    Step(limit);
  }
  return journal_->Active()->empty();
}

// The API.

Result<std::string> Simulation::Create(const Json& body) {
  FieldErrors errors;
  const auto spec = ParseNodeSpec(body, &errors);
  if (!spec) return errors.ToStatus();
  const auto node = state_.CreateNode(kAccount, *spec, &errors);
  if (!node.ok()) return node.status();
  if (spec->persistence.persist_application.value()) {
    agents.Expect(kAccount, node->id, spec->persistence.application_persistency_configs);
  }
  return node->id;
}

Status Simulation::Ask(const std::string& node, NodeAction action, const Json& input) {
  const auto asked = state_.Ask(kAccount, node, action, "api", input);
  if (asked.ok()) {
    cloud.Note(node, fmt::format("asked for: {}", NodeActionName(action)));
    FieldErrors errors;
    const auto wanted = ParseDeallocation(input, &errors);
    if (action == NodeAction::kDeallocate && wanted) {
      deletions_[node] = {*wanted, clock.now_ms()};
      if (!wanted->config.should_terminate_instance.value()) let_run_.insert(node);
    }
  }
  return asked.status();
}

Status Simulation::Change(const std::string& node, const Json& change) {
  const auto before = Node(node);
  Status changed = state_
                       .ChangeNode(kAccount, node,
                                   [&](ControllerState::NodeChange* pending) -> Status {
                                     FieldErrors errors;
                                     return ChangeNodeSpec(&pending->node, change, &errors)
                                                ? Status::Ok()
                                                : errors.ToStatus();
                                   })
                       .status();
  // What was written while it was not kept is worth nothing.
  const auto after = Node(node);
  if (!changed.ok() || !before || !after) return changed;
  const Persistence& was = before->spec.persistence;
  const Persistence& is = after->spec.persistence;
  if (is.persist_root_device.value() && !was.persist_root_device.value()) {
    cloud.ForgetWritten(node, true);
  }
  if (is.persist_block_devices.value() && !was.persist_block_devices.value()) {
    cloud.ForgetWritten(node, false);
  }
  return changed;
}

Status Simulation::ApplyTags(const std::string& node) {
  return state_
      .ChangeNode(kAccount, node,
                  [&](ControllerState::NodeChange* pending) -> Status {
                    pending->node.tags_wanted = true;
                    pending->StartTagging();
                    return Status::Ok();
                  })
      .status();
}

Status Simulation::DeleteVolume(const std::string& node, const std::string& volume) {
  const auto before = Node(node);
  Status asked = state_.AskVolumeDeletion(kAccount, node, volume);
  if (!asked.ok() || !before) return asked;
  for (const KeptDevice& device : before->runtime.resources.devices) {
    if (device.volume_id != volume) continue;
    given_up_.insert(volume);
    for (const KeptSnapshot& one : device.snapshots) given_up_.insert(one.id);
    emptied_.insert({node, device.device_name});
  }
  return asked;
}

Result<MigrationRecord> Simulation::Import(const MigrationRequest& request, bool as_group) {
  return state_.CreateMigration(kAccount, request, as_group);
}

Status Simulation::CancelImport(const std::string& migration) {
  return state_.ChangeMigration(kAccount, migration, CancelMigration).status();
}

std::optional<NodeRecord> Simulation::Node(const std::string& node) {
  auto record = state_.GetNode(kAccount, node);
  if (!record.ok()) return std::nullopt;
  return *std::move(record);
}

}  // namespace snapstore::spot
