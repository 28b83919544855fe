// RecordCache: the decoded records of a listing that is made again and again, of which few change
// in between. Decoding costs far more than reading.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_RECORD_CACHE_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_RECORD_CACHE_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "orchestrator/model/records.h"
#include "orchestrator/state/state_store.h"

namespace snapstore::spot {

template <typename T>
class RecordCache {
 public:
  using Records = std::vector<std::shared_ptr<const T>>;

  // All records below `prefix`, always the same one, which are all that it keeps.
  Result<Records> List(StateStore* store, const std::string& prefix, size_t page_entries) {
    std::map<std::string, Known> known;
    {
      const std::lock_guard lock(mutex_);
      known.swap(known_);
    }
    std::map<std::string, Known> now;
    Records records;
    std::string after;
    for (bool more = true; more;) {
      SNAP_ASSIGN_OR_RETURN(StateListing page, store->List(prefix, after, page_entries));
      for (StateEntry& entry : page.entries) {
        auto found = known.extract(entry.key);
        if (found.empty() || found.mapped().revision != entry.revision) {
          SNAP_ASSIGN_OR_RETURN(T record, DecodeRecord<T>(entry.value, entry.key));
          now[entry.key] = {entry.revision, std::make_shared<const T>(std::move(record))};
        } else {
          now.insert(std::move(found));
        }
        records.push_back(now.rbegin()->second.record);
      }
      more = page.more && !page.entries.empty();
      if (more) after = std::move(page.entries.back().key);
    }
    const std::lock_guard lock(mutex_);
    known_ = std::move(now);
    return records;
  }

 private:
  struct Known {
    uint64_t revision = 0;
    std::shared_ptr<const T> record;
  };
  std::mutex mutex_;
  std::map<std::string, Known> known_;  // by key; guarded by mutex_
};

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_RECORD_CACHE_H_
