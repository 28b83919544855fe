#include "engine/json_line.h"

#include <fmt/format.h>

#include "base/sha256.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

constexpr size_t kDigestLineBytes = 65;

}  // namespace

Bytes EncodeJsonLine(const nlohmann::json& object) {
  const std::string line = object.dump() + "\n";
  const std::string whole = line + Sha256::Of(AsBytes(line)).ToHex() + "\n";
  const ByteSpan bytes = AsBytes(whole);
  return {bytes.begin(), bytes.end()};
}

Result<nlohmann::json> DecodeJsonLine(ByteSpan bytes, std::string_view format, uint64_t version_max,
                                      std::string_view what) {
  if (bytes.size() <= kDigestLineBytes) {
    return Status::Corruption(fmt::format("{} is cut short", what));
  }
  const ByteSpan line = bytes.first(bytes.size() - kDigestLineBytes);
  if (AsText(bytes.last(kDigestLineBytes)) != Sha256::Of(line).ToHex() + "\n") {
    return Status::Corruption(fmt::format("{} does not match its checksum", what));
  }
  nlohmann::json object = nlohmann::json::parse(AsText(line), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || JsonText(object, "format") != format) {
    return Status::Corruption(fmt::format("{} is not snapstore's", what));
  }
  const auto version = object.find("version");
  if (version == object.end() || !version->is_number_unsigned() || version->get<uint64_t>() == 0) {
    return Status::Corruption(fmt::format("{} has no version", what));
  }
  if (version->get<uint64_t>() > version_max) {
    return Status::Unsupported(
        fmt::format("{}: format {} is newer than this program", what, version->get<uint64_t>()));
  }
  return object;
}

std::string JsonText(const nlohmann::json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

Status JsonHex(const nlohmann::json& object, const char* key, MutableByteSpan out) {
  return HexDecode(JsonText(object, key), out).WithContext(key);
}

Result<Bytes> JsonHex(const nlohmann::json& object, const char* key) {
  const std::string hex = JsonText(object, key);
  Bytes out(hex.size() / 2);
  SNAP_RETURN_IF_ERROR(HexDecode(hex, out).WithContext(key));
  return out;
}

}  // namespace snapstore
