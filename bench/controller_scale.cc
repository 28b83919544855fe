// controller_scale: one controller with thousands of nodes over a simulated cloud, all in one
// process and on one core: state in RocksDB with its real commits, the API over HTTP, the
// life-cycle with its threads. The requests come from a process on another core.
//
//   controller_scale --nodes 10000 --state-dir /var/tmp/scale [--json]
//
// What it does in turn: makes nodes, waits until all are active; measures memory, polls, and the
// share of the core when nothing happens; serves requests at a steady rate; takes a share of the
// instances away and waits until all nodes are active again. The simulated cloud's own time and
// memory are told apart. One line a figure.
#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "bench/scale_cloud.h"
#include "bench/scale_heartbeats.h"
#include "bench/scale_load.h"
#include "bench/scale_node.h"
#include "bench/scale_process.h"
#include "orchestrator/api/api_server.h"
#include "orchestrator/lifecycle/lifecycle.h"
#include "orchestrator/state/rocks_state_store.h"

namespace snapstore::bench {
namespace {

using spot::ControllerState;
using spot::Lifecycle;
using spot::NodeRecord;
using spot::Transaction;
using OrderedJson = nlohmann::ordered_json;
using std::chrono::milliseconds;

constexpr const char* kAccount = "act-0a1b2c3d";
constexpr std::string_view kActiveOperations = "operation/active/";
constexpr int kCreatingThreads = 8;
constexpr int kHeartbeatConnections = 32;
constexpr int kPolls = 5;
constexpr double kWaitSecondsMax = 3600;
constexpr size_t kManyCalls = 1'000'000;  // that the limit is counted, and never reached
constexpr double kMiB = 1024.0 * 1024.0;

struct Options {
  int nodes = 1000;
  std::string state_dir;
  int core = 0;
  int load_core = 1;
  int poll_seconds = 5;
  int workers = 16;
  int call_ms = 0;
  int idle_seconds = 30;
  int rounds = 1;
  int storm_percent = 5;
  int storms = 1;
  int heartbeat_seconds = 0;
  int notice_seconds = 120;
  std::string certificate;
  std::string key;
  LoadOptions load;
  bool json = false;
};

// Counts the operations that are not over.
class CountingStore : public spot::StateStore {
 public:
  explicit CountingStore(spot::StateStore* store) : store_(store) {}

  size_t active() const { return active_; }
  uint64_t commits() const { return commits_; }

  Result<spot::StateEntry> Get(const std::string& key) override { return store_->Get(key); }
  Result<spot::StateListing> List(const std::string& prefix, const std::string& after,
                                  size_t limit) override {
    return store_->List(prefix, after, limit);
  }
  Result<uint64_t> Commit(const Transaction& transaction) override {
    auto revision = store_->Commit(transaction);
    if (!revision.ok()) return revision;
    ++commits_;
    for (const Transaction::Change& change : transaction.changes) {
      if (!change.key.starts_with(kActiveOperations)) continue;
      const std::lock_guard lock(mutex_);
      // The commits of one operation come one after the other.
      change.deleted ? void(operations_.erase(change.key)) : void(operations_.insert(change.key));
      active_ = operations_.size();
    }
    return revision;
  }
  Result<spot::StoreChanges> Watch(const std::string& prefix, uint64_t revision,
                                   milliseconds timeout) override {
    return store_->Watch(prefix, revision, timeout);
  }
  Result<std::unique_ptr<spot::Leadership>> Campaign(const std::string& candidate,
                                                     milliseconds timeout) override {
    return store_->Campaign(candidate, timeout);
  }

 private:
  spot::StateStore* const store_;
  std::atomic<uint64_t> commits_ = 0;
  std::atomic<size_t> active_ = 0;
  std::mutex mutex_;
  std::set<std::string> operations_;  // guarded by mutex_
};

class NoAgents : public spot::AgentCaller {
 public:
  Result<std::vector<spot::AgentOutcome>> Stop(const spot::AgentRecord& /*agent*/,
                                               int64_t /*deadline_ms*/) override {
    return Status::Io("no agent");
  }
  Status StartShutdownScript(const spot::AgentRecord& /*agent*/,
                             const std::string& /*script*/) override {
    return Status::Io("no agent");
  }
  Result<std::optional<int>> PollShutdownScript(const spot::AgentRecord& /*agent*/) override {
    return Status::Io("no agent");
  }
};

double ProcessSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ResidentMib() {
  std::ifstream file("/proc/self/statm");
  size_t all = 0;
  size_t resident = 0;
  file >> all >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / kMiB;
}

double Rounded(double value) { return std::round(1000 * value) / 1000; }

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Pin(int core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  if (sched_setaffinity(0, sizeof(cores), &cores) != 0) {
    fmt::print(stderr, "warning: core {}: cannot be chosen; the figures are those of any core\n",
               core);
  }
}

class Scale {
 public:
  explicit Scale(const Options& options)
      : options_(options), cloud_(1, milliseconds(options.call_ms)) {}

  Status Run() {
    SNAP_RETURN_IF_ERROR(Open());
    StartLifecycle();
    SNAP_RETURN_IF_ERROR(Create());
    if (options_.heartbeat_seconds > 0) SNAP_RETURN_IF_ERROR(StartHeartbeats());
    if (options_.idle_seconds > 0) Idle();
    lifecycle_.reset();
    SNAP_RETURN_IF_ERROR(Polls());
    StartLifecycle();
    for (int round = 0; options_.load.rate > 0 && round < options_.rounds; ++round) {
      SNAP_RETURN_IF_ERROR(Serve(round));
    }
    for (int storm = 0; options_.storm_percent > 0 && storm < options_.storms; ++storm) {
      SNAP_RETURN_IF_ERROR(Storm());
    }
    lifecycle_.reset();
    if (heartbeats_) SNAP_RETURN_IF_ERROR(StopHeartbeats());
    server_.reset();
    const std::string violations = cloud_.Violations();
    return violations.empty() ? Status::Ok() : Status::Internal(violations);
  }

 private:
  struct Meter {
    explicit Meter(Scale* whose)
        : scale(whose),
          cpu(ProcessSeconds()),
          cloud(whose->cloud_.cpu_seconds()),
          calls(whose->cloud_.calls()),
          commits(whose->store_->commits()) {}
    // What passed since, of the clock and of the controller's processor time.
    OrderedJson Read() const {
      const double cloud_seconds = scale->cloud_.cpu_seconds() - cloud;
      const double all = ProcessSeconds() - cpu;
      return {{"seconds", Rounded(watch.Seconds())},
              {"cpu_seconds", Rounded(all - cloud_seconds)},
              {"cloud_cpu_seconds", Rounded(cloud_seconds)},
              {"calls", scale->cloud_.calls() - calls},
              {"commits", scale->store_->commits() - commits}};
    }
    Scale* scale;
    Stopwatch watch;
    double cpu;
    double cloud;
    uint64_t calls;
    uint64_t commits;
  };

  void Tell(const char* what, OrderedJson figures) const {
    OrderedJson line = {{"figure", what}, {"nodes", options_.nodes}};
    line.update(figures);
    if (options_.json) {
      fmt::print("{}\n", line.dump());
    } else {
      fmt::print("{}:", what);
      for (const auto& [name, value] : figures.items()) fmt::print(" {} {}", name, value.dump());
      fmt::print("\n");
    }
    std::fflush(stdout);
  }

  Status Open() {
    std::filesystem::remove_all(options_.state_dir);
    std::filesystem::create_directories(options_.state_dir);
    SNAP_ASSIGN_OR_RETURN(rocks_, spot::RocksStateStore::Open(options_.state_dir + "/state"));
    store_ = std::make_unique<CountingStore>(rocks_.get());
    state_ = std::make_unique<ControllerState>(store_.get());
    journal_ = std::make_unique<spot::OperationJournal>(state_.get());
    services_.state = state_.get();
    services_.journal = journal_.get();
    services_.ec2 = &cloud_;
    services_.elb = &cloud_;
    services_.agents = &agents_;
    services_.markets = &markets_;
    services_.on_demand_price = [this](const std::string& type) {
      return cloud_.OnDemandPrice(type);
    };
    services_.region = spot::SimulatedCloud::kRegion;
    SNAP_ASSIGN_OR_RETURN(auto token, state_->AddToken({kAccount}, "bench", std::nullopt));
    setenv("SNAPSTORE_BENCH_TOKEN", token.text.c_str(), 1);
    api_ = std::make_unique<spot::ApiService>(state_.get(),
                                              spot::ApiOptions{.calls_per_minute = kManyCalls});
    SNAP_ASSIGN_OR_RETURN(server_, spot::ApiServer::Start({"127.0.0.1", 0},
                                                          {.certificate_file = options_.certificate,
                                                           .key_file = options_.key},
                                                          api_.get()));
    return {};
  }

  void StartLifecycle() {
    lifecycle_ = Lifecycle::Start(&services_, {.poll = std::chrono::seconds(options_.poll_seconds),
                                               .workers = options_.workers});
  }

  Status Create() {
    Meter meter(this);
    std::atomic<int> next = 0;
    std::mutex mutex;  // guards failed
    Status failed;
    std::vector<std::thread> threads;
    threads.reserve(kCreatingThreads);
    for (int i = 0; i < kCreatingThreads; ++i) {
      threads.emplace_back([&] {
        for (int index = next++; index < options_.nodes; index = next++) {
          spot::FieldErrors errors;
          const spot::Json body = spot::Json::parse(NodeBody(index)["managedInstance"].dump());
          const auto spec = spot::ParseNodeSpec(body, &errors);
          const Status done =
              spec ? state_->CreateNode(kAccount, *spec, &errors).status() : errors.ToStatus();
          const std::lock_guard lock(mutex);
          if (!done.ok()) failed = done;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    SNAP_RETURN_IF_ERROR(failed);
    const double asked = meter.watch.Seconds();
    SNAP_RETURN_IF_ERROR(WaitUntilQuiet());
    SNAP_RETURN_IF_ERROR(CheckActive());
    OrderedJson figures = meter.Read();
    figures["asked_seconds"] = Rounded(asked);
    Tell("create", figures);
    Memory("memory after create");
    return {};
  }

  Status WaitUntilQuiet() {
    const Stopwatch watch;
    while (store_->active() > 0) {
      if (watch.Seconds() > kWaitSecondsMax) {
        return Status::Timeout(fmt::format("{} operations do not end", store_->active()));
      }
      std::this_thread::sleep_for(milliseconds(100));
    }
    return {};
  }

  Status CheckActive() {
    SNAP_ASSIGN_OR_RETURN(const auto nodes, state_->ListNodes(kAccount));
    for (const NodeRecord& node : nodes) {
      if (node.state == spot::NodeState::kActive) continue;
      return Status::Internal(fmt::format("{} is {}: {}", node.id, spot::NodeStateName(node.state),
                                          node.state_reason.value_or("")));
    }
    if (nodes.size() < static_cast<size_t>(options_.nodes)) {
      return Status::Internal(fmt::format("there are {} nodes only", nodes.size()));
    }
    return {};
  }

  void Memory(const char* what) const {
    const double cloud = static_cast<double>(CloudBytes()) / kMiB;
    const double resident = ResidentMib();
    Tell(what, {{"resident_mib", Rounded(resident - cloud)}, {"cloud_mib", Rounded(cloud)}});
  }

  void Idle() {
    Meter meter(this);
    std::this_thread::sleep_for(std::chrono::seconds(options_.idle_seconds));
    OrderedJson figures = meter.Read();
    figures["core_share"] =
        Rounded(figures["cpu_seconds"].get<double>() / figures["seconds"].get<double>());
    Tell("idle", figures);
    Memory("memory when idle");
  }

  // One at a time, with nothing else going on.
  Status Polls() {
    spot::Reconciler reconciler(&services_);
    std::vector<double> seconds;
    std::vector<double> cpu;
    for (int i = 0; i < kPolls; ++i) {
      const double cloud = cloud_.cpu_seconds();
      const double thread = ThreadSeconds();
      const Stopwatch polling;
      SNAP_RETURN_IF_ERROR(reconciler.Poll().status());
      seconds.push_back(polling.Seconds());
      cpu.push_back(ThreadSeconds() - thread - (cloud_.cpu_seconds() - cloud));
    }
    Tell("poll", {{"seconds", Rounded(Median(seconds))}, {"cpu_seconds", Rounded(Median(cpu))}});
    return {};
  }

  Status WriteIds(const std::string& path) {
    SNAP_ASSIGN_OR_RETURN(const auto nodes, state_->ListNodes(kAccount));
    std::ofstream file(path);
    for (const NodeRecord& node : nodes) file << node.id << "\n";
    return file.good() ? Status::Ok() : Status::Io(path + ": cannot be written");
  }

  Status Serve(int round) {
    const std::string ids = options_.state_dir + "/ids";
    // What the round before asked for is still under way.
    SNAP_RETURN_IF_ERROR(WriteIds(ids));
    Meter meter(this);
    SNAP_ASSIGN_OR_RETURN(const std::string report, RunLoadProcess(ids, round));
    OrderedJson figures = OrderedJson::parse(report);
    const OrderedJson meters = meter.Read();
    figures["controller"] = meters;
    figures["controller"]["core_share"] =
        Rounded(meters["cpu_seconds"].get<double>() / meters["seconds"].get<double>());
    Tell("api", figures);
    Memory("memory after requests");
    return {};
  }

  std::vector<std::string> Sender(const char* what, const std::string& ids, int connections) const {
    std::vector<std::string> words = {what,
                                      "--core",
                                      std::to_string(options_.load_core),
                                      "--port",
                                      std::to_string(server_->address().port),
                                      "--ids",
                                      ids,
                                      "--connections",
                                      std::to_string(connections)};
    if (!options_.certificate.empty()) words.emplace_back("--tls");
    return words;
  }

  Result<std::string> RunLoadProcess(const std::string& ids, int round) const {
    std::vector<std::string> words = Sender("load", ids, options_.load.connections);
    words.insert(words.end(),
                 {"--rate", std::to_string(options_.load.rate), "--seconds",
                  std::to_string(options_.load.seconds), "--seed", std::to_string(round + 1)});
    if (options_.load.whole_lists) words.emplace_back("--whole-lists");
    SNAP_ASSIGN_OR_RETURN(const auto child, ChildProcess::Start(words));
    return child->Finish();
  }

  // All instances that there are now have an agent from here on.
  Status StartHeartbeats() {
    SNAP_ASSIGN_OR_RETURN(const auto nodes, state_->ListNodes(kAccount));
    const std::string path = options_.state_dir + "/instances";
    std::ofstream file(path);
    for (const NodeRecord& node : nodes) file << node.runtime.instance_id.value_or("") << "\n";
    file.close();
    if (!file.good()) return Status::Io(path + ": cannot be written");
    std::vector<std::string> words = Sender("heartbeats", path, kHeartbeatConnections);
    words.insert(words.end(), {"--interval-seconds", std::to_string(options_.heartbeat_seconds)});
    SNAP_ASSIGN_OR_RETURN(heartbeats_, ChildProcess::Start(words));
    // Until each has reported once, which is stored.
    std::this_thread::sleep_for(std::chrono::seconds(2 * options_.heartbeat_seconds));
    return {};
  }
  Status StopHeartbeats() {
    SNAP_ASSIGN_OR_RETURN(const std::string report, heartbeats_->Finish());
    Tell("heartbeats", OrderedJson::parse(report));
    return {};
  }

  Status Storm() {
    SNAP_RETURN_IF_ERROR(WaitUntilQuiet());
    // What the requests paused goes on.
    SNAP_ASSIGN_OR_RETURN(const auto nodes, state_->ListNodes(kAccount));
    for (const NodeRecord& node : nodes) {
      if (node.state != spot::NodeState::kPaused) continue;
      SNAP_RETURN_IF_ERROR(
          state_->Ask(kAccount, node.id, spot::NodeAction::kResume, "api", spot::Json()).status());
    }
    SNAP_RETURN_IF_ERROR(WaitUntilQuiet());
    Meter meter(this);
    const size_t taken = cloud_.Interrupt(static_cast<size_t>(100 / options_.storm_percent),
                                          std::chrono::seconds(options_.notice_seconds));
    while (store_->active() < taken / 2 && meter.watch.Seconds() < kWaitSecondsMax) {
      std::this_thread::sleep_for(milliseconds(20));
    }
    SNAP_RETURN_IF_ERROR(WaitUntilQuiet());
    SNAP_RETURN_IF_ERROR(CheckActive());
    OrderedJson figures = meter.Read();
    figures["interrupted"] = taken;
    Tell("storm", figures);
    Memory("memory after the storm");
    return {};
  }

  const Options options_;
  ScaleCloud cloud_;
  NoAgents agents_;
  spot::MarketMemory markets_;
  std::unique_ptr<spot::StateStore> rocks_;
  std::unique_ptr<CountingStore> store_;
  std::unique_ptr<ControllerState> state_;
  std::unique_ptr<spot::OperationJournal> journal_;
  spot::Services services_;
  std::unique_ptr<spot::ApiService> api_;
  std::unique_ptr<spot::ApiServer> server_;
  std::unique_ptr<Lifecycle> lifecycle_;
  std::unique_ptr<ChildProcess> heartbeats_;
};

int RunScale(const Options& options) {
  Pin(options.core);
  const Status done = Scale(options).Run();
  if (done.ok()) return 0;
  fmt::print(stderr, "error: {}\n", done.message());
  return 1;
}

int RunSender(Options options, bool heartbeats) {
  Pin(options.load_core);
  const char* const token = getenv("SNAPSTORE_BENCH_TOKEN");
  options.load.token = token == nullptr ? "" : token;
  const auto report =
      heartbeats ? RunHeartbeats(options.load, options.heartbeat_seconds) : RunLoad(options.load);
  if (!report.ok()) {
    fmt::print(stderr, "error: {}\n", report.status().message());
    return 1;
  }
  fmt::print("{}\n", *report);
  return 0;
}

}  // namespace

int Main(int argc, char** argv) {
  Options options;
  bool verbose = false;
  CLI::App app("One controller with many nodes over a simulated cloud");
  app.add_option("--nodes", options.nodes, "how many")->check(CLI::Range(1, 100'000));
  app.add_option("--state-dir", options.state_dir, "for the state; emptied first");
  app.add_option("--core", options.core, "the controller's");
  app.add_option("--load-core", options.load_core, "of the process that sends requests");
  app.add_option("--poll-seconds", options.poll_seconds, "as the controller's");
  app.add_option("--workers", options.workers, "as the controller's");
  app.add_option("--call-ms", options.call_ms, "what each call of the cloud takes");
  app.add_option("--idle-seconds", options.idle_seconds, "to watch an idle controller; 0: not");
  app.add_option("--rate", options.load.rate, "requests a second; 0: none");
  app.add_option("--seconds", options.load.seconds, "of requests, each round");
  app.add_option("--rounds", options.rounds, "of requests");
  app.add_option("--connections", options.load.connections, "that send them");
  app.add_flag("--whole-lists", options.load.whole_lists, "lists of nodes without pages");
  app.add_option("--storm-percent", options.storm_percent, "of the instances; 0: none")
      ->check(CLI::Range(0, 100));
  app.add_option("--storms", options.storms, "one after the other");
  app.add_option("--heartbeat-seconds", options.heartbeat_seconds,
                 "how often each node's agent reports; 0: there are no agents");
  app.add_option("--notice-seconds", options.notice_seconds, "of the storm");
  app.add_option("--tls-cert", options.certificate, "PEM: requests over TLS");
  app.add_option("--tls-key", options.key, "PEM");
  app.add_flag("--json", options.json, "one JSON document a line");
  app.add_flag("--verbose", verbose, "the controller's own log");
  CLI::App* load = app.add_subcommand("load", "sends the requests; token: SNAPSTORE_BENCH_TOKEN");
  CLI::App* heartbeats =
      app.add_subcommand("heartbeats", "sends those of agents until standard input ends");
  for (CLI::App* sender : {load, heartbeats}) {
    sender->add_option("--core", options.load_core, "to run on");
    sender->add_option("--port", options.load.port, "of the controller on this machine")
        ->required();
    sender->add_option("--ids", options.load.ids_file, "of nodes or instances, one a line")
        ->required();
    sender->add_option("--connections", options.load.connections, "that send them");
    sender->add_flag("--tls", options.load.tls, "HTTPS, whatever the certificate");
  }
  heartbeats->add_option("--interval-seconds", options.heartbeat_seconds, "of each agent")
      ->required();
  load->add_option("--rate", options.load.rate, "requests a second");
  load->add_option("--seconds", options.load.seconds, "of requests");
  load->add_option("--seed", options.load.seed, "decides which requests");
  load->add_flag("--whole-lists", options.load.whole_lists, "lists of nodes without pages");
  CLI11_PARSE(app, argc, argv);
  if (load->parsed() || heartbeats->parsed()) {
    return RunSender(options, heartbeats->parsed());
  }
  if (options.state_dir.empty()) {
    fmt::print(stderr, "error: --state-dir is required\n");
    return 2;
  }
  if (!verbose) SetLogLevel(LogLevel::kError);
  return RunScale(options);
}

}  // namespace snapstore::bench

// What is thrown is out of memory, which ends the program either way.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) { return snapstore::bench::Main(argc, argv); }
