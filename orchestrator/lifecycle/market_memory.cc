#include "orchestrator/lifecycle/market_memory.h"

#include <cmath>

namespace snapstore::spot {
namespace {

constexpr double kHalfLifeMs = 6 * 3'600'000.0;

}  // namespace

double MarketMemory::Fading::At(int64_t now_ms) const {
  return value * std::exp2(-static_cast<double>(now_ms - time_ms) / kHalfLifeMs);
}

void MarketMemory::NoteRefused(const std::string& market, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  refused_ms_[market] = now_ms;
}

void MarketMemory::NoteInterrupted(const std::string& market, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  Fading& fading = interruptions_[market];
  fading = {fading.At(now_ms) + 1, now_ms};
}

bool MarketMemory::RefusedLately(const std::string& market, int64_t now_ms,
                                 int64_t lately_ms) const {
  const std::lock_guard lock(mutex_);
  const auto found = refused_ms_.find(market);
  return found != refused_ms_.end() && now_ms - found->second < lately_ms;
}

double MarketMemory::Interruptions(const std::string& market, int64_t now_ms) const {
  const std::lock_guard lock(mutex_);
  const auto found = interruptions_.find(market);
  return found == interruptions_.end() ? 0 : found->second.At(now_ms);
}

}  // namespace snapstore::spot
