#include "engine/key_ring.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/format.h"
#include "engine/reread.h"

namespace snapstore {
namespace {

Result<KeySlot> DecodeNamed(const Digest& id, ByteSpan object) {
  if (Sha256::Of(object) != id) return Status::Corruption("key slot does not match its name");
  return KeySlot::Decode(object);
}

Status NoneFits(const Credential& credential, size_t tried, size_t damaged) {
  const bool password = credential.kind == Credential::Kind::kPassword;
  std::string message = password ? "wrong password" : "wrong key file";
  message += fmt::format(": it opens none of the repository's {} key{} of this kind", tried,
                         tried == 1 ? "" : "s");
  if (damaged > 0) message += fmt::format("; {} more could not be tried, being damaged", damaged);
  return Status::WrongKey(message);
}

}  // namespace

Result<std::vector<Digest>> KeyRing::List() {
  std::vector<Digest> ids;
  SNAP_RETURN_IF_ERROR(store_.List(kKeyPrefix, [&](const ObjectInfo& object) {
    if (Result<Digest> id = DigestOfKey(object.key); id.ok()) ids.push_back(*id);
    return Status();
  }));
  std::sort(ids.begin(), ids.end());
  return ids;
}

Result<std::vector<StoredKey>> KeyRing::Read() {
  SNAP_ASSIGN_OR_RETURN(const std::vector<Digest> ids, List());
  if (ids.size() > kKeySlotsMax) {
    return Status::Corruption(
        fmt::format("{} objects below keys/; at most {} make sense", ids.size(), kKeySlotsMax));
  }
  std::vector<StoredKey> keys;
  for (const Digest& id : ids) {
    StoredKey key{.id = id};
    Result<Bytes> object = store_.Get(KeySlotKey(id), kKeySlotBytesMax);
    if (object.status().Is(StatusCode::kNotFound)) continue;  // removed a moment ago
    if (object.ok()) {
      Result<KeySlot> slot = DecodeNamed(id, *object);
      if (slot.ok() && slot->repository != repository_) continue;
      if (slot.ok()) key.slot = std::move(*slot);
      key.damage = slot.status();
      key.object = std::move(*object);
    } else {
      const bool too_large = object.status().Is(StatusCode::kInvalidArgument);
      key.damage = too_large ? Status::Corruption("key slot is too large") : object.status();
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

Result<OpenedKey> KeyRing::Open(const Credential& credential) {
  SNAP_RETURN_IF_ERROR(credential.Check());
  SNAP_ASSIGN_OR_RETURN(std::vector<StoredKey> keys, Read());
  Status unreachable;
  size_t damaged = 0;
  size_t tried = 0;
  for (StoredKey& key : keys) {
    if (!key.slot.has_value()) {
      ++damaged;
      const bool read =
          key.damage.Is(StatusCode::kCorruption) || key.damage.Is(StatusCode::kUnsupported);
      if (!read) unreachable = key.damage.WithContext("key " + key.id.ToHex());
      continue;
    }
    if (key.slot->kind != credential.kind) continue;
    ++tried;
    Result<Secret> master = key.slot->Open(credential);
    if (master.ok()) return OpenedKey{key.id, std::move(key.object), std::move(*master)};
    if (!master.status().Is(StatusCode::kWrongKey)) return master.status();
  }
  SNAP_RETURN_IF_ERROR(unreachable);
  if (keys.empty()) return Status::Corruption("the repository is encrypted, but has no key");
  if (damaged == keys.size()) {
    return keys.front().damage.WithContext("no key of the repository can be used");
  }
  return NoneFits(credential, tried, damaged);
}

Result<StoredKey> KeyRing::Add(const Sealer& sealer, const Credential& credential,
                               const KeyAbout& about, const ScryptCost& cost) {
  SNAP_ASSIGN_OR_RETURN(const std::vector<Digest> present, List());
  if (present.size() >= kKeySlotsMax) {
    return Status::InvalidArgument(
        fmt::format("the repository has {} keys already; remove one first", present.size()));
  }
  SNAP_ASSIGN_OR_RETURN(const KeySlot slot, KeySlot::Make(sealer, credential, about, cost));
  StoredKey key;
  key.object = slot.Encode();
  key.id = Sha256::Of(key.object);
  const ByteSpan parts[] = {key.object};
  const std::string name = "key " + key.id.ToHex();
  const auto put = store_.PutIfAbsent(KeySlotKey(key.id), parts);
  if (!put.ok()) return put.status().WithContext("store " + name);
  // A key is relied upon when all else is lost: better to find out now.
  const Result<Bytes> stored = GetNamed(store_, KeySlotKey(key.id), kKeySlotBytesMax);
  if (!stored.ok()) return stored.status().WithContext("read back " + name);
  Result<KeySlot> decoded = DecodeNamed(key.id, *stored);
  if (!decoded.ok()) return decoded.status().WithContext("read back " + name);
  const Result<Secret> master = decoded->Open(credential);
  if (!master.ok() || master->view() != sealer.master_key().view()) {
    return Status::Internal(name + " does not open what it was made for");
  }
  key.slot = std::move(*decoded);
  return key;
}

Status KeyRing::Remove(const Digest& id, const OpenedKey& kept) {
  SNAP_CHECK(id != kept.id);
  SNAP_RETURN_IF_ERROR(store_.Delete(KeySlotKey(id)).WithContext("remove key " + id.ToHex()));
  SNAP_ASSIGN_OR_RETURN(const std::vector<Digest> left, List());
  if (std::binary_search(left.begin(), left.end(), kept.id)) return {};
  const ByteSpan parts[] = {kept.object};
  const auto put = store_.PutIfAbsent(KeySlotKey(kept.id), parts);
  if (!put.ok()) return put.status().WithContext("put back key " + kept.id.ToHex());
  return Status::Conflict("somebody else removed key " + kept.id.ToHex() +
                          " meanwhile, which opened the repository here; it was put back");
}

}  // namespace snapstore
