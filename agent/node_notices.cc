#include "agent/node_notices.h"

#include "base/log.h"

namespace snapstore::agent {

NodeNotices::NodeNotices(NodeMetadata* metadata, std::chrono::milliseconds interval,
                         std::function<void(const NodeNotice&)> on_notice)
    : metadata_(metadata), interval_(interval), on_notice_(std::move(on_notice)) {}

NodeNotices::~NodeNotices() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void NodeNotices::Start() {
  thread_ = std::thread([this] { Loop(); });
}

std::optional<NodeNotice> NodeNotices::current() const {
  const std::lock_guard lock(mutex_);
  return interruption_ ? interruption_ : rebalance_;
}

void NodeNotices::Loop() {
  while (true) {
    Look();
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, interval_, [this] { return quit_; });
    if (quit_) return;
  }
}

// An error says nothing: what was seen holds on.
void NodeNotices::Look() {
  const auto interruption = metadata_->Interruption();
  const auto rebalance = metadata_->Rebalance();
  const Status status = interruption.ok() ? rebalance.status() : interruption.status();
  if (!status.ok() && !failed_) LogWarning("notices: {}; trying again", status.message());
  failed_ = !status.ok();
  const auto note = [this](const Result<std::optional<NodeNotice>>& seen,
                           std::optional<NodeNotice>* known) {
    if (!seen.ok()) return;
    {
      const std::lock_guard lock(mutex_);
      if (*seen == *known) return;
      *known = *seen;
    }
    if (!seen->has_value()) return;
    LogWarning("notice of the cloud: {}, {}", (*seen)->action, (*seen)->time);
    on_notice_(**seen);
  };
  note(interruption, &interruption_);
  note(rebalance, &rebalance_);
}

}  // namespace snapstore::agent
