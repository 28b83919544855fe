// How repositories come into being and are opened.
#include "base/host_name.h"
#include "base/memory_limit.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "engine/repository_impl.h"
#include "engine/reread.h"
#include "uploader/open_store.h"

namespace snapstore {
namespace {

// Parsed leaves of entry lists that are kept, for readers that ask for entries one by one.
constexpr size_t kEntryLeavesBytes = 2 << 20;
Result<std::unique_ptr<ObjectStore>> OpenRepositoryStore(const RepositoryOptions& options,
                                                         bool create) {
  return OpenStore(
      options.location,
      {.create = create, .settings = options.store_settings, .cancelled = options.cancelled});
}

// What the caller gave, or is asked for now.
Result<Credential> CredentialFor(const RepositoryOptions& options) {
  if (options.credential.has_value()) return *options.credential;
  if (options.ask_credential != nullptr) return options.ask_credential();
  return Status::WrongKey(
      "an encrypted repository needs a password (SNAPSTORE_PASSWORD, SNAPSTORE_PASSWORD_FILE) or a "
      "key file (SNAPSTORE_KEY_FILE)");
}

RepositoryOptions WithoutCredential(RepositoryOptions options) {
  options.credential.reset();
  options.ask_credential = nullptr;
  return options;
}

Secret NewMasterKey() {
  Secret key = Secret::OfSize(XaesGcm::kKeyBytes);
  SecureRandom({reinterpret_cast<uint8_t*>(key.data()), key.size()});
  return key;
}

// After `object` was put as the configuration, or something was there: says whether it is what is
// there now. Conflict: that is somebody else's. Of any other failure it is not known.
Status ConfirmConfig(ObjectStore& store, const Bytes& object, const std::string& conflict) {
  const Result<RepositoryConfig> there = ReadAgainIfDamaged([&]() -> Result<RepositoryConfig> {
    SNAP_ASSIGN_OR_RETURN(const Bytes bytes, store.Get(ConfigKey(), kConfigBytesMax));
    if (bytes == object) return RepositoryConfig();
    SNAP_RETURN_IF_ERROR(RepositoryConfig::Decode(bytes).status());
    return Status::Conflict(conflict);
  });
  return there.status().Is(StatusCode::kConflict) ? there.status()
                                                  : there.status().WithContext("read back config");
}

}  // namespace

Status Repository::Init(const RepositoryOptions& options, const InitOptions& init) {
  if (options.credential.has_value() && !init.encrypt) {
    return Status::InvalidArgument(
        "a password or key is given, but the repository is not to be encrypted");
  }
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<ObjectStore> store,
                        OpenRepositoryStore(options, /*create=*/true));
  return RepositoryImpl::InitStore(*store, options, init);
}

Result<std::unique_ptr<Repository>> Repository::Open(const RepositoryOptions& options) {
  Result<std::unique_ptr<ObjectStore>> store = OpenRepositoryStore(options, /*create=*/false);
  if (store.status().Is(StatusCode::kNotFound)) {
    return Status::NotFound("no repository at " + options.location + ": " +
                            store.status().message());
  }
  if (!store.ok()) return store.status();
  SNAP_ASSIGN_OR_RETURN(std::unique_ptr<RepositoryImpl> repository,
                        RepositoryImpl::OpenWithStore(std::move(*store), options));
  return std::unique_ptr<Repository>(std::move(repository));
}

Status RepositoryImpl::InitStore(ObjectStore& store, const RepositoryOptions& options,
                                 const InitOptions& init, const ScryptCost& cost) {
  const Result<Bytes> existing = store.Get(ConfigKey(), kConfigBytesMax);
  if (existing.ok()) {
    return Status::Conflict("there is a repository at " + store.Describe() + " already");
  }
  if (!existing.status().Is(StatusCode::kNotFound)) return existing.status();
  // One object is enough to know that the place is in use.
  bool empty = true;
  Status listed = store.List("", [&](const ObjectInfo& object) {
    // Keys come before the configuration: what an init left that was killed between the two.
    if (object.key.starts_with(kKeyPrefix)) return Status();
    empty = false;
    return Status::Cancelled("");
  });
  if (!listed.ok() && !listed.Is(StatusCode::kCancelled)) return listed;
  if (!empty) {
    return Status::InvalidArgument(store.Describe() + " is not empty and is no repository");
  }
  RepositoryConfig config = RepositoryConfig::Generate();
  if (init.like != nullptr) {
    const RepositoryConfig& model = Of(*init.like).config();
    config.hash_secret = model.hash_secret;
    config.chunker_seed = model.chunker_seed;
  }
  Sealer sealer;
  std::optional<StoredKey> key;
  if (init.encrypt) {
    config.encrypted = true;
    SNAP_ASSIGN_OR_RETURN(const Credential credential, CredentialFor(options));
    sealer = Sealer(config.id, NewMasterKey());
    const KeyAbout about{init.key_label, HostName(), config.created};
    // Durable before the configuration: a repository that exists can be opened.
    SNAP_ASSIGN_OR_RETURN(key, KeyRing(&store, config.id).Add(sealer, credential, about, cost));
  }
  const Bytes object = config.Encode(sealer);
  const ByteSpan parts[] = {object};
  SNAP_ASSIGN_OR_RETURN(const PutOutcome outcome, store.PutIfAbsent(ConfigKey(), parts));
  // Where something was there, the server may have done what an earlier attempt asked for, and its
  // answer was lost. Where nothing was, one that knows no condition lets the later of two writers
  // win. The name says nothing about the content here, so look.
  std::string conflict = "somebody else made a repository at " + store.Describe();
  if (outcome == PutOutcome::kCreated) conflict += " at the same moment";
  Status confirmed = ConfirmConfig(store, object, conflict);
  // Only then nothing needs the key.
  if (confirmed.Is(StatusCode::kConflict) && key.has_value()) {
    (void)store.Delete(KeySlotKey(key->id));
  }
  return confirmed;
}

Result<std::unique_ptr<RepositoryImpl>> RepositoryImpl::OpenWithStore(
    std::unique_ptr<ObjectStore> store, const RepositoryOptions& options) {
  Result<RepositoryConfig> config = ReadAgainIfDamaged([&]() -> Result<RepositoryConfig> {
    SNAP_ASSIGN_OR_RETURN(const Bytes bytes, store->Get(ConfigKey(), kConfigBytesMax));
    return RepositoryConfig::Decode(bytes);
  });
  if (config.status().Is(StatusCode::kNotFound)) {
    return Status::NotFound("no repository at " + store->Describe() +
                            ": it has no object 'config'");
  }
  if (!config.ok()) return config.status().WithContext(store->Describe());
  OpenedKey key;
  if (config->encrypted) {
    SNAP_ASSIGN_OR_RETURN(const Credential credential, CredentialFor(options));
    Result<OpenedKey> opened = KeyRing(store.get(), config->id).Open(credential);
    if (!opened.ok()) return opened.status().WithContext(store->Describe());
    key = std::move(*opened);
    Status status = config->OpenSecrets(Sealer(config->id, key.master_key));
    SNAP_RETURN_IF_ERROR(status.WithContext(store->Describe()));
  } else if (options.credential.has_value()) {
    return Status::WrongKey(store->Describe() +
                            " is not encrypted, but a password or key is given for it");
  }
  return std::unique_ptr<RepositoryImpl>(
      new RepositoryImpl(std::move(store), *config, key, options));
}

RepositoryImpl::RepositoryImpl(std::unique_ptr<ObjectStore> store, const RepositoryConfig& config,
                               const OpenedKey& key, const RepositoryOptions& options)
    : store_(std::move(store)),
      config_(config),
      sealer_(config.encrypted ? Sealer(config.id, key.master_key) : Sealer()),
      options_(WithoutCredential(options)),
      id_(HexEncode(config.id)),
      location_(store_->Describe()),
      memory_(MemoryPlan::For(EffectiveMemoryLimit(options.memory_limit), options.threads,
                              store_->PutsAtOnce(), store_->GetsAtOnce())),
      entry_leaves_(kEntryLeavesBytes),
      opened_key_(key) {
  const LocateFn locate = [this](const ChunkId& id) -> Result<std::optional<ChunkLocation>> {
    SNAP_ASSIGN_OR_RETURN(ChunkIndex * index, Index());
    return index->Find(id);
  };
  FetchLimits limits = memory_.fetch_limits();
  if (options_.read_cache_bytes != 0) limits.cache_bytes = options_.read_cache_bytes;
  fetcher_ = std::make_unique<ChunkFetcher>(store_.get(), &sealer_, config_.hash_secret, locate,
                                            limits, options_.cancelled);
  // A prune may have moved chunks since the index was brought up to date.
  fetcher_->set_refresh([this] { return SyncIndex(nullptr); },
                        [this] { return ReloadIndexOnce(); });
}

}  // namespace snapstore
