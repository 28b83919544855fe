#include "agent/node_reporter.h"

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"

namespace snapstore::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kIntervalMin{100};  // also between changes
constexpr milliseconds kBackOffFirst{250};
constexpr milliseconds kReportBackOffMin{1'000};
constexpr milliseconds kReportBackOffMax{10'000};
// A launch is recorded soon after it was made.
constexpr milliseconds kUnknownBackOffMax{2'000};
constexpr size_t kCheckpointsAtOnce = 100;
constexpr size_t kCheckpointsMax = 1000;

milliseconds BackOff(int failures, milliseconds most) {
  return std::min(most, kBackOffFirst * (1 << std::min(failures - 1, 10)));
}

}  // namespace

NodeReporter::NodeReporter(NodeController* controller, Hooks hooks)
    : controller_(controller), hooks_(std::move(hooks)) {}

NodeReporter::~NodeReporter() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
  }
  wake_.notify_all();
  controller_->Abort();
  if (thread_.joinable()) thread_.join();
}

void NodeReporter::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void NodeReporter::Changed() {
  const std::lock_guard lock(mutex_);
  ++change_;
  wake_.notify_all();
}

void NodeReporter::AddCheckpoint(const NodeCheckpointReport& checkpoint) {
  const std::lock_guard lock(mutex_);
  checkpoints_.push_back(checkpoint);
  if (checkpoints_.size() > kCheckpointsMax) {
    checkpoints_.pop_front();
    ++forgotten_;
  }
}

void NodeReporter::Flush(milliseconds limit) {
  std::unique_lock lock(mutex_);
  const uint64_t wanted = ++change_;
  wake_.notify_all();
  tried_.wait_for(lock, limit, [&] { return tried_change_ >= wanted; });
}

NodeReporter::Standing NodeReporter::standing() const {
  const std::lock_guard lock(mutex_);
  Standing standing = standing_;
  standing.checkpoints_waiting = checkpoints_.size();
  return standing;
}

void NodeReporter::Loop() {
  while (true) {
    Send();
    std::unique_lock lock(mutex_);
    // Who is asked to report often is missed soon.
    const auto most =
        unknown_ ? kUnknownBackOffMax : std::clamp(interval_, kReportBackOffMin, kReportBackOffMax);
    const auto pause = failures_ == 0 ? interval_ : BackOff(failures_, most);
    // Changes come in handfuls.
    wake_.wait_for(lock, kIntervalMin, [this] { return quit_; });
    const bool more = failures_ == 0 && !checkpoints_.empty();
    if (!more && pause > kIntervalMin) {
      wake_.wait_for(lock, pause - kIntervalMin,
                     [this] { return quit_ || change_ != tried_change_; });
    }
    if (quit_) return;
  }
}

void NodeReporter::Send() {
  uint64_t change = 0;
  uint64_t first = 0;
  std::vector<NodeCheckpointReport> checkpoints;
  {
    const std::lock_guard lock(mutex_);
    change = change_;
    first = forgotten_;
    const size_t count = std::min(checkpoints_.size(), kCheckpointsAtOnce);
    checkpoints.assign(checkpoints_.begin(), checkpoints_.begin() + static_cast<int64_t>(count));
  }
  // Not before: a change that comes meanwhile is told by the next one.
  NodeHeartbeat heartbeat = hooks_.collect();
  heartbeat.checkpoints = std::move(checkpoints);
  const auto orders = controller_->Heartbeat(heartbeat);
  if (orders.ok()) hooks_.on_orders(*orders);
  {
    const std::lock_guard lock(mutex_);
    // Those that were forgotten meanwhile were of the front, too.
    const uint64_t sent = heartbeat.checkpoints.size();
    const uint64_t gone = std::min(sent, forgotten_ - first);
    NoteAnswer(orders, sent - gone, change);
  }
  tried_.notify_all();
  if (!orders.ok()) hooks_.on_failure();
}

void NodeReporter::NoteAnswer(const Result<NodeOrders>& orders, size_t checkpoints,
                              uint64_t change) {
  tried_change_ = change;
  if (!orders.ok()) {
    ++failures_;
    unknown_ = orders.status().Is(StatusCode::kNotFound);
    const std::string error = orders.status().message();
    if (error != standing_.error) LogWarning("heartbeat: {}; trying again", error);
    standing_.error = error;
    return;
  }
  if (failures_ > 0 || standing_.node_id.empty()) {
    LogInfo("heartbeat answered: this is an instance of {}", orders->node_id);
  }
  failures_ = 0;
  checkpoints_.erase(checkpoints_.begin(),
                     checkpoints_.begin() + static_cast<int64_t>(checkpoints));
  interval_ = milliseconds(static_cast<int64_t>(orders->interval_seconds * 1000));
  standing_.node_id = orders->node_id;
  standing_.answered_ns = WallNanos();
  standing_.error.clear();
  standing_.applications_wanted = orders->applications_wanted;
}

}  // namespace snapstore::agent
