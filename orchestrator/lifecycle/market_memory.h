// MarketMemory: which markets had no capacity or took instances away lately. Lost with the process:
// it only makes choices better.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_LIFECYCLE_MARKET_MEMORY_H_
#define SNAPSTORE_ORCHESTRATOR_LIFECYCLE_MARKET_MEMORY_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace snapstore::spot {

class MarketMemory {
 public:
  // A market is the text "type/zone/spot" or "type/zone/on-demand".
  void NoteRefused(const std::string& market, int64_t now_ms);
  void NoteInterrupted(const std::string& market, int64_t now_ms);

  static constexpr int64_t kLatelyMs = 600'000;
  bool RefusedLately(const std::string& market, int64_t now_ms,
                     int64_t lately_ms = kLatelyMs) const;
  // Interruptions, each counting half as much every six hours.
  double Interruptions(const std::string& market, int64_t now_ms) const;

 private:
  struct Fading {
    double value = 0;
    int64_t time_ms = 0;
    double At(int64_t now_ms) const;
  };
  mutable std::mutex mutex_;
  std::map<std::string, int64_t> refused_ms_;
  std::map<std::string, Fading> interruptions_;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_LIFECYCLE_MARKET_MEMORY_H_
