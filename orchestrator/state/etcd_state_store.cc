#include "orchestrator/state/etcd_state_store.h"

#include <fmt/format.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/base64.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "orchestrator/state/internal/etcd_client.h"

namespace snapstore::spot {
namespace {

using nlohmann::json;

constexpr const char* kLeaderKey = "leader";
constexpr std::chrono::milliseconds kCampaignPoll{200};

// A lease kept alive by a thread of its own, and the key that dies with it.
class EtcdLeadership : public Leadership {
 public:
  // `renewed`: when the request that the lease's life counts from was sent.
  EtcdLeadership(std::shared_ptr<EtcdClient> client, std::string lease, uint64_t revision,
                 std::chrono::seconds time_to_live, std::chrono::steady_clock::time_point renewed)
      : client_(std::move(client)),
        lease_(std::move(lease)),
        revision_(revision),
        time_to_live_(time_to_live),
        valid_until_(renewed + time_to_live),
        keeper_([this] { KeepAlive(); }) {}
  EtcdLeadership(const EtcdLeadership&) = delete;
  EtcdLeadership& operator=(const EtcdLeadership&) = delete;
  ~EtcdLeadership() override {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    wake_.notify_all();
    keeper_.join();
    // If it fails the lease runs out by itself.
    (void)client_->Call("/v3/lease/revoke", {{"ID", lease_}}, /*may_repeat=*/false);
  }

  bool Held() const override {
    const std::lock_guard lock(mutex_);
    return !lost_ && std::chrono::steady_clock::now() < valid_until_;
  }
  void Fence(Transaction* transaction) const override {
    transaction->Require(kLeaderKey, revision_);
  }

 private:
  void KeepAlive() {
    std::unique_lock lock(mutex_);
    while (!stopped_ && !lost_) {
      wake_.wait_for(lock, time_to_live_ / 3, [this] { return stopped_; });
      if (stopped_) return;
      lock.unlock();
      const auto sent = std::chrono::steady_clock::now();
      const auto answer =
          client_->Call("/v3/lease/keepalive", {{"ID", lease_}}, /*may_repeat=*/true);
      lock.lock();
      if (!answer.ok()) {
        if (std::chrono::steady_clock::now() >= valid_until_) lost_ = true;
        continue;
      }
      const json result = answer->value("result", json::object());
      // Whoever asked in between was told that it is lost, which is for good.
      if (EtcdNumber(result, "TTL") == 0 || std::chrono::steady_clock::now() >= valid_until_) {
        lost_ = true;
      } else {
        valid_until_ = sent + time_to_live_;
      }
    }
  }

  const std::shared_ptr<EtcdClient> client_;
  const std::string lease_;
  const uint64_t revision_;
  const std::chrono::seconds time_to_live_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool stopped_ = false;
  bool lost_ = false;
  std::chrono::steady_clock::time_point valid_until_;
  std::thread keeper_;  // last: it uses all others
};

class EtcdStore : public StateStore {
 public:
  explicit EtcdStore(const EtcdOptions& options)
      : options_(options), client_(std::make_shared<EtcdClient>(options)) {}

  Status Probe() {
    return client_->Call("/v3/kv/range", {{"key", Key("probe")}}, /*may_repeat=*/true).status();
  }

  Result<StateEntry> Get(const std::string& key) override;
  Result<StateListing> List(const std::string& prefix, const std::string& after,
                            size_t limit) override;
  Result<uint64_t> Commit(const Transaction& transaction) override;
  Result<StoreChanges> Watch(const std::string& prefix, uint64_t revision,
                             std::chrono::milliseconds timeout) override;
  Result<std::unique_ptr<Leadership>> Campaign(const std::string& candidate,
                                               std::chrono::milliseconds timeout) override;

 private:
  std::string Key(std::string_view key) const {
    return Base64Encode(AsBytes(options_.key_prefix + std::string(key)));
  }
  std::string EndOf(const std::string& prefix) const {
    return Base64Encode(AsBytes(PrefixEnd(options_.key_prefix + prefix)));
  }
  Result<StateEntry> EntryFrom(const json& pair) const;
  json TransactionJson(const Transaction& transaction, const std::string& lease) const;
  // False: a condition does not hold. `revision` is the store's afterwards.
  Result<bool> Try(const Transaction& transaction, const std::string& lease, uint64_t* revision);

  const EtcdOptions options_;
  const std::shared_ptr<EtcdClient> client_;
};

uint64_t RevisionOf(const json& answer) {
  return EtcdNumber(answer.value("header", json::object()), "revision");
}

Result<StateEntry> EtcdStore::EntryFrom(const json& pair) const {
  StateEntry entry{EtcdBytes(pair, "key"), EtcdBytes(pair, "value"),
                   EtcdNumber(pair, "mod_revision")};
  if (!entry.key.starts_with(options_.key_prefix)) {
    return Status::Corruption("etcd: answered with a key that was not asked for");
  }
  entry.key.erase(0, options_.key_prefix.size());
  return entry;
}

Result<StateEntry> EtcdStore::Get(const std::string& key) {
  SNAP_ASSIGN_OR_RETURN(const json answer,
                        client_->Call("/v3/kv/range", {{"key", Key(key)}}, /*may_repeat=*/true));
  const json pairs = answer.value("kvs", json::array());
  if (pairs.empty()) return Status::NotFound(key);
  return EntryFrom(pairs[0]);
}

Result<StateListing> EtcdStore::List(const std::string& prefix, const std::string& after,
                                     size_t limit) {
  const std::string from = after.empty() || after < prefix ? prefix : after + '\0';
  const json request = {{"key", Key(from)}, {"range_end", EndOf(prefix)}, {"limit", limit}};
  SNAP_ASSIGN_OR_RETURN(const json answer,
                        client_->Call("/v3/kv/range", request, /*may_repeat=*/true));
  StateListing listing;
  listing.more = answer.value("more", false);
  listing.revision = RevisionOf(answer);
  for (const json& pair : answer.value("kvs", json::array())) {
    SNAP_ASSIGN_OR_RETURN(StateEntry entry, EntryFrom(pair));
    listing.entries.push_back(std::move(entry));
  }
  return listing;
}

json EtcdStore::TransactionJson(const Transaction& transaction, const std::string& lease) const {
  json compare = json::array();
  for (const Transaction::Condition& condition : transaction.conditions) {
    compare.push_back({{"key", Key(condition.key)},
                       {"target", "MOD"},
                       {"result", "EQUAL"},
                       {"mod_revision", std::to_string(condition.revision)}});
  }
  json success = json::array();
  for (const Transaction::Change& change : transaction.changes) {
    if (change.deleted) {
      success.push_back({{"request_delete_range", {{"key", Key(change.key)}}}});
      continue;
    }
    json put = {{"key", Key(change.key)}, {"value", Base64Encode(AsBytes(change.value))}};
    if (!lease.empty()) put["lease"] = lease;
    success.push_back({{"request_put", std::move(put)}});
  }
  return {{"compare", std::move(compare)}, {"success", std::move(success)}};
}

Result<bool> EtcdStore::Try(const Transaction& transaction, const std::string& lease,
                            uint64_t* revision) {
  SNAP_ASSIGN_OR_RETURN(const json answer,
                        client_->Call("/v3/kv/txn", TransactionJson(transaction, lease),
                                      /*may_repeat=*/false));
  *revision = RevisionOf(answer);
  return answer.value("succeeded", false);
}

Result<uint64_t> EtcdStore::Commit(const Transaction& transaction) {
  SNAP_RETURN_IF_ERROR(CheckTransaction(transaction));
  uint64_t revision = 0;
  SNAP_ASSIGN_OR_RETURN(const bool succeeded, Try(transaction, "", &revision));
  if (succeeded) return revision;
  return Status::Conflict(transaction.conditions.empty()
                              ? "etcd: refused the transaction"
                              : transaction.conditions[0].key + ": was changed by somebody else");
}

Result<StoreChanges> EtcdStore::Watch(const std::string& prefix, uint64_t revision,
                                      std::chrono::milliseconds timeout) {
  const json request = {{"create_request",
                         {{"key", Key(prefix)},
                          {"range_end", EndOf(prefix)},
                          {"start_revision", std::to_string(revision + 1)}}}};
  const auto wanted = [](const json& message) {
    const json result = message.value("result", json::object());
    return message.contains("error") || result.contains("events") ||
           result.value("canceled", false);
  };
  SNAP_ASSIGN_OR_RETURN(const json message,
                        client_->FirstOf("/v3/watch", request, timeout, wanted));
  StoreChanges changes{{}, revision};
  if (message.is_null()) return changes;
  const json result = message.value("result", json::object());
  if (EtcdNumber(result, "compact_revision") > 0) {
    return Status::NotFound(
        fmt::format("etcd: changes after revision {} are compacted: list again", revision));
  }
  if (!result.contains("events")) return Status::Io("etcd: the watch was cancelled");
  for (const json& event : result["events"]) {
    SNAP_ASSIGN_OR_RETURN(StateEntry entry, EntryFrom(event.value("kv", json::object())));
    changes.revision = std::max(changes.revision, entry.revision);
    changes.changes.push_back({std::move(entry.key), event.value("type", "PUT") == "DELETE",
                               std::move(entry.value), entry.revision});
  }
  return changes;
}

Result<std::unique_ptr<Leadership>> EtcdStore::Campaign(const std::string& candidate,
                                                        std::chrono::milliseconds timeout) {
  auto renewed = std::chrono::steady_clock::now();
  const auto deadline = renewed + timeout;
  SNAP_ASSIGN_OR_RETURN(
      const json grant,
      client_->Call("/v3/lease/grant", {{"TTL", std::to_string(options_.leader_lease.count())}},
                    /*may_repeat=*/true));
  const std::string lease = std::to_string(EtcdNumber(grant, "ID"));
  Status outcome = Status::Timeout("etcd: another controller leads");
  while (true) {
    Transaction claim;
    claim.Require(kLeaderKey, 0);
    claim.Put(kLeaderKey, candidate);
    uint64_t revision = 0;
    const auto won = Try(claim, lease, &revision);
    if (!won.ok()) {
      outcome = won.status();
      break;
    }
    if (*won) {
      return std::unique_ptr<Leadership>(std::make_unique<EtcdLeadership>(
          client_, lease, revision, options_.leader_lease, renewed));
    }
    if (std::chrono::steady_clock::now() >= deadline) break;
    std::this_thread::sleep_for(kCampaignPoll);
    // The wait may outlast the lease.
    const auto sent = std::chrono::steady_clock::now();
    if (client_->Call("/v3/lease/keepalive", {{"ID", lease}}, /*may_repeat=*/true).ok()) {
      renewed = sent;
    }
  }
  (void)client_->Call("/v3/lease/revoke", {{"ID", lease}}, /*may_repeat=*/false);
  return outcome;
}

}  // namespace

Result<std::unique_ptr<StateStore>> EtcdStateStore::Open(const EtcdOptions& options) {
  if (options.endpoints.empty()) return Status::InvalidArgument("etcd: no endpoint given");
  auto store = std::make_unique<EtcdStore>(options);
  SNAP_RETURN_IF_ERROR(store->Probe());
  return std::unique_ptr<StateStore>(std::move(store));
}

}  // namespace snapstore::spot
