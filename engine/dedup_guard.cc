#include "engine/dedup_guard.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

// Listed one by one; then all at once, a thousand names a request.
constexpr size_t kFoldersSingly = 16;
// 32 bytes each.
constexpr size_t kPresentMax = 1 << 18;

uint64_t Short(const PackId& pack) { return LoadLe<uint64_t>(pack.bytes.data()); }

std::string_view PrefixOf(PackKind kind) {
  return kind == PackKind::kData ? kDataPrefix : kMetaPrefix;
}

}  // namespace

Result<bool> DedupGuard::MayReferTo(PackKind kind, const PackId& pack) {
  if (IsCondemned(pack)) return false;
  const std::lock_guard lock(mutex_);
  SNAP_ASSIGN_OR_RETURN(const bool present, IsPresent(kind, pack));
  if (present) return true;
  // Equal bytes are one chunk, so metadata may lie in a data pack and the other way round.
  return IsPresent(kind == PackKind::kData ? PackKind::kMeta : PackKind::kData, pack);
}

Result<bool> DedupGuard::IsPresent(PackKind kind, const PackId& pack) {
  if (present_.contains(Short(pack))) return true;
  Listed& done = listed(kind);
  const uint8_t folder = pack.bytes[0];
  if (done.all || done.folders.contains(folder)) return false;
  if (done.folders.size() >= kFoldersSingly && !done.too_many) {
    SNAP_RETURN_IF_ERROR(ListAll(kind));
    if (done.all) return present_.contains(Short(pack));
  }
  if (present_.size() >= kPresentMax) {
    present_.clear();
    for (Listed& each : listed_) each = {{}, false, each.too_many};
  }
  SNAP_RETURN_IF_ERROR(ListFolder(kind, folder));
  return present_.contains(Short(pack));
}

Status DedupGuard::ListFolder(PackKind kind, uint8_t folder) {
  const std::string prefix = fmt::format("{}{:02x}/", PrefixOf(kind), folder);
  SNAP_RETURN_IF_ERROR(store_->List(prefix, [this](const ObjectInfo& object) {
    if (Result<Digest> id = DigestOfKey(object.key); id.ok()) present_.insert(Short(*id));
    return Status();
  }));
  listed(kind).folders.insert(folder);
  return {};
}

Status DedupGuard::ListAll(PackKind kind) {
  Listed& done = listed(kind);
  Status all = store_->List(PrefixOf(kind), [&](const ObjectInfo& object) {
    if (Result<Digest> id = DigestOfKey(object.key); id.ok()) present_.insert(Short(*id));
    done.too_many = present_.size() >= kPresentMax;
    return done.too_many ? Status::Cancelled("") : Status();
  });
  if (done.too_many) return {};
  done.all = all.ok();
  return all;
}

void DedupGuard::OnStored(const PackId& pack) {
  const std::lock_guard lock(mutex_);
  present_.insert(Short(pack));
}

}  // namespace snapstore
