// KeyRing: the key slots of one encrypted repository, as objects of its store.
//
// Slots are immutable objects like all others, and any number of processes may add and remove them
// at once. None can take the last one away: a slot may only be removed by a process that was opened
// by another one, and which looks afterwards whether that one is still there and else puts it back.
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_KEY_RING_H_
#define SNAPSTORE_ENGINE_KEY_RING_H_

#include <optional>
#include <string_view>
#include <vector>

#include "base/sha256.h"
#include "engine/key_slot.h"
#include "engine/sealer.h"
#include "uploader/object_store.h"

namespace snapstore {

// More slots than anybody has: each may have to be tried, and trying one takes time.
inline constexpr size_t kKeySlotsMax = 64;

struct StoredKey {
  Digest id = {};
  Bytes object = {};
  std::optional<KeySlot> slot = std::nullopt;  // empty when it could not be decoded
  Status damage = {};                          // why
};

struct OpenedKey {
  Digest id;
  Bytes object;
  Secret master_key;
};

class KeyRing {
 public:
  // `store` must outlive the ring.
  KeyRing(ObjectStore* store, const RepositoryId& repository)
      : store_(*store), repository_(repository) {}

  // All slots but those of another repository, which an `init` that was killed may have left.
  // Corruption when there are more than kKeySlotsMax.
  Result<std::vector<StoredKey>> Read();

  // The slot that the credential opens. WrongKey when there is none, Corruption when there is no
  // slot that is whole; an error of the store when one that was not reached might have been it.
  Result<OpenedKey> Open(const Credential& credential);

  // Stores a slot and reads it back: what it returns is durable and opened by the credential.
  Result<StoredKey> Add(const Sealer& sealer, const Credential& credential, const KeyAbout& about,
                        const ScryptCost& cost = {});

  // Removes a slot, then makes sure that `kept` is still there: Conflict when it had to be put
  // back. REQUIRES: kept.id != id.
  Status Remove(const Digest& id, const OpenedKey& kept);

 private:
  Result<std::vector<Digest>> List();

  ObjectStore& store_;
  const RepositoryId repository_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_KEY_RING_H_
