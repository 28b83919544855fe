#include "orchestrator/state/rocks_state_store.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "base/bytes.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "orchestrator/rocks/rocks_error.h"

namespace snapstore::spot {
namespace {

// Key of the column family "meta" that holds the store's revision, eight bytes little-endian.
constexpr const char* kRevisionKey = "revision";
constexpr size_t kRevisionBytes = 8;
// Commits that share one write.
constexpr size_t kGroupCommitsMax = 64;
constexpr uint64_t kTrimEveryCommits = 1000;
// Blocks kept as they are used. All nodes are read every few seconds: where 10 000 of them, some
// 45 MiB, have no room, each of their blocks is read and decompressed every time.
constexpr size_t kBlockCacheBytes = 64 << 20;

Status FromRocks(const rocksdb::Status& status, std::string_view what) {
  return StatusOfRocks(status, fmt::format("state store: {}", what));
}

// Big-endian, so that keys order as numbers.
std::string NumberKey(uint64_t number) {
  std::string key(kRevisionBytes, '\0');
  for (size_t i = 0; i < kRevisionBytes; ++i) {
    key[i] = static_cast<char>(number >> (8 * (kRevisionBytes - 1 - i)));
  }
  return key;
}
uint64_t NumberOfKey(std::string_view key) {
  uint64_t number = 0;
  for (size_t i = 0; i < kRevisionBytes && i < key.size(); ++i) {
    number = number << 8 | static_cast<uint8_t>(key[i]);
  }
  return number;
}

std::string WithRevision(uint64_t revision, std::string_view value) {
  std::string stored(kRevisionBytes, '\0');
  StoreLe<uint64_t>(reinterpret_cast<uint8_t*>(stored.data()), revision);
  stored += value;
  return stored;
}

Result<StateEntry> EntryFrom(std::string key, std::string_view stored) {
  if (stored.size() < kRevisionBytes) {
    return Status::Corruption(fmt::format("state store: {}: too short", key));
  }
  const auto revision = LoadLe<uint64_t>(AsBytes(stored).data());
  return StateEntry{std::move(key), std::string(stored.substr(kRevisionBytes)), revision};
}

class EmbeddedLeadership : public Leadership {
 public:
  bool Held() const override { return true; }
  void Fence(Transaction* /*transaction*/) const override {}
};

class RocksStore : public StateStore {
 public:
  ~RocksStore() override {
    for (rocksdb::ColumnFamilyHandle* family : {entries_, history_, meta_}) {
      if (family != nullptr) db_->DestroyColumnFamilyHandle(family).PermitUncheckedError();
    }
  }
  RocksStore() = default;
  RocksStore(const RocksStore&) = delete;
  RocksStore& operator=(const RocksStore&) = delete;

  Status Open(const std::string& path);

  Result<StateEntry> Get(const std::string& key) override;
  Result<StateListing> List(const std::string& prefix, const std::string& after,
                            size_t limit) override;
  Result<uint64_t> Commit(const Transaction& transaction) override;
  Result<StoreChanges> Watch(const std::string& prefix, uint64_t revision,
                             std::chrono::milliseconds timeout) override;
  Result<std::unique_ptr<Leadership>> Campaign(const std::string& /*candidate*/,
                                               std::chrono::milliseconds /*timeout*/) override {
    return std::unique_ptr<Leadership>(std::make_unique<EmbeddedLeadership>());
  }

 private:
  // A commit that waits for its turn.
  struct Pending {
    const Transaction* transaction;
    bool done = false;
    Status status;
    uint64_t revision = 0;
  };
  // What a group of commits has put (its revision) or deleted (0) so far.
  using Overlay = std::map<std::string, uint64_t>;

  Result<uint64_t> RevisionOf(const std::string& key, const Overlay& overlay);
  Status AddToBatch(const Transaction& transaction, uint64_t revision, Overlay* overlay,
                    rocksdb::WriteBatch* batch);
  // Commits what waits, with the caller's lock given up meanwhile. REQUIRES: !committing_.
  void LeadGroup(std::unique_lock<std::mutex>* lock);
  void CommitGroup(const std::vector<Pending*>& group);
  void Trim(uint64_t revision, rocksdb::WriteBatch* batch);
  Result<std::vector<StoreChange>> HistoryAfter(const std::string& prefix, uint64_t revision);
  uint64_t CurrentRevision() const {
    const std::lock_guard lock(mutex_);
    return revision_;
  }

  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* entries_ = nullptr;
  rocksdb::ColumnFamilyHandle* history_ = nullptr;
  rocksdb::ColumnFamilyHandle* meta_ = nullptr;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable turn_;
  std::condition_variable changed_;
  std::deque<Pending*> queue_;
  bool committing_ = false;
  uint64_t revision_ = 0;
  uint64_t history_start_ = 0;  // changes after this revision are all there
  Status broken_;               // a write failed, and what is on the disk is not known
};

Status RocksStore::Open(const std::string& path) {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  // Every commit is synced before it is acknowledged: a log that ends in the middle of a record
  // lost nothing that was.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.max_total_wal_size = 64 << 20;
  options.max_background_jobs = 2;
  options.max_file_opening_threads = 1;
  options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  options.max_log_file_size = 1 << 20;
  options.keep_log_file_num = 2;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  rocksdb::ColumnFamilyOptions family;
  family.write_buffer_size = 16 << 20;
  rocksdb::BlockBasedTableOptions tables;
  tables.block_cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(tables));
  const std::vector<rocksdb::ColumnFamilyDescriptor> families = {
      {rocksdb::kDefaultColumnFamilyName, family}, {"entries", family}, {"history", family}};
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(options, path, families, &handles, &db);
  if (!opened.ok()) return StatusOfRocksOpen(opened, fmt::format("state store {}", path));
  db_.reset(db);
  meta_ = handles[0];
  entries_ = handles[1];
  history_ = handles[2];
  std::string text;
  const rocksdb::Status got = db_->Get({}, meta_, kRevisionKey, &text);
  if (got.IsNotFound()) return Status::Ok();
  if (!got.ok()) return FromRocks(got, "read the revision");
  if (text.size() != kRevisionBytes) return Status::Corruption("state store: revision: damaged");
  revision_ = LoadLe<uint64_t>(AsBytes(text).data());
  const std::unique_ptr<rocksdb::Iterator> first(db_->NewIterator({}, history_));
  first->SeekToFirst();
  history_start_ = first->Valid() ? NumberOfKey(first->key().ToStringView()) - 1 : revision_;
  return first->status().ok() ? Status::Ok() : FromRocks(first->status(), "read the history");
}

Result<StateEntry> RocksStore::Get(const std::string& key) {
  std::string stored;
  const rocksdb::Status got = db_->Get({}, entries_, key, &stored);
  if (got.IsNotFound()) return Status::NotFound(key);
  if (!got.ok()) return FromRocks(got, "get " + key);
  return EntryFrom(key, stored);
}

Result<StateListing> RocksStore::List(const std::string& prefix, const std::string& after,
                                      size_t limit) {
  StateListing listing;
  // In this order: what is committed in between is reported again by a watch, not lost.
  listing.revision = CurrentRevision();
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, entries_));
  it->Seek(std::max(prefix, after));
  if (it->Valid() && !after.empty() && it->key() == after) it->Next();
  for (; it->Valid() && it->key().starts_with(prefix); it->Next()) {
    if (listing.entries.size() == limit) {
      listing.more = true;
      break;
    }
    SNAP_ASSIGN_OR_RETURN(StateEntry entry,
                          EntryFrom(it->key().ToString(), it->value().ToStringView()));
    listing.entries.push_back(std::move(entry));
  }
  if (!it->status().ok()) return FromRocks(it->status(), "list " + prefix);
  return listing;
}

Result<uint64_t> RocksStore::RevisionOf(const std::string& key, const Overlay& overlay) {
  if (const auto it = overlay.find(key); it != overlay.end()) return it->second;
  const auto entry = Get(key);
  if (entry.ok()) return entry->revision;
  if (entry.status().Is(StatusCode::kNotFound)) return uint64_t{0};
  return entry.status();
}

Status RocksStore::AddToBatch(const Transaction& transaction, uint64_t revision, Overlay* overlay,
                              rocksdb::WriteBatch* batch) {
  for (const Transaction::Condition& condition : transaction.conditions) {
    SNAP_ASSIGN_OR_RETURN(const uint64_t found, RevisionOf(condition.key, *overlay));
    if (found == condition.revision) continue;
    return Status::Conflict(
        fmt::format("{}: is of revision {}, not {}", condition.key, found, condition.revision));
  }
  uint64_t part = 0;
  for (const Transaction::Change& change : transaction.changes) {
    if (change.deleted) {
      SNAP_ASSIGN_OR_RETURN(const uint64_t found, RevisionOf(change.key, *overlay));
      if (found == 0) continue;
    }
    // "D" or "P", then the key; the value of a put is in its entry, or was replaced since.
    const std::string record =
        (change.deleted ? "D" : "P") + WithRevision(change.key.size(), change.key) + change.value;
    rocksdb::Status added =
        change.deleted ? batch->Delete(entries_, change.key)
                       : batch->Put(entries_, change.key, WithRevision(revision, change.value));
    if (added.ok()) added = batch->Put(history_, NumberKey(revision) + NumberKey(part++), record);
    if (!added.ok()) return FromRocks(added, "prepare a commit");
    (*overlay)[change.key] = change.deleted ? 0 : revision;
  }
  return Status::Ok();
}

void RocksStore::Trim(uint64_t revision, rocksdb::WriteBatch* batch) {
  if (revision % kTrimEveryCommits != 0 || revision <= RocksStateStore::kHistoryCommits) return;
  const uint64_t start = revision - RocksStateStore::kHistoryCommits;
  // Its failure is the batch's, which nobody can miss.
  batch->DeleteRange(history_, NumberKey(0), NumberKey(start + 1)).PermitUncheckedError();
  const std::lock_guard lock(mutex_);
  history_start_ = start;
}

void RocksStore::CommitGroup(const std::vector<Pending*>& group) {
  rocksdb::WriteBatch batch;
  Overlay overlay;
  uint64_t revision = CurrentRevision();
  for (Pending* pending : group) {
    // What a refused transaction had added before it was refused must not stay: conditions are
    // checked before the first change is added, and only those fail in practice.
    batch.SetSavePoint();
    const Overlay before = overlay;
    pending->status = AddToBatch(*pending->transaction, revision + 1, &overlay, &batch);
    if (pending->status.ok()) {
      pending->revision = ++revision;
      batch.PopSavePoint().PermitUncheckedError();
      Trim(revision, &batch);
    } else {
      overlay = before;
      batch.RollbackToSavePoint().PermitUncheckedError();
    }
  }
  Status written = Status::Ok();
  if (batch.Count() > 0 || revision != CurrentRevision()) {
    rocksdb::Status status = batch.Put(meta_, kRevisionKey, WithRevision(revision, {}));
    rocksdb::WriteOptions options;
    options.sync = true;
    if (status.ok()) status = db_->Write(options, &batch);
    if (!status.ok()) written = FromRocks(status, "commit");
  }
  const std::lock_guard lock(mutex_);
  if (written.ok()) {
    revision_ = revision;
  } else {
    broken_ = written;
  }
  for (Pending* pending : group) {
    if (pending->status.ok() && !written.ok()) pending->status = written;
    pending->done = true;
  }
}

void RocksStore::LeadGroup(std::unique_lock<std::mutex>* lock) {
  committing_ = true;
  std::vector<Pending*> group;
  while (!queue_.empty() && group.size() < kGroupCommitsMax) {
    group.push_back(queue_.front());
    queue_.pop_front();
  }
  if (broken_.ok()) {
    lock->unlock();
    CommitGroup(group);
    lock->lock();
  } else {
    for (Pending* pending : group) {
      pending->status = broken_;
      pending->done = true;
    }
  }
  committing_ = false;
  turn_.notify_all();
  changed_.notify_all();
}

Result<uint64_t> RocksStore::Commit(const Transaction& transaction) {
  SNAP_RETURN_IF_ERROR(CheckTransaction(transaction));
  Pending mine{&transaction, false, Status::Ok(), 0};
  std::unique_lock lock(mutex_);
  queue_.push_back(&mine);
  while (true) {
    turn_.wait(lock, [this, &mine] { return mine.done || !committing_; });
    if (mine.done) break;
    LeadGroup(&lock);
  }
  if (!mine.status.ok()) return mine.status;
  return mine.revision;
}

Result<std::vector<StoreChange>> RocksStore::HistoryAfter(const std::string& prefix,
                                                          uint64_t revision) {
  std::vector<StoreChange> changes;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}, history_));
  for (it->Seek(NumberKey(revision + 1)); it->Valid(); it->Next()) {
    const std::string_view record = it->value().ToStringView();
    if (record.size() <= kRevisionBytes) return Status::Corruption("state store: history: damaged");
    const auto key_size = LoadLe<uint64_t>(AsBytes(record).data() + 1);
    const std::string_view rest = record.substr(1 + kRevisionBytes);
    if (key_size > rest.size()) return Status::Corruption("state store: history: damaged");
    const std::string_view key = rest.substr(0, key_size);
    const uint64_t at = NumberOfKey(it->key().ToStringView());
    // Enough, and the commit before is whole.
    if (changes.size() >= kTransactionStepsMax && changes.back().revision != at) break;
    if (!key.starts_with(prefix)) continue;
    changes.push_back({std::string(key), record[0] == 'D', std::string(rest.substr(key_size)), at});
  }
  if (!it->status().ok()) return FromRocks(it->status(), "read the history");
  return changes;
}

Result<StoreChanges> RocksStore::Watch(const std::string& prefix, uint64_t revision,
                                       std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  uint64_t seen = revision;
  std::unique_lock lock(mutex_);
  while (true) {
    if (seen < history_start_) {
      return Status::NotFound(
          fmt::format("state store: changes after revision {} are no longer "
                      "kept: list again",
                      seen));
    }
    if (revision_ > seen) {
      const uint64_t now = revision_;
      lock.unlock();
      SNAP_ASSIGN_OR_RETURN(std::vector<StoreChange> changes, HistoryAfter(prefix, seen));
      lock.lock();
      // What was read while its beginning went is not whole.
      if (seen < history_start_) continue;
      if (!changes.empty()) {
        const uint64_t last = changes.back().revision;
        return StoreChanges{std::move(changes), last};
      }
      seen = now;
    }
    if (!changed_.wait_until(lock, deadline, [this, seen] { return revision_ > seen; })) {
      return StoreChanges{{}, seen};
    }
  }
}

}  // namespace

Status CheckTransaction(const Transaction& transaction) {
  if (transaction.conditions.size() > kTransactionStepsMax ||
      transaction.changes.size() > kTransactionStepsMax) {
    return Status::InvalidArgument(
        fmt::format("a transaction has more than {} steps", kTransactionStepsMax));
  }
  std::set<std::string_view> keys;
  for (const Transaction::Change& change : transaction.changes) {
    if (change.key.empty() || change.key.size() > kStateKeyBytesMax ||
        change.value.size() > kStateValueBytesMax) {
      return Status::InvalidArgument(
          fmt::format("{}: key or value is too large", change.key.substr(0, kStateKeyBytesMax)));
    }
    if (!keys.insert(change.key).second) {
      return Status::InvalidArgument(change.key + ": is changed twice in one transaction");
    }
  }
  return Status::Ok();
}

Result<std::unique_ptr<StateStore>> RocksStateStore::Open(const std::string& path) {
  SNAP_RETURN_IF_ERROR(MakeDirectories(path, 0700));
  auto store = std::make_unique<RocksStore>();
  SNAP_RETURN_IF_ERROR(store->Open(path));
  return std::unique_ptr<StateStore>(std::move(store));
}

}  // namespace snapstore::spot
