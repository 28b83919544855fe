// LevelChooser: how hard to compress, so that neither the CPU nor the store waits for the other.
//
// Whenever a pack is full, the packs that the store has not taken yet tell which of the two is the
// slower: fewer than it takes at once, and compression holds things up; more, and the store does.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_LEVEL_CHOOSER_H_
#define SNAPSTORE_ENGINE_LEVEL_CHOOSER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>

namespace snapstore {

class LevelChooser {
 public:
  // Levels of zstd. Above the highest, time grows faster than what it saves.
  static constexpr int kStart = 3;
  static constexpr int kLowest = 1;
  static constexpr int kHighest = 9;

  // `fixed`: the level to stay at, or 0 to choose. `at_once`: packs that the store takes at once.
  explicit LevelChooser(int fixed, size_t at_once = 1)
      : fixed_(fixed), at_once_(at_once), level_(fixed != 0 ? fixed : kStart) {}

  int level() const { return level_.load(std::memory_order_relaxed); }

  // A pack is ready for the store, which has `behind` packs that it has not stored yet.
  void OnPackFull(size_t behind) {
    // The first one finds an idle store however fast that is.
    const bool first = !seen_.exchange(true);
    if (fixed_ != 0 || first) return;
    if (behind < at_once_) level_ = std::max(kLowest, level_ - 1);
    if (behind > at_once_) level_ = std::min(kHighest, level_ + 1);
  }

 private:
  const int fixed_;
  const size_t at_once_;
  std::atomic<int> level_;
  std::atomic<bool> seen_ = false;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_LEVEL_CHOOSER_H_
