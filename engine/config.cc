#include "engine/config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "engine/format.h"

namespace snapstore {
namespace {

using nlohmann::json;

// The object is one line of JSON, then one line with the SHA-256 of the first, both ended by '\n'.
constexpr size_t kDigestLineBytes = 65;

// Empty when there is no such text.
std::string TextField(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

Status DecodeFields(const json& object, RepositoryConfig* config) {
  const auto text = [&](const char* key) { return TextField(object, key); };
  std::array<uint8_t, 8> seed{};
  SNAP_RETURN_IF_ERROR(HexDecode(text("id"), config->id).WithContext("id"));
  SNAP_RETURN_IF_ERROR(
      HexDecode(text("hash_secret"), config->hash_secret.bytes).WithContext("hash_secret"));
  SNAP_RETURN_IF_ERROR(HexDecode(text("chunker_seed"), seed).WithContext("chunker_seed"));
  config->chunker_seed = LoadLe<uint64_t>(seed.data());
  config->created = text("created");
  return {};
}

}  // namespace

RepositoryConfig RepositoryConfig::Generate() {
  RepositoryConfig config;
  std::array<uint8_t, 8> seed{};
  SecureRandom(config.id);
  SecureRandom(config.hash_secret.bytes);
  SecureRandom(seed);
  config.chunker_seed = LoadLe<uint64_t>(seed.data());
  config.created = FormatTime(WallNanos());
  return config;
}

Bytes RepositoryConfig::Encode() const {
  std::array<uint8_t, 8> seed{};
  StoreLe(seed.data(), chunker_seed);
  const json object = {{"format", "snapstore"},
                       {"version", kFormatVersion},
                       {"id", HexEncode(id)},
                       {"created", created},
                       {"hash_secret", HexEncode(hash_secret.bytes)},
                       {"chunker_seed", HexEncode(seed)}};
  const std::string line = object.dump() + "\n";
  const std::string whole = line + Sha256::Of(AsBytes(line)).ToHex() + "\n";
  const ByteSpan bytes = AsBytes(whole);
  return {bytes.begin(), bytes.end()};
}

Result<RepositoryConfig> RepositoryConfig::Decode(ByteSpan bytes) {
  if (bytes.size() <= kDigestLineBytes) {
    return Status::Corruption("repository configuration is cut short");
  }
  const ByteSpan line = bytes.first(bytes.size() - kDigestLineBytes);
  const std::string digest_line = Sha256::Of(line).ToHex() + "\n";
  if (AsText(bytes.last(kDigestLineBytes)) != digest_line) {
    return Status::Corruption("repository configuration does not match its checksum");
  }
  const json object = json::parse(AsText(line), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || TextField(object, "format") != "snapstore") {
    return Status::Corruption("repository configuration is not snapstore's");
  }
  const auto version = object.find("version");
  if (version == object.end() || !version->is_number_unsigned()) {
    return Status::Corruption("repository configuration has no version");
  }
  if (version->get<uint64_t>() != kFormatVersion) {
    return Status::Unsupported(
        fmt::format("repository format {} is newer than this program", version->get<uint64_t>()));
  }
  RepositoryConfig config;
  if (Status status = DecodeFields(object, &config); !status.ok()) {
    return Status::Corruption("repository configuration: " + status.message());
  }
  return config;
}

}  // namespace snapstore
