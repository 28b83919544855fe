#include "orchestrator/lifecycle/lifecycle.h"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "base/log.h"
#include "base/memory_limit.h"

namespace snapstore::spot {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kWatch{1};
constexpr std::chrono::hours kSlowRound{1};
constexpr std::chrono::seconds kPurgeRound{10};
// It lists all nodes, for something that happens to each once an hour.
constexpr std::chrono::seconds kPriceRound{60};
constexpr std::string_view kOperations = "operation/active/";
constexpr std::string_view kAgents = "agent/";

}  // namespace

struct Lifecycle::Impl {
  Impl(const Services* given, const LifecycleThreads& how)
      : services(given), options(how), reconciler(given) {}

  // A piece of work under a name: at one time it is done once.
  struct Work {
    Clock::time_point due;
    std::function<std::optional<int64_t>()> run;  // when again, in ms; nothing: it is over
  };

  // Earlier than it would be done anyway, or not at all.
  void Schedule(const std::string& name, Clock::time_point due,
                std::function<std::optional<int64_t>()> run) {
    {
      const std::lock_guard lock(mutex);
      if (running.contains(name)) {
        again[name] = due;
        return;
      }
      const auto known = waiting.find(name);
      if (known != waiting.end() && known->second.due <= due) return;
      Put(name, {due, std::move(run)});
    }
    wake.notify_one();
  }
  // REQUIRES: mutex is held.
  void Put(const std::string& name, Work work) {
    const auto known = waiting.find(name);
    if (known != waiting.end()) queue.erase({known->second.due, name});
    queue.insert({work.due, name});
    waiting[name] = std::move(work);
  }
  void ScheduleOperation(const std::string& id) {
    Schedule("operation/" + id, Clock::now(), [this, id] { return reconciler.Advance(id); });
  }

  void WorkThread() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      if (queue.empty()) {
        wake.wait(lock);
        continue;
      }
      const auto [due, name] = *queue.begin();
      if (due > Clock::now()) {
        wake.wait_until(lock, due);
        continue;
      }
      queue.erase(queue.begin());
      const auto next = waiting.find(name);
      auto run = std::move(next->second.run);
      waiting.erase(next);
      running.insert(name);
      lock.unlock();
      const std::optional<int64_t> delay = run();
      lock.lock();
      running.erase(name);
      const auto asked = again.find(name);
      if (delay || asked != again.end()) {
        auto later = Clock::now() + std::chrono::milliseconds(delay.value_or(0));
        if (asked != again.end()) later = std::min(later, asked->second);
        Put(name, {later, std::move(run)});
        wake.notify_one();
      }
      if (asked != again.end()) again.erase(asked);
    }
  }

  // Calls `heed` for each key that changes below `prefix`, and `list` first and whenever changes
  // may have been missed.
  void WatchThread(std::string_view prefix, const std::function<void()>& list,
                   const std::function<void(const StoreChange&)>& heed) {
    uint64_t revision = 0;
    bool known = false;
    while (!Stopping()) {
      if (!known) {
        const auto listing = services->state->store()->List(std::string(prefix), "", 1);
        if (listing.ok()) {
          revision = listing->revision;
          known = true;
          list();
        } else {
          LogError("watch {}: {}", prefix, listing.status().message());
          Pause(kWatch);
        }
        continue;
      }
      const auto changes = services->state->store()->Watch(
          std::string(prefix), revision,
          std::chrono::duration_cast<std::chrono::milliseconds>(kWatch));
      if (!changes.ok()) {
        known = false;
        if (!changes.status().Is(StatusCode::kNotFound)) {
          LogWarning("watch {}: {}", prefix, changes.status().message());
          Pause(kWatch);
        }
        continue;
      }
      revision = changes->revision;
      for (const StoreChange& change : changes->changes) {
        if (!change.deleted) heed(change);
      }
    }
  }

  void ListOperations() {
    const auto active = services->journal->Active();
    if (!active.ok()) {
      LogError("operations: {}", active.status().message());
      return;
    }
    for (const Operation& operation : *active) ScheduleOperation(operation.id);
  }

  // New ones, and those that somebody else wants ended: the other changes are our own steps.
  void HeedOperation(const StoreChange& change) {
    const auto operation = DecodeRecord<Operation>(change.value, change.key);
    if (!operation.ok()) {
      LogError("{}", operation.status().message());
    } else if (operation->state == OperationState::kPending || operation->superseded_by) {
      ScheduleOperation(operation->id);
    }
  }

  // Keys: "agent/act-1/smi-2".
  void HeedAgent(const StoreChange& change) {
    const std::string name = change.key.substr(kAgents.size());
    const size_t slash = name.find('/');
    if (slash == std::string::npos) return;
    const Status done = reconciler.HeedAgent(name.substr(0, slash), name.substr(slash + 1));
    if (!done.ok() && !done.Is(StatusCode::kNotFound)) {
      LogWarning("{}: {}", name, done.message());
    }
  }

  void PollThread() {
    Clock::time_point slow_round{};
    Clock::time_point purged_at{};
    Clock::time_point priced_at{};
    while (!Stopping()) {
      const auto began = Clock::now();
      const auto due = reconciler.Poll();
      if (!due.ok()) LogWarning("look at the cloud: {}", due.status().message());
      for (const auto& node : due.ok() ? *due : std::vector<Reconciler::NodeName>()) {
        Schedule("snapshots/" + node.node_id, Clock::now(), [this, node] {
          const Status taken = reconciler.TakeSnapshots(node);
          if (!taken.ok()) LogWarning("snapshots of {}: {}", node.node_id, taken.message());
          return std::optional<int64_t>();
        });
      }
      if (slow_round == Clock::time_point{} || began - slow_round >= kSlowRound) {
        slow_round = began;
        const Status adopted = reconciler.AdoptSnapshots();
        if (!adopted.ok()) LogWarning("snapshots without a record: {}", adopted.message());
        // Whatever the watch missed.
        ListOperations();
      }
      if (began - purged_at >= kPurgeRound) {
        purged_at = began;
        const Status purged = reconciler.PurgeRetained();
        if (!purged.ok()) LogWarning("retained resources: {}", purged.message());
      }
      if (began - priced_at >= kPriceRound) {
        priced_at = began;
        const Status priced = reconciler.FollowPrices();
        if (!priced.ok()) LogWarning("spot prices: {}", priced.message());
        // Of many threads' bursts each would keep its own for ever.
        ReturnFreeMemory();
      }
      Pause(std::chrono::duration_cast<std::chrono::milliseconds>(began + options.poll -
                                                                  Clock::now()));
    }
  }

  bool Stopping() {
    const std::lock_guard lock(mutex);
    return stopping;
  }
  void Pause(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex);
    stop.wait_for(lock, time, [this] { return stopping; });
  }

  const Services* const services;
  const LifecycleThreads options;
  Reconciler reconciler;

  std::mutex mutex;  // guards what follows
  bool stopping = false;
  std::map<std::string, Work> waiting;
  std::set<std::pair<Clock::time_point, std::string>> queue;  // of these, by time
  std::set<std::string> running;
  std::map<std::string, Clock::time_point> again;  // asked for while it runs
  std::condition_variable wake;
  std::condition_variable stop;
  std::vector<std::thread> threads;
};

Lifecycle::Lifecycle(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

std::unique_ptr<Lifecycle> Lifecycle::Start(const Services* services,
                                            const LifecycleThreads& threads) {
  auto impl = std::make_unique<Impl>(services, threads);
  Impl* const self = impl.get();
  for (int i = 0; i < threads.workers; ++i) {
    self->threads.emplace_back([self] { self->WorkThread(); });
  }
  self->threads.emplace_back([self] {
    self->WatchThread(
        kOperations, [self] { self->ListOperations(); },
        [self](const StoreChange& change) { self->HeedOperation(change); });
  });
  self->threads.emplace_back([self] {
    self->WatchThread(
        kAgents, [] {}, [self](const StoreChange& change) { self->HeedAgent(change); });
  });
  self->threads.emplace_back([self] { self->PollThread(); });
  return std::unique_ptr<Lifecycle>(new Lifecycle(std::move(impl)));
}

Lifecycle::~Lifecycle() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_all();
  impl_->stop.notify_all();
  for (std::thread& thread : impl_->threads) thread.join();
}

}  // namespace snapstore::spot
