// RecordCache: decoded records of one type, found again by their key and their text. Decoding costs
// far more than reading, and most of what is read was read or written a moment ago. A text decodes
// to the same record whoever wrote it, so nothing here depends on what commits came to.
//
// What was not looked at for a while goes: it holds at most twice kGeneration records, or four
// times as many as List saw.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_RECORD_CACHE_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_RECORD_CACHE_H_

#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "orchestrator/model/records.h"
#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

template <typename T>
class RecordCache {
 public:
  using Record = std::shared_ptr<const T>;
  using Records = std::vector<Record>;

  // The record of that text; Corruption.
  Result<Record> Decode(const std::string& key, std::string_view text) {
    const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
    if (Record known = Find(key, hash)) return known;
    SNAP_ASSIGN_OR_RETURN(T decoded, DecodeRecord<T>(text, key));
    auto record = std::make_shared<const T>(std::move(decoded));
    Keep(key, {hash, record});
    return record;
  }

  // That text was made of this record.
  void Remember(const std::string& key, std::string_view text, const T& record) {
    Keep(key, {XXH3_128bits(text.data(), text.size()), std::make_shared<const T>(record)});
  }

  void Forget(const std::string& key) {
    const std::lock_guard lock(mutex_);
    young_.erase(key);
    old_.erase(key);
  }

  // All records below `prefix`.
  Result<Records> List(StateStore* store, const std::string& prefix, size_t page_entries) {
    Records records;
    std::string after;
    for (bool more = true; more;) {
      SNAP_ASSIGN_OR_RETURN(StateListing page, store->List(prefix, after, page_entries));
      for (const StateEntry& entry : page.entries) {
        SNAP_ASSIGN_OR_RETURN(records.emplace_back(), Decode(entry.key, entry.value));
      }
      more = page.more && !page.entries.empty();
      if (more) after = std::move(page.entries.back().key);
    }
    const std::lock_guard lock(mutex_);
    limit_ = std::max(kGeneration, records.size() * 2);
    Turn();
    return records;
  }

 private:
  static constexpr size_t kGeneration = 1024;
  struct Known {
    XXH128_hash_t hash;
    Record record;
  };
  using Generation = std::unordered_map<std::string, Known>;

  Record Find(const std::string& key, XXH128_hash_t hash) {
    const std::lock_guard lock(mutex_);
    auto found = young_.find(key);
    if (found == young_.end()) {
      auto moved = old_.extract(key);
      if (moved.empty()) return nullptr;
      TurnIfFull();
      found = young_.insert(std::move(moved)).position;
    }
    return XXH128_isEqual(found->second.hash, hash) ? found->second.record : nullptr;
  }

  void Keep(const std::string& key, Known known) {
    const std::lock_guard lock(mutex_);
    old_.erase(key);
    TurnIfFull();
    young_.insert_or_assign(key, std::move(known));
  }

  // The lock is held, here and below.
  void TurnIfFull() {
    if (young_.size() >= limit_) Turn();
  }
  void Turn() {
    old_ = std::move(young_);
    young_.clear();
  }

  std::mutex mutex_;
  // What was looked at since the last turn, and what only before; guarded by mutex_.
  Generation young_;
  Generation old_;
  size_t limit_ = kGeneration;
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_RECORD_CACHE_H_
