#include "engine/format.h"

namespace snapstore {

ObjectKey ConfigKey() { return ObjectKey(std::string(kConfigName)); }

std::string_view PackPrefix(PackKind kind) {
  return kind == PackKind::kData ? kDataPrefix : kMetaPrefix;
}

ObjectKey PackKey(PackKind kind, const PackId& id) {
  const std::string hex = id.ToHex();
  return ObjectKey(std::string(PackPrefix(kind)) + hex.substr(0, 2) + "/" + hex);
}

ObjectKey SegmentKey(const Digest& id) {
  return ObjectKey(std::string(kSegmentPrefix) + id.ToHex());
}

ObjectKey ManifestKey(const Digest& id) {
  return ObjectKey(std::string(kManifestPrefix) + id.ToHex());
}

ObjectKey KeySlotKey(const Digest& id) { return ObjectKey(std::string(kKeyPrefix) + id.ToHex()); }

Result<Digest> DigestOfKey(std::string_view key) {
  const size_t slash = key.rfind('/');
  return Digest::FromHex(slash == std::string_view::npos ? key : key.substr(slash + 1));
}

}  // namespace snapstore
