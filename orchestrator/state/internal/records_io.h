// The templates of ControllerState that its two source files share. Private to the folder.
#ifndef SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_RECORDS_IO_H_
#define SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_RECORDS_IO_H_

#include <string>
#include <vector>

#include "base/status_macros.h"
#include "orchestrator/state/controller_state.h"
#include "orchestrator/state/internal/keys.h"

namespace snapstore::spot {

inline constexpr size_t kPageEntries = 500;

template <typename T>
Result<T> ControllerState::GetRecord(const std::string& key, uint64_t* revision) {
  SNAP_ASSIGN_OR_RETURN(const StateEntry entry, store_->Get(key));
  if (revision != nullptr) *revision = entry.revision;
  SNAP_ASSIGN_OR_RETURN(const auto record, CacheOf<T>().Decode(key, entry.value));
  return *record;
}

template <typename T>
void ControllerState::PutRecord(const std::string& key, const T& record, Transaction* transaction) {
  std::string text = EncodeRecord(record);
  CacheOf<T>().Remember(key, text, record);
  transaction->Put(key, std::move(text));
}

template <typename T>
Result<std::vector<T>> ControllerState::ListRecords(const std::string& prefix) {
  std::vector<T> records;
  std::string after;
  while (true) {
    SNAP_ASSIGN_OR_RETURN(const StateListing page, store_->List(prefix, after, kPageEntries));
    for (const StateEntry& entry : page.entries) {
      SNAP_ASSIGN_OR_RETURN(T record, DecodeRecord<T>(entry.value, entry.key));
      records.push_back(std::move(record));
    }
    if (!page.more || page.entries.empty()) return records;
    after = page.entries.back().key;
  }
}

template <typename T>
Result<std::vector<T>> ControllerState::ListNumbered(const std::string& prefix, int64_t after,
                                                     size_t limit) {
  SNAP_ASSIGN_OR_RETURN(
      const StateListing page,
      store_->List(prefix, after > 0 ? keys::Numbered(prefix, after) : "", limit));
  std::vector<T> records;
  records.reserve(page.entries.size());
  for (const StateEntry& entry : page.entries) {
    SNAP_ASSIGN_OR_RETURN(T record, DecodeRecord<T>(entry.value, entry.key));
    records.push_back(std::move(record));
  }
  return records;
}

template <typename T>
Result<T> ControllerState::ChangeRecord(const std::string& key,
                                        const std::function<Status(T*, Transaction*)>& change) {
  std::optional<T> record;
  const Status done = Retry([&]() -> Status {
    uint64_t revision = 0;
    SNAP_ASSIGN_OR_RETURN(record, GetRecord<T>(key, &revision));
    Transaction transaction;
    SNAP_RETURN_IF_ERROR(change(&*record, &transaction));
    transaction.Require(key, revision);
    PutRecord(key, *record, &transaction);
    return Commit(&transaction);
  });
  if (!done.ok()) return done;
  return *std::move(record);
}

}  // namespace snapstore::spot

#endif  // SNAPSTORE_ORCHESTRATOR_STATE_INTERNAL_RECORDS_IO_H_
