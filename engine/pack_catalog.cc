#include "engine/pack_catalog.h"

#include "base/status_macros.h"
#include "engine/check_report.h"
#include "engine/pack.h"
#include "engine/progress.h"

namespace snapstore {

Result<std::unique_ptr<PackCatalog>> PackCatalog::Create(RepositoryImpl* repository,
                                                         Observer* observer) {
  SNAP_ASSIGN_OR_RETURN(const std::string folder, repository->CacheFolder());
  SNAP_ASSIGN_OR_RETURN(std::unique_ptr<ScratchFile> file, ScratchFile::Create(folder));
  return std::unique_ptr<PackCatalog>(new PackCatalog(repository, observer, std::move(file)));
}

CatalogPack* PackCatalog::Find(const PackId& id) {
  const auto found = ordinals_.find(id);
  return found == ordinals_.end() ? nullptr : &packs_[found->second];
}

Status PackCatalog::ListPacks() {
  ProgressReporter progress(observer_, "list packs");
  for (const PackKind kind : {PackKind::kData, PackKind::kMeta}) {
    const Status listed =
        repository_->store().List(PackPrefix(kind), [&](const ObjectInfo& object) -> Status {
          SNAP_RETURN_IF_ERROR(progress.Poll());
          const Result<Digest> id = DigestOfKey(object.key);
          if (!id.ok() || PackKey(kind, *id).text() != object.key) return {};
          progress.AddItems(1);
          if (!ordinals_.emplace(*id, static_cast<uint32_t>(packs_.size())).second) return {};
          packs_.push_back(
              {.kind = kind, .id = *id, .size = object.size, .modified_ns = object.modified_ns});
          return {};
        });
    SNAP_RETURN_IF_ERROR(listed);
  }
  return {};
}

Status PackCatalog::ReadSegments() {
  ProgressReporter progress(observer_, "read index segments");
  std::map<Digest, uint64_t> there;
  SNAP_RETURN_IF_ERROR(repository_->store().List(kSegmentPrefix, [&](const ObjectInfo& object) {
    if (const Result<Digest> id = DigestOfKey(object.key); id.ok()) there[*id] = object.size;
    return Status();
  }));
  std::erase_if(segments_, [&](const auto& known) { return !there.contains(known.first); });
  progress.SetItemsTotal(there.size() - segments_.size());
  for (const auto& [id, size] : there) {
    if (segments_.contains(id)) continue;
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    SNAP_RETURN_IF_ERROR(ReadSegment(id, size));
  }
  return {};
}

Status PackCatalog::ReadSegment(const Digest& id, uint64_t size) {
  const std::string name = "index segment " + id.ToHex();
  const Result<Bytes> bytes = repository_->store().Get(SegmentKey(id), kSegmentBytesMax);
  // Another prune replaced it.
  if (bytes.status().Is(StatusCode::kNotFound)) return {};
  if (!bytes.ok()) return bytes.status().WithContext(name);
  bytes_read_ += bytes->size();
  CatalogSegment segment{.size = size, .packs = {}};
  const Status parsed =
      ParseSegment(repository_->sealer(), id, *bytes, [&](const SegmentPack& listed) -> Status {
        segment.packs.push_back(listed.id);
        CatalogPack* const pack = Find(listed.id);
        if (pack == nullptr) return {};
        pack->listed = true;
        return pack->table_bytes == 0 ? KeepTable(listed.chunks, pack) : Status();
      });
  if (parsed.Is(StatusCode::kCorruption)) {
    // Only a cache: the packs' own footers say the same.
    if (observer_ != nullptr) observer_->OnWarning({SegmentKey(id).text(), parsed});
    return {};
  }
  SNAP_RETURN_IF_ERROR(parsed.WithContext(name));
  segments_[id] = std::move(segment);
  return {};
}

Status PackCatalog::ReadFooters() {
  ProgressReporter progress(observer_, "read pack footers");
  for (CatalogPack& pack : packs_) {
    if (pack.table_bytes != 0) continue;
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    SNAP_RETURN_IF_ERROR(ReadFooter(&pack));
  }
  return {};
}

Status PackCatalog::ReadFooter(CatalogPack* pack) {
  const Result<PackFooter> footer = ReadPackFooter(repository_->store(), repository_->sealer(),
                                                   pack->kind, pack->id, pack->size, &bytes_read_);
  if (footer.ok()) return KeepTable(footer->chunks, pack);
  const std::string key = PackKey(pack->kind, pack->id).text();
  if (!IsDamage(footer.status())) return footer.status().WithContext(key);
  // One that is condemned and gone: somebody else is finishing an unfinished prune.
  const bool expected = footer.status().Is(StatusCode::kNotFound) && pack->condemned;
  if (observer_ != nullptr && !expected) observer_->OnWarning({key, footer.status()});
  return {};
}

Status PackCatalog::KeepTable(std::span<const PackChunk> chunks, CatalogPack* pack) {
  Bytes body;
  AppendFooterBody(chunks, &body);
  SNAP_ASSIGN_OR_RETURN(pack->table_at, file_->Append(body));
  pack->table_bytes = static_cast<uint32_t>(body.size());
  return {};
}

Result<std::vector<PackChunk>> PackCatalog::Table(const CatalogPack& pack) const {
  if (pack.table_bytes == 0) return std::vector<PackChunk>();
  Bytes body(pack.table_bytes);
  SNAP_RETURN_IF_ERROR(file_->Read(pack.table_at, body));
  ByteReader reader(body);
  return ParseFooterBody(&reader);
}

}  // namespace snapstore
