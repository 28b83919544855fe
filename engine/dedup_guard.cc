#include "engine/dedup_guard.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/status_macros.h"

namespace snapstore {
namespace {

// Listed one by one; then all at once, a thousand names a request.
constexpr size_t kFoldersSingly = 16;

uint64_t Short(const PackId& pack) { return LoadLe<uint64_t>(pack.bytes.data()); }

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
  if (stored_.contains(Short(pack))) return true;
  Kind& packs = of(kind);
  const Folder& folder = packs.folders[pack.bytes[0]];
  if (!folder.listed && packs.listings >= kFoldersSingly && !packs.too_many) {
    SNAP_RETURN_IF_ERROR(ListAll(kind));
  }
  if (!folder.listed) SNAP_RETURN_IF_ERROR(ListFolder(kind, pack.bytes[0]));
  return std::binary_search(folder.packs.begin(), folder.packs.end(), Short(pack));
}

Status DedupGuard::ListFolder(PackKind kind, uint8_t folder) {
  Folder& into = of(kind).folders[folder];
  const std::string prefix = fmt::format("{}{:02x}/", PackPrefix(kind), folder);
  Status listed = store_->List(prefix, [&](const ObjectInfo& object) {
    if (Result<Digest> id = DigestOfKey(object.key); id.ok()) into.packs.push_back(Short(*id));
    return Status();
  });
  if (!listed.ok()) {
    into.packs.clear();
    return listed;
  }
  ++of(kind).listings;
  Keep(&into);
  return {};
}

Status DedupGuard::ListAll(PackKind kind) {
  Kind& packs = of(kind);
  for (Folder& folder : packs.folders) Drop(&folder);
  std::erase_if(oldest_first_, [](const Folder* folder) { return !folder->listed; });
  size_t found = 0;
  const Status listed = store_->List(PackPrefix(kind), [&](const ObjectInfo& object) {
    const Result<Digest> id = DigestOfKey(object.key);
    if (!id.ok()) return Status();
    packs.folders[id->bytes[0]].packs.push_back(Short(*id));
    packs.too_many = held_ + ++found > held_max_;
    return packs.too_many ? Status::Cancelled("") : Status();
  });
  if (!listed.ok()) {
    for (Folder& folder : packs.folders) folder.packs = {};
    return packs.too_many ? Status() : listed;
  }
  for (Folder& folder : packs.folders) Keep(&folder);
  return {};
}

void DedupGuard::Keep(Folder* folder) {
  std::sort(folder->packs.begin(), folder->packs.end());
  folder->packs.shrink_to_fit();
  folder->listed = true;
  held_ += folder->packs.size();
  oldest_first_.push_back(folder);
  while (held_ > held_max_ && oldest_first_.size() > 1) {
    Drop(oldest_first_.front());
    oldest_first_.pop_front();
  }
}

void DedupGuard::Drop(Folder* folder) {
  if (!folder->listed) return;
  held_ -= folder->packs.size();
  *folder = {};
}

void DedupGuard::OnStored(const PackId& pack) {
  const std::lock_guard lock(mutex_);
  stored_.insert(Short(pack));
}

}  // namespace snapstore
