#include "engine/frame_cache.h"

#include <chrono>

#include "base/check.h"

namespace snapstore {
namespace {

constexpr std::chrono::milliseconds kCancelPoll{50};

}  // namespace

FrameCache::FrameCache(size_t bytes_max, std::function<bool()> cancelled)
    : cancelled_(std::move(cancelled)), kept_(bytes_max) {}

Result<FramePtr> FrameCache::Get(const FrameKey& key,
                                 const std::function<Result<FramePtr>()>& load) {
  {
    std::unique_lock lock(mutex_);
    while (true) {
      if (FramePtr frame = kept_.Find(key); frame != nullptr) return frame;
      const auto it = loads_.find(key);
      if (it == loads_.end()) break;
      const std::shared_ptr<Load> other = it->second;
      while (!other->done) {
        finished_.wait_for(lock, kCancelPoll);
        if (!other->done && cancelled_ != nullptr && cancelled_()) {
          return Status::Cancelled("interrupted");
        }
      }
      if (other->frame != nullptr) return other->frame;
      // That thread was asked to stop, this one was not.
      if (!other->status.Is(StatusCode::kCancelled)) return other->status;
    }
    loads_[key] = std::make_shared<Load>();
  }
  Result<FramePtr> frame = load();
  Finish(key, frame);
  return frame;
}

bool FrameCache::Claim(const FrameKey& key) {
  const std::lock_guard lock(mutex_);
  if (kept_.Contains(key) || loads_.contains(key)) return false;
  loads_[key] = std::make_shared<Load>();
  return true;
}

void FrameCache::Finish(const FrameKey& key, const Result<FramePtr>& frame) {
  const std::lock_guard lock(mutex_);
  const auto it = loads_.find(key);
  SNAP_CHECK(it != loads_.end());
  it->second->done = true;
  if (frame.ok()) {
    it->second->frame = *frame;
    kept_.Insert(key, *frame, (*frame)->data.size());
  } else {
    it->second->status = frame.status();
  }
  loads_.erase(it);
  finished_.notify_all();
}

}  // namespace snapstore
