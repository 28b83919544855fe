#include "agent/adaptive_trigger.h"

#include <algorithm>

namespace snapstore::agent {
namespace {

// Of the budget that may be used up before a checkpoint is due: the look comes late, the freeze and
// the manifest take their time.
constexpr double kApproach = 0.8;
// A checkpoint of that many bytes counts half in the measured rate.
constexpr double kTellingBytes = 64 << 20;
constexpr double kLookSecondsMin = 0.25;
constexpr double kLookSecondsMax = 5;

}  // namespace

void AdaptiveTrigger::OnCommit(double now_seconds, uint64_t dirty_bytes, double seconds) {
  last_ = now_seconds;
  if (committed_ >= 0 && now_seconds > committed_) {
    dirty_rate_ = static_cast<double>(dirty_bytes) / (now_seconds - committed_);
  }
  committed_ = now_seconds;
  if (dirty_bytes == 0 || seconds <= 0) return;
  const auto bytes = static_cast<double>(dirty_bytes);
  const double weight = bytes / (bytes + kTellingBytes);
  rate_ += weight * (bytes / seconds - rate_);
}

uint64_t AdaptiveTrigger::EstimateDirty(double now_seconds) const {
  return static_cast<uint64_t>(dirty_rate_ * std::max(0.0, now_seconds - committed_));
}

double AdaptiveTrigger::StoreSeconds(uint64_t dirty_bytes) const {
  return static_cast<double>(dirty_bytes) / rate_;
}

bool AdaptiveTrigger::IsDue(double now_seconds, uint64_t dirty_bytes) const {
  return enabled() && now_seconds - last_ >= options_.interval_seconds_min &&
         StoreSeconds(dirty_bytes) >= kApproach * options_.budget_seconds;
}

double AdaptiveTrigger::SecondsToNextLook(uint64_t dirty_bytes) const {
  const double left = kApproach * options_.budget_seconds - StoreSeconds(dirty_bytes);
  return std::clamp(left / 4, kLookSecondsMin, kLookSecondsMax);
}

}  // namespace snapstore::agent
