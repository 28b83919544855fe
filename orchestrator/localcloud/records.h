// Records: everything a cloud knows, by id, in a RocksDB journal that survives kill -9.
//
// A record is a JSON object (xml_answer.h says how resources are written). Changes are made inside
// a Transaction and reach the disk together, or not at all.
//
// Thread safety: none; the cloud's mutex guards it.
#ifndef SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_RECORDS_H_
#define SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_RECORDS_H_

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/status.h"

namespace rocksdb {
class DB;
}

namespace snapstore::localcloud {

using Json = nlohmann::json;

class Records {
 public:
  class Transaction;

  // Conflict: another process has it open. Corruption: a record cannot be read.
  static Result<std::unique_ptr<Records>> Open(const std::string& folder);
  ~Records();
  Records(const Records&) = delete;
  Records& operator=(const Records&) = delete;

  // Null when there is none.
  const Json* Find(const std::string& id) const;
  // Ids that begin with `prefix` ("vol-"), in order.
  std::vector<std::string> Ids(const std::string& prefix) const;

 private:
  explicit Records(std::unique_ptr<rocksdb::DB> db);

  std::unique_ptr<rocksdb::DB> db_;
  std::map<std::string, Json> all_;
};

// What is not committed is undone when it goes out of scope.
class Records::Transaction {
 public:
  explicit Transaction(Records* records) : records_(records) {}
  ~Transaction() { Undo(); }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  const Json* Find(const std::string& id) const { return records_->Find(id); }
  std::vector<std::string> Ids(const std::string& prefix) const { return records_->Ids(prefix); }
  // The record to change, made when there is none. Valid until it is removed.
  Json& Edit(const std::string& id);
  void Remove(const std::string& id);
  // Durable when this returns OK.
  Status Commit();
  // Takes back what is not committed.
  void Undo();

 private:
  void Keep(const std::string& id);

  Records* records_;
  std::map<std::string, std::optional<Json>> before_;
};

}  // namespace snapstore::localcloud

#endif  // SNAPSTORE_ORCHESTRATOR_LOCALCLOUD_RECORDS_H_
