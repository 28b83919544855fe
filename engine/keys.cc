#include "snapstore/keys.h"

#include <algorithm>

#include "base/clock.h"
#include "base/host_name.h"
#include "base/status_macros.h"
#include "engine/repository_impl.h"

namespace snapstore {
namespace {

constexpr size_t kKeyDigitsMin = 4;

Status NeedEncrypted(const RepositoryImpl& repository) {
  if (repository.encrypted()) return {};
  return Status::Unsupported("the repository is not encrypted and has no keys");
}

KeyInfo InfoOf(const RepositoryImpl& repository, const StoredKey& key) {
  KeyInfo info;
  info.id = key.id.ToHex();
  info.damage = key.damage;
  info.current = key.id == repository.opened_key().id;
  if (!key.slot.has_value()) return info;
  info.kind = key.slot->kind;
  Result<KeyAbout> about = key.slot->About(repository.sealer());
  if (!about.ok()) {
    info.damage = about.status();
    return info;
  }
  info.label = std::move(about->label);
  info.host = std::move(about->host);
  info.created = std::move(about->created);
  return info;
}

KeyRing RingOf(RepositoryImpl& repository) { return {&repository.store(), repository.config().id}; }

}  // namespace

Result<std::vector<KeyInfo>> ListKeys(Repository& repository) {
  RepositoryImpl& impl = RepositoryImpl::Of(repository);
  SNAP_RETURN_IF_ERROR(NeedEncrypted(impl));
  SNAP_ASSIGN_OR_RETURN(const std::vector<StoredKey> keys, RingOf(impl).Read());
  std::vector<KeyInfo> infos;
  infos.reserve(keys.size());
  for (const StoredKey& key : keys) infos.push_back(InfoOf(impl, key));
  std::sort(infos.begin(), infos.end(), [](const KeyInfo& a, const KeyInfo& b) {
    return std::make_tuple(!a.damage.ok(), std::string_view(a.created), std::string_view(a.id)) <
           std::make_tuple(!b.damage.ok(), std::string_view(b.created), std::string_view(b.id));
  });
  return infos;
}

Result<KeyInfo> AddKey(Repository& repository, const Credential& credential,
                       const std::string& label) {
  RepositoryImpl& impl = RepositoryImpl::Of(repository);
  SNAP_RETURN_IF_ERROR(NeedEncrypted(impl));
  const KeyAbout about{label, HostName(), FormatTime(WallNanos())};
  SNAP_ASSIGN_OR_RETURN(const StoredKey added, RingOf(impl).Add(impl.sealer(), credential, about));
  return InfoOf(impl, added);
}

Result<std::string> RemoveKey(Repository& repository, const std::string& id) {
  RepositoryImpl& impl = RepositoryImpl::Of(repository);
  SNAP_RETURN_IF_ERROR(NeedEncrypted(impl));
  if (id.size() < kKeyDigitsMin) {
    return Status::InvalidArgument("'" + id +
                                   "' is not a key: give at least four digits of its id");
  }
  KeyRing ring = RingOf(impl);
  SNAP_ASSIGN_OR_RETURN(const std::vector<StoredKey> keys, ring.Read());
  std::vector<Digest> found;
  for (const StoredKey& key : keys) {
    if (key.id.ToHex().starts_with(id)) found.push_back(key.id);
  }
  if (found.empty()) return Status::NotFound("no key '" + id + "'");
  if (found.size() > 1) return Status::InvalidArgument("key '" + id + "' is ambiguous");
  const OpenedKey opened = impl.opened_key();
  const std::string hex = found.front().ToHex();
  if (found.front() == opened.id) {
    return Status::InvalidArgument("key " + hex + " opened the repository just now; " +
                                   (keys.size() == 1
                                        ? "it is the only one, without which nothing could be read"
                                        : "open it with another key to remove this one"));
  }
  SNAP_RETURN_IF_ERROR(ring.Remove(found.front(), opened));
  return hex;
}

Result<KeyInfo> RotateKey(Repository& repository, const Credential& credential,
                          const std::string& label) {
  RepositoryImpl& impl = RepositoryImpl::Of(repository);
  SNAP_RETURN_IF_ERROR(NeedEncrypted(impl));
  KeyRing ring = RingOf(impl);
  KeyAbout about{label, HostName(), FormatTime(WallNanos())};
  const OpenedKey old = impl.opened_key();
  if (label.empty()) {
    SNAP_ASSIGN_OR_RETURN(const KeySlot slot, KeySlot::Decode(old.object));
    if (const Result<KeyAbout> was = slot.About(impl.sealer()); was.ok()) about.label = was->label;
  }
  SNAP_ASSIGN_OR_RETURN(const StoredKey added, ring.Add(impl.sealer(), credential, about));
  const OpenedKey opened{added.id, added.object, impl.sealer().master_key()};
  Status removed = ring.Remove(old.id, opened);
  // Removed by somebody else already: what was wanted.
  if (!removed.ok() && !removed.Is(StatusCode::kNotFound)) return removed;
  impl.SetOpenedKey(opened);
  return InfoOf(impl, added);
}

}  // namespace snapstore
