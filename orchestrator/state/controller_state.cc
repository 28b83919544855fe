#include "orchestrator/state/controller_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "base/clock.h"
#include "base/random.h"
#include "base/sha256.h"
#include "orchestrator/model/ids.h"
#include "orchestrator/model/usage.h"
#include "orchestrator/state/internal/keys.h"
#include "orchestrator/state/internal/records_io.h"

namespace snapstore::spot {
namespace {

constexpr size_t kTokenBytes = 32;
constexpr int kAttemptsMax = 40;
constexpr int64_t kNanosPerMs = 1'000'000;

std::string HashOf(std::string_view token) { return Sha256::Of(AsBytes(token)).ToHex(); }

}  // namespace

int64_t NowMs() { return WallNanos() / kNanosPerMs; }

Status ControllerState::Retry(const std::function<Status()>& attempt) {
  SplitMix64 jitter(static_cast<uint64_t>(WallNanos()));
  Status status;
  for (int i = 0; i < kAttemptsMax; ++i) {
    status = attempt();
    if (!status.Is(StatusCode::kConflict)) return status;
    // Those who met must not meet again.
    std::this_thread::sleep_for(std::chrono::microseconds(jitter.Below(500 * (i + 1))));
  }
  return status;
}

Status ControllerState::Commit(Transaction* transaction) {
  if (leadership_ != nullptr) leadership_->Fence(transaction);
  const Status committed = store_->Commit(*transaction).status();
  // Whatever came of it: an error does not mean that nothing was changed.
  const auto& changes = transaction->changes;
  if (std::any_of(changes.begin(), changes.end(), [](const Transaction::Change& change) {
        return change.key.starts_with(keys::kRetained);
      })) {
    ++retained_commits_;
  }
  return committed;
}

Result<ControllerState::NewToken> ControllerState::AddToken(
    const std::vector<std::string>& accounts, const std::string& label,
    std::optional<std::chrono::seconds> lifetime) {
  std::array<uint8_t, kTokenBytes> bytes{};
  SecureRandom(bytes);
  NewToken token{HexEncode(bytes), {sources_.new_id(IdPrefix::kToken), accounts, label, Now(), {}}};
  if (lifetime) {
    token.record.expires_at_ms =
        Now() + std::chrono::duration_cast<std::chrono::milliseconds>(*lifetime).count();
  }
  const Status done = Retry([&]() -> Status {
    Transaction transaction;
    for (const std::string& account : accounts) {
      const std::string key = keys::Account(account);
      const auto entry = store_->Get(key);
      if (entry.ok()) continue;
      if (!entry.status().Is(StatusCode::kNotFound)) return entry.status();
      transaction.Require(key, 0);
      transaction.Put(key, EncodeRecord(AccountRecord{account, Now()}));
    }
    transaction.Put(keys::Token(HashOf(token.text)), EncodeRecord(token.record));
    return Commit(&transaction);
  });
  if (!done.ok()) return done;
  return token;
}

Status ControllerState::RevokeToken(const std::string& id) {
  std::string after;
  while (true) {
    SNAP_ASSIGN_OR_RETURN(const StateListing page,
                          store_->List(keys::Token(""), after, kPageEntries));
    for (const StateEntry& entry : page.entries) {
      SNAP_ASSIGN_OR_RETURN(const auto record, DecodeRecord<TokenRecord>(entry.value, entry.key));
      if (record.id != id) continue;
      Transaction transaction;
      transaction.Delete(entry.key);
      return Commit(&transaction);
    }
    if (!page.more || page.entries.empty()) {
      return Status::NotFound(fmt::format("there is no token {}", id));
    }
    after = page.entries.back().key;
  }
}

Result<std::vector<TokenRecord>> ControllerState::ListTokens() {
  SNAP_ASSIGN_OR_RETURN(auto tokens, ListRecords<TokenRecord>(keys::Token("")));
  std::sort(tokens.begin(), tokens.end(), [](const TokenRecord& a, const TokenRecord& b) {
    return std::tie(a.created_at_ms, a.id) < std::tie(b.created_at_ms, b.id);
  });
  return tokens;
}

Result<TokenRecord> ControllerState::FindToken(std::string_view text) {
  // By its hash: how long the search takes says nothing about tokens that exist.
  auto record = GetRecord<TokenRecord>(keys::Token(HashOf(text)), nullptr);
  if (!record.ok()) {
    if (!record.status().Is(StatusCode::kNotFound)) return record.status();
    return Status::PermissionDenied("the token is unknown");
  }
  if (record->expires_at_ms && *record->expires_at_ms <= Now()) {
    return Status::PermissionDenied("the token has expired");
  }
  return record;
}

Result<ConfigRecord> ControllerState::CreateConfig(const std::string& account,
                                                   const PersistencyConfig& config) {
  ConfigRecord record;
  const Status done = Retry([&]() -> Status {
    const int64_t now = Now();
    record = {sources_.new_id(IdPrefix::kConfig), account, config, 0, now, now};
    Transaction transaction;
    const std::string key = keys::Configs(account) + record.id;
    transaction.Require(key, 0);
    transaction.Put(key, EncodeRecord(record));
    return Commit(&transaction);
  });
  if (!done.ok()) return done;
  return record;
}

Result<ConfigRecord> ControllerState::GetConfig(const std::string& account, const std::string& id) {
  return GetRecord<ConfigRecord>(keys::Configs(account) + id, nullptr);
}

Result<std::vector<ConfigRecord>> ControllerState::ListConfigs(const std::string& account) {
  return ListRecords<ConfigRecord>(keys::Configs(account));
}

Result<ConfigRecord> ControllerState::ChangeConfig(
    const std::string& account, const std::string& id,
    const std::function<Status(ConfigRecord*)>& change) {
  return ChangeRecord<ConfigRecord>(keys::Configs(account) + id,
                                    [&](ConfigRecord* record, Transaction*) {
                                      record->updated_at_ms = Now();
                                      return change(record);
                                    });
}

Status ControllerState::DeleteConfig(const std::string& account, const std::string& id) {
  const std::string key = keys::Configs(account) + id;
  return Retry([&]() -> Status {
    uint64_t revision = 0;
    SNAP_ASSIGN_OR_RETURN(const auto record, GetRecord<ConfigRecord>(key, &revision));
    if (record.users > 0) {
      return Status::InvalidArgument(fmt::format("{} is in use: {} stateful node{} to it", id,
                                                 record.users,
                                                 record.users == 1 ? " refers" : "s refer"));
    }
    Transaction transaction;
    transaction.Require(key, revision);
    transaction.Delete(key);
    return Commit(&transaction);
  });
}

Result<std::vector<Event>> ControllerState::ListEvents(const std::string& account,
                                                       const std::string& node, int64_t after,
                                                       size_t limit) {
  return ListNumbered<Event>(keys::Events(account, node), after, limit);
}

Status ControllerState::PutUsage(const std::string& account, const std::string& node,
                                 const UsageRecord& usage) {
  Transaction transaction;
  transaction.Put(keys::Numbered(keys::Usage(account, node), usage.started_at_ms),
                  EncodeRecord(usage));
  return Commit(&transaction);
}

Result<UsageRecord> ControllerState::OpenUsage(const std::string& account, const std::string& node,
                                               int64_t since_ms) {
  SNAP_ASSIGN_OR_RETURN(const auto stretches, ListUsage(account, node, since_ms));
  for (auto usage = stretches.rbegin(); usage != stretches.rend(); ++usage) {
    if (!usage->ended_at_ms) return *usage;
  }
  return Status::NotFound(node + " has nothing that runs");
}

Status ControllerState::ChangeUsage(const std::string& account, const std::string& node,
                                    int64_t started_at_ms,
                                    const std::function<Status(UsageRecord*)>& change) {
  const std::string prefix = keys::Usage(account, node);
  const auto apply = [&](UsageRecord* usage, Transaction* transaction) -> Status {
    SNAP_RETURN_IF_ERROR(change(usage));
    if (const auto next = SplitUsage(usage)) {
      PutRecord(keys::Numbered(prefix, next->started_at_ms), *next, transaction);
    }
    return {};
  };
  return ChangeRecord<UsageRecord>(keys::Numbered(prefix, started_at_ms), apply).status();
}

Result<std::vector<UsageRecord>> ControllerState::ListUsage(const std::string& account,
                                                            const std::string& node,
                                                            int64_t since_ms) {
  const std::string prefix = keys::Usage(account, node);
  std::string after = since_ms > 0 ? keys::Numbered(prefix, since_ms - 1) : "";
  std::vector<UsageRecord> all;
  while (true) {
    SNAP_ASSIGN_OR_RETURN(const StateListing page, store_->List(prefix, after, kPageEntries));
    for (const StateEntry& entry : page.entries) {
      // The newest is looked at every hour.
      SNAP_ASSIGN_OR_RETURN(const auto usage,
                            CacheOf<UsageRecord>().Decode(entry.key, entry.value));
      all.push_back(*usage);
    }
    if (!page.more || page.entries.empty()) return all;
    after = page.entries.back().key;
  }
}

Result<MigrationRecord> ControllerState::CreateMigration(const std::string& account,
                                                         const MigrationRequest& request,
                                                         bool as_group) {
  MigrationRecord record;
  const Status done = Retry([&]() -> Status {
    record = {};
    record.id = sources_.new_id(IdPrefix::kMigration);
    record.account_id = account;
    record.node_id = sources_.new_id(IdPrefix::kNode);
    record.operation_id = sources_.new_id(IdPrefix::kOperation);
    record.request = request;
    record.state = "MIGRATE_START";
    record.created_at_ms = record.updated_at_ms = Now();
    Operation operation;
    operation.id = record.operation_id;
    operation.account_id = account;
    operation.node_id = record.node_id;
    operation.kind = OperationKind::kImport;
    operation.trigger = "api";
    operation.input = {{"migrationId", record.id}};
    operation.sequence = 1;
    operation.created_at_ms = operation.updated_at_ms = record.created_at_ms;
    Transaction transaction;
    if (as_group) {
      record.group_id = sources_.new_id(IdPrefix::kGroup);
      record.stateful_instance_id = sources_.new_id(IdPrefix::kStatefulInstance);
      const std::string group = keys::Group(account, *record.group_id);
      transaction.Require(group, 0);
      transaction.Put(group, record.id);
    }
    const std::string key = keys::Migrations(account) + record.id;
    transaction.Require(key, 0);
    transaction.Require(keys::Nodes(account) + record.node_id, 0);
    transaction.Put(key, EncodeRecord(record));
    transaction.Put(keys::ActiveOperation(operation.id), EncodeRecord(operation));
    return Commit(&transaction);
  });
  if (!done.ok()) return done;
  return record;
}

Result<MigrationRecord> ControllerState::GetMigration(const std::string& account,
                                                      const std::string& id) {
  return GetRecord<MigrationRecord>(keys::Migrations(account) + id, nullptr);
}

Result<MigrationRecord> ControllerState::MigrationOfGroup(const std::string& account,
                                                          const std::string& group) {
  SNAP_ASSIGN_OR_RETURN(const StateEntry entry, store_->Get(keys::Group(account, group)));
  return GetMigration(account, entry.value);
}

Result<MigrationRecord> ControllerState::ChangeMigration(
    const std::string& account, const std::string& id,
    const std::function<Status(MigrationRecord*)>& change) {
  return ChangeRecord<MigrationRecord>(keys::Migrations(account) + id,
                                       [&](MigrationRecord* record, Transaction*) {
                                         record->updated_at_ms = Now();
                                         return change(record);
                                       });
}

}  // namespace snapstore::spot
