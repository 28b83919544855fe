#include "engine/key_slot.h"

#include "base/check.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "engine/json_line.h"

namespace snapstore {
namespace {

using nlohmann::json;

constexpr uint64_t kKeySlotVersion = 1;
constexpr std::string_view kSlotFormatName = "snapstore-key";
constexpr std::string_view kHkdfInfo = "snapstore key file";
constexpr size_t kAboutBytesMax = 16 << 10;

std::string_view KindName(Credential::Kind kind) {
  return kind == Credential::Kind::kPassword ? "scrypt" : "file";
}

// A number of a slot; 0, which no cost is, when there is none.
uint64_t NumberField(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<uint64_t>() : 0;
}

// What seals the master key.
Result<Sealer> SlotSealer(const KeySlot& slot, const Credential& credential) {
  if (slot.kind == Credential::Kind::kKeyFile) {
    return Sealer(slot.repository,
                  HkdfSha256(credential.secret, slot.salt, kHkdfInfo, XaesGcm::kKeyBytes));
  }
  SNAP_ASSIGN_OR_RETURN(const Secret key,
                        Scrypt(credential.secret, slot.salt, slot.cost, XaesGcm::kKeyBytes));
  return Sealer(slot.repository, key);
}

}  // namespace

Result<KeySlot> KeySlot::Make(const Sealer& sealer, const Credential& credential,
                              const KeyAbout& about, const ScryptCost& cost) {
  SNAP_CHECK(sealer.encrypted() && cost.Check().ok());
  SNAP_RETURN_IF_ERROR(credential.Check());
  KeySlot slot;
  slot.kind = credential.kind;
  slot.repository = sealer.repository();
  slot.cost = cost;
  SecureRandom(slot.salt);
  SNAP_ASSIGN_OR_RETURN(const Sealer wrapper, SlotSealer(slot, credential));
  slot.sealed_key = wrapper.SealBox(SealedKind::kKey, AsBytes(KindName(slot.kind)),
                                    AsBytes(sealer.master_key().view()));
  const json text = {{"label", about.label}, {"host", about.host}, {"created", about.created}};
  // Names are any bytes; JSON is not.
  const std::string line = text.dump(-1, ' ', false, json::error_handler_t::replace);
  if (line.size() > kAboutBytesMax) return Status::InvalidArgument("the label is too long");
  slot.sealed_about = sealer.SealBox(SealedKind::kKeyAbout, slot.sealed_key, AsBytes(line));
  return slot;
}

Bytes KeySlot::Encode() const {
  json object = {{"format", kSlotFormatName},
                 {"version", kKeySlotVersion},
                 {"repository", HexEncode(repository)},
                 {"kind", KindName(kind)},
                 {"salt", HexEncode(salt)},
                 {"key", HexEncode(sealed_key)},
                 {"about", HexEncode(sealed_about)}};
  if (kind == Credential::Kind::kPassword) {
    object["n"] = cost.n;
    object["r"] = cost.r;
    object["p"] = cost.p;
  }
  return EncodeJsonLine(object);
}

Result<KeySlot> KeySlot::Decode(ByteSpan bytes) {
  constexpr std::string_view kWhat = "key slot";
  SNAP_ASSIGN_OR_RETURN(const json object,
                        DecodeJsonLine(bytes, kSlotFormatName, kKeySlotVersion, kWhat));
  KeySlot slot;
  const std::string kind = JsonText(object, "kind");
  if (kind == KindName(Credential::Kind::kKeyFile)) {
    slot.kind = Credential::Kind::kKeyFile;
  } else if (kind != KindName(Credential::Kind::kPassword)) {
    return Status::Unsupported("key slot: kind '" + kind + "' is newer than this program");
  }
  const auto decode = [&]() -> Status {
    SNAP_RETURN_IF_ERROR(JsonHex(object, "repository", slot.repository));
    SNAP_RETURN_IF_ERROR(JsonHex(object, "salt", slot.salt));
    SNAP_ASSIGN_OR_RETURN(slot.sealed_key, JsonHex(object, "key"));
    SNAP_ASSIGN_OR_RETURN(slot.sealed_about, JsonHex(object, "about"));
    if (slot.sealed_key.size() != XaesGcm::kKeyBytes + Sealer::kBoxOverhead) {
      return Status::Corruption("key: wrong length");
    }
    if (slot.kind == Credential::Kind::kKeyFile) return {};
    slot.cost = {NumberField(object, "n"), NumberField(object, "r"), NumberField(object, "p")};
    return slot.cost.Check();
  };
  if (Status status = decode(); !status.ok()) {
    return Status::Corruption("key slot: " + status.message());
  }
  return slot;
}

Result<Secret> KeySlot::Open(const Credential& credential) const {
  Status wrong = Status::WrongKey("the key does not fit");
  if (credential.kind != kind || !credential.Check().ok()) return wrong;
  SNAP_ASSIGN_OR_RETURN(const Sealer wrapper, SlotSealer(*this, credential));
  Secret master = Secret::OfSize(XaesGcm::kKeyBytes);
  const MutableByteSpan out(reinterpret_cast<uint8_t*>(master.data()), master.size());
  const ByteSpan clear = AsBytes(KindName(kind));
  if (!wrapper.OpenBoxInto(SealedKind::kKey, clear, sealed_key, out).ok()) return wrong;
  return master;
}

Result<KeyAbout> KeySlot::About(const Sealer& sealer) const {
  SNAP_ASSIGN_OR_RETURN(const Bytes line,
                        sealer.OpenBox(SealedKind::kKeyAbout, sealed_key, sealed_about));
  const json object = json::parse(AsText(line), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return Status::Corruption("key slot: not what was written");
  return KeyAbout{JsonText(object, "label"), JsonText(object, "host"), JsonText(object, "created")};
}

}  // namespace snapstore
