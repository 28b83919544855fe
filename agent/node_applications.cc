#include "agent/node_applications.h"

#include <algorithm>
#include <future>

#include "base/log.h"

namespace snapstore::agent {
namespace {

// What ending by force may take beyond the limit.
constexpr std::chrono::seconds kGrace{10};

// `work` for each at the same time; the answers in their order.
template <typename Work>
std::vector<NodeOutcome> ForEach(const std::vector<NodeApplication*>& applications,
                                 const Work& work) {
  std::vector<std::future<NodeOutcome>> running;
  running.reserve(applications.size());
  for (NodeApplication* application : applications) {
    running.push_back(
        std::async(std::launch::async, [&work, application] { return work(application); }));
  }
  std::vector<NodeOutcome> outcomes;
  outcomes.reserve(running.size());
  for (auto& one : running) outcomes.push_back(one.get());
  return outcomes;
}

}  // namespace

NodeApplications::NodeApplications(NodeApplication::Options application)
    : options_(std::move(application)) {}

NodeApplications::~NodeApplications() {
  if (stopper_.joinable()) stopper_.join();
}

void NodeApplications::SetOrders(const NodeOrders& orders) {
  const std::lock_guard lock(mutex_);
  for (const OrderedApplication& order : orders.applications) {
    const auto running =
        std::find_if(applications_.begin(), applications_.end(),
                     [&](const auto& application) { return application->id() == order.id; });
    if (running != applications_.end()) (*running)->SetOrder(order);
  }
  if (orders.applications_wanted) wanted_ = orders.applications;
}

std::vector<NodeApplication*> NodeApplications::All() const {
  std::vector<NodeApplication*> all;
  const std::lock_guard lock(mutex_);
  all.reserve(applications_.size());
  for (const auto& application : applications_) all.push_back(application.get());
  return all;
}

void NodeApplications::Tick() {
  {
    const std::lock_guard lock(mutex_);
    for (OrderedApplication& order : wanted_) {
      const bool known =
          std::any_of(applications_.begin(), applications_.end(),
                      [&](const auto& application) { return application->id() == order.id; });
      if (known || stop_asked_) continue;
      NodeApplication::Options options = options_;
      options.directory += "/" + order.id;
      applications_.push_back(
          std::make_unique<NodeApplication>(std::move(options), std::move(order)));
    }
    wanted_.clear();
  }
  for (NodeApplication* application : All()) application->Tick();
}

std::vector<NodeApplicationReport> NodeApplications::Reports() const {
  const std::vector<NodeApplication*> all = All();
  std::vector<NodeApplicationReport> reports;
  reports.reserve(all.size());
  for (const NodeApplication* application : all) reports.push_back(application->report());
  return reports;
}

std::vector<NodeOutcome> NodeApplications::Checkpoint(const std::string& trigger) {
  return ForEach(All(), [&](NodeApplication* one) { return one->Checkpoint(trigger); });
}

void NodeApplications::BeginStop(bool checkpoint, std::chrono::milliseconds limit) {
  {
    const std::lock_guard lock(mutex_);
    if (stop_asked_) return;
    stop_asked_ = true;
  }
  LogInfo("stopping the applications {} final checkpoints", checkpoint ? "after" : "without");
  const auto deadline = NodeApplication::Clock::now() + limit;
  stopper_ = std::thread([this, checkpoint, deadline] {
    auto outcomes =
        ForEach(All(), [&](NodeApplication* one) { return one->Stop(checkpoint, deadline); });
    for (const NodeOutcome& one : outcomes) {
      if (!one.error.empty()) LogWarning("{}: no final checkpoint: {}", one.config_id, one.error);
    }
    const std::lock_guard lock(mutex_);
    outcomes_ = std::move(outcomes);
    stopped_ = true;
    stop_done_.notify_all();
  });
}

Result<std::vector<NodeOutcome>> NodeApplications::Stop(bool checkpoint,
                                                        std::chrono::milliseconds limit) {
  BeginStop(checkpoint, limit);
  std::unique_lock lock(mutex_);
  if (!stop_done_.wait_for(lock, limit + kGrace, [this] { return stopped_; })) {
    return Status::Timeout("the applications are still being stopped");
  }
  return outcomes_;
}

void NodeApplications::Detach() {
  {
    const std::lock_guard lock(mutex_);
    stop_asked_ = true;
  }
  for (NodeApplication* application : All()) application->Detach();
}

bool NodeApplications::stop_asked() const {
  const std::lock_guard lock(mutex_);
  return stop_asked_;
}

bool NodeApplications::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

}  // namespace snapstore::agent
