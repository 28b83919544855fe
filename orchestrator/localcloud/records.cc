#include "orchestrator/localcloud/records.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include "orchestrator/rocks/rocks_error.h"

namespace snapstore::localcloud {
Records::Records(std::unique_ptr<rocksdb::DB> db) : db_(std::move(db)) {}
Records::~Records() = default;

Result<std::unique_ptr<Records>> Records::Open(const std::string& folder) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.keep_log_file_num = 2;
  options.max_open_files = 64;
  options.write_buffer_size = 4 << 20;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, folder, &opened);
  if (!status.ok()) return StatusOfRocksOpen(status, folder);
  std::unique_ptr<Records> records(new Records(std::unique_ptr<rocksdb::DB>(opened)));
  const std::unique_ptr<rocksdb::Iterator> at(records->db_->NewIterator({}));
  for (at->SeekToFirst(); at->Valid(); at->Next()) {
    Json record = Json::parse(at->value().ToString(), nullptr, false);
    if (!record.is_object()) {
      return Status::Corruption(
          fmt::format("{}: record '{}' cannot be read", folder, at->key().ToString()));
    }
    records->all_.emplace(at->key().ToString(), std::move(record));
  }
  if (!at->status().ok()) return StatusOfRocks(at->status(), fmt::format("read {}", folder));
  return records;
}

const Json* Records::Find(const std::string& id) const {
  const auto found = all_.find(id);
  return found == all_.end() ? nullptr : &found->second;
}

std::vector<std::string> Records::Ids(const std::string& prefix) const {
  std::vector<std::string> ids;
  for (auto at = all_.lower_bound(prefix); at != all_.end(); ++at) {
    if (!at->first.starts_with(prefix)) break;
    ids.push_back(at->first);
  }
  return ids;
}

void Records::Transaction::Keep(const std::string& id) {
  if (before_.contains(id)) return;
  const Json* now = records_->Find(id);
  before_[id] = now == nullptr ? std::nullopt : std::optional<Json>(*now);
}

Json& Records::Transaction::Edit(const std::string& id) {
  Keep(id);
  Json& record = records_->all_[id];
  if (record.is_null()) record = Json::object();
  return record;
}

void Records::Transaction::Remove(const std::string& id) {
  Keep(id);
  records_->all_.erase(id);
}

Status Records::Transaction::Commit() {
  rocksdb::WriteBatch batch;
  for (const auto& [id, old] : before_) {
    const Json* now = records_->Find(id);
    if (now == nullptr) {
      batch.Delete(id);
    } else if (!old || *old != *now) {
      batch.Put(id, now->dump(-1, ' ', false, Json::error_handler_t::replace));
    }
  }
  if (batch.Count() > 0) {
    rocksdb::WriteOptions durable;
    durable.sync = true;
    const rocksdb::Status status = records_->db_->Write(durable, &batch);
    if (!status.ok()) return StatusOfRocks(status, "write the cloud's records");
  }
  before_.clear();
  return {};
}

void Records::Transaction::Undo() {
  for (auto& [id, old] : before_) {
    if (old) {
      records_->all_[id] = std::move(*old);
    } else {
      records_->all_.erase(id);
    }
  }
  before_.clear();
}

}  // namespace snapstore::localcloud
