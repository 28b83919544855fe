#include "engine/config.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "engine/format.h"
#include "engine/json_line.h"

namespace snapstore {
namespace {

using nlohmann::json;

// Version 2 only says that a reader must know encryption.
constexpr uint64_t kVersionPlain = kFormatVersion;
constexpr uint64_t kVersionEncrypted = 2;
constexpr std::string_view kCipherName = "xaes-256-gcm";
constexpr size_t kSeedBytes = 8;
constexpr size_t kSecretsBytes = sizeof(HashSecret::bytes) + kSeedBytes;

// What the sealed secrets are bound to, besides the id.
Bytes ConfigAssociated(const std::string& created) {
  Bytes out;
  ByteWriter writer(&out);
  writer.U32(kVersionEncrypted);
  writer.Raw(AsBytes(created));
  return out;
}

void TakeSecrets(ByteSpan secrets, RepositoryConfig* config) {
  std::memcpy(config->hash_secret.bytes.data(), secrets.data(), sizeof(HashSecret::bytes));
  config->chunker_seed = LoadLe<uint64_t>(secrets.data() + sizeof(HashSecret::bytes));
}

Bytes SecretsOf(const RepositoryConfig& config) {
  Bytes out;
  ByteWriter writer(&out);
  writer.Raw(config.hash_secret.bytes);
  writer.U64(config.chunker_seed);
  return out;
}

Status DecodeFields(const json& object, RepositoryConfig* config) {
  SNAP_RETURN_IF_ERROR(JsonHex(object, "id", config->id));
  config->created = JsonText(object, "created");
  if (config->encrypted) {
    SNAP_ASSIGN_OR_RETURN(config->sealed_secrets, JsonHex(object, "sealed"));
    if (config->sealed_secrets.size() == kSecretsBytes + Sealer::kBoxOverhead) return {};
    return Status::Corruption("sealed: wrong length");
  }
  std::array<uint8_t, kSeedBytes> seed{};
  SNAP_RETURN_IF_ERROR(JsonHex(object, "hash_secret", config->hash_secret.bytes));
  SNAP_RETURN_IF_ERROR(JsonHex(object, "chunker_seed", seed));
  config->chunker_seed = LoadLe<uint64_t>(seed.data());
  return {};
}

}  // namespace

RepositoryConfig RepositoryConfig::Generate() {
  RepositoryConfig config;
  std::array<uint8_t, kSecretsBytes> secrets{};
  SecureRandom(config.id);
  SecureRandom(secrets);
  TakeSecrets(secrets, &config);
  config.created = FormatTime(WallNanos());
  return config;
}

Bytes RepositoryConfig::Encode(const Sealer& sealer) const {
  SNAP_CHECK(sealer.encrypted() == encrypted);
  const Bytes secrets = SecretsOf(*this);
  json object = {{"format", "snapstore"}, {"id", HexEncode(id)}, {"created", created}};
  if (encrypted) {
    object["version"] = kVersionEncrypted;
    object["encryption"] = kCipherName;
    object["sealed"] =
        HexEncode(sealer.SealBox(SealedKind::kConfig, ConfigAssociated(created), secrets));
  } else {
    object["version"] = kVersionPlain;
    object["hash_secret"] = HexEncode(hash_secret.bytes);
    object["chunker_seed"] = HexEncode(ByteSpan(secrets).last(kSeedBytes));
  }
  return EncodeJsonLine(object);
}

Result<RepositoryConfig> RepositoryConfig::Decode(ByteSpan bytes) {
  constexpr std::string_view kWhat = "repository configuration";
  SNAP_ASSIGN_OR_RETURN(const json object,
                        DecodeJsonLine(bytes, "snapstore", kVersionEncrypted, kWhat));
  RepositoryConfig config;
  config.encrypted = object["version"].get<uint64_t>() == kVersionEncrypted;
  if (config.encrypted && JsonText(object, "encryption") != kCipherName) {
    return Status::Unsupported("repository configuration: encryption '" +
                               JsonText(object, "encryption") + "' is newer than this program");
  }
  if (Status status = DecodeFields(object, &config); !status.ok()) {
    return Status::Corruption("repository configuration: " + status.message());
  }
  return config;
}

Status RepositoryConfig::OpenSecrets(const Sealer& sealer) {
  SNAP_CHECK(encrypted && sealer.encrypted());
  const Result<Bytes> secrets =
      sealer.OpenBox(SealedKind::kConfig, ConfigAssociated(created), sealed_secrets);
  if (!secrets.ok()) return secrets.status().WithContext("repository configuration");
  TakeSecrets(*secrets, this);
  return {};
}

}  // namespace snapstore
