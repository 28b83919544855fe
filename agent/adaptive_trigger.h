// AdaptiveTrigger: when the next checkpoint is due, by what would have to be stored.
//
// A machine that is taken away gives notice of two minutes at best. What the application has
// changed since its last checkpoint must fit through the link in that time: the checkpoint is due
// as soon as dirty bytes divided by the measured rate approach the budget. Compression and what is
// changed twice make that an upper bound.
//
// Thread safety: none.
#ifndef SNAPSTORE_AGENT_ADAPTIVE_TRIGGER_H_
#define SNAPSTORE_AGENT_ADAPTIVE_TRIGGER_H_

#include <cstdint>

namespace snapstore::agent {

class AdaptiveTrigger {
 public:
  struct Options {
    double budget_seconds = 0;                   // in which all must be stored; 0: never due
    double interval_seconds_min = 10;            // from one checkpoint to the next
    double initial_bytes_per_second = 64 << 20;  // until one was measured
  };

  explicit AdaptiveTrigger(const Options& options)
      : options_(options), rate_(options.initial_bytes_per_second) {}

  bool enabled() const { return options_.budget_seconds > 0; }

  // A checkpoint was committed: it changed `dirty_bytes` of memory, before compression, and took
  // `seconds` from the thaw to the commit. Small ones say little about the link and count little.
  void OnCommit(double now_seconds, uint64_t dirty_bytes, double seconds);
  // An attempt failed: the next is due only after the shortest interval.
  void OnFailure(double now_seconds) { last_ = now_seconds; }

  // What has changed since the last commit if it does at the rate that it did before; for who
  // cannot tell. 0 before the second commit.
  uint64_t EstimateDirty(double now_seconds) const;

  // Seconds it would take to store `dirty_bytes`.
  double StoreSeconds(uint64_t dirty_bytes) const;
  // `now_seconds`: a monotonic clock's, the same as above.
  bool IsDue(double now_seconds, uint64_t dirty_bytes) const;
  // When to look again: earlier the nearer the budget.
  double SecondsToNextLook(uint64_t dirty_bytes) const;

  double bytes_per_second() const { return rate_; }

 private:
  const Options options_;
  double rate_;
  double last_ = -1e18;    // attempt
  double committed_ = -1;  // when; negative: nothing was
  double dirty_rate_ = 0;  // bytes a second that the application changed
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_AGENT_ADAPTIVE_TRIGGER_H_
