// KeySlot: one object below `keys/`: the master key, sealed with what a password or a key file
// gives. docs/format.md, "Key slot".
//
// Thread safety: a value.
#ifndef SNAPSTORE_ENGINE_KEY_SLOT_H_
#define SNAPSTORE_ENGINE_KEY_SLOT_H_

#include <array>
#include <string>

#include "base/bytes.h"
#include "base/key_derivation.h"
#include "engine/sealer.h"
#include "snapstore/credential.h"
#include "snapstore/status.h"

namespace snapstore {

inline constexpr size_t kKeySlotBytesMax = 64 << 10;

// What a slot says of itself to whoever has the master key.
struct KeyAbout {
  std::string label;
  std::string host;
  std::string created;  // RFC 3339
};

struct KeySlot {
  Credential::Kind kind = Credential::Kind::kPassword;
  RepositoryId repository{};
  std::array<uint8_t, 32> salt{};
  ScryptCost cost;     // of a password
  Bytes sealed_key;    // a box, with the key that the credential gives
  Bytes sealed_about;  // a box, with the master key

  // A new one for the master key of `sealer`. REQUIRES: sealer.encrypted(); the credential and the
  // cost are in order.
  static Result<KeySlot> Make(const Sealer& sealer, const Credential& credential,
                              const KeyAbout& about, const ScryptCost& cost);

  Bytes Encode() const;
  // Corruption when damaged or when opening it would take more memory or time than it may;
  // Unsupported when it is of a kind that this program does not know.
  static Result<KeySlot> Decode(ByteSpan bytes);

  // The master key. WrongKey when the credential does not give it.
  Result<Secret> Open(const Credential& credential) const;
  // Corruption when it is not of that master key.
  Result<KeyAbout> About(const Sealer& sealer) const;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_KEY_SLOT_H_
