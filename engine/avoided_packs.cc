// Packs that were found damaged or missing: what they hold is stored again.
#include <string>

#include "base/file.h"
#include "base/status_macros.h"
#include "engine/repository_impl.h"
#include "snapstore/repair.h"

namespace snapstore {
namespace {

constexpr const char* kAvoidedName = "/damaged-packs";
constexpr size_t kAvoidedBytesMax = 64 << 20;

}  // namespace

Status RepositoryImpl::LoadAvoidedLocked() {
  if (avoided_.has_value()) return {};
  SNAP_ASSIGN_OR_RETURN(const std::string folder, CacheFolder());
  const Result<Bytes> bytes = ReadWholeFile(folder + kAvoidedName, kAvoidedBytesMax);
  if (!bytes.ok() && !bytes.status().Is(StatusCode::kNotFound)) return bytes.status();
  std::set<PackId> packs;
  std::string_view text = bytes.ok() ? AsText(*bytes) : std::string_view();
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    // Like the rest of the folder it may be lost: then the damage is found again.
    if (const Result<Digest> id = Digest::FromHex(line); id.ok()) packs.insert(*id);
  }
  avoided_ = std::move(packs);
  return {};
}

Result<std::set<PackId>> RepositoryImpl::AvoidedPacks() {
  const std::lock_guard lock(avoided_mutex_);
  SNAP_RETURN_IF_ERROR(LoadAvoidedLocked());
  return *avoided_;
}

Result<uint64_t> RepositoryImpl::AvoidPacks(const std::set<PackId>& packs) {
  if (packs.empty()) return uint64_t{0};
  uint64_t added = 0;
  {
    const std::lock_guard lock(avoided_mutex_);
    SNAP_RETURN_IF_ERROR(LoadAvoidedLocked());
    for (const PackId& pack : packs) added += avoided_->insert(pack).second ? 1 : 0;
    std::string text;
    for (const PackId& pack : *avoided_) text += pack.ToHex() + "\n";
    SNAP_ASSIGN_OR_RETURN(const std::string folder, CacheFolder());
    SNAP_RETURN_IF_ERROR(ReplaceFile(folder + kAvoidedName, AsBytes(text), 0600));
  }
  // Where another pack holds a chunk as well, the index may find that one now.
  const std::lock_guard lock(index_mutex_);
  SNAP_RETURN_IF_ERROR(OpenIndexLocked());
  SNAP_RETURN_IF_ERROR(index_->DropPacks(std::vector<PackId>(packs.begin(), packs.end())));
  return added;
}

Result<uint64_t> AvoidDamagedPacks(Repository& repository, const CheckReport& report) {
  std::set<PackId> packs;
  for (const CheckProblem& problem : report.problems) {
    const Result<Digest> id = DigestOfKey(problem.object);
    if (!id.ok()) continue;
    for (const PackKind kind : {PackKind::kData, PackKind::kMeta}) {
      if (PackKey(kind, *id).text() == problem.object) packs.insert(*id);
    }
  }
  return RepositoryImpl::Of(repository).AvoidPacks(packs);
}

}  // namespace snapstore
