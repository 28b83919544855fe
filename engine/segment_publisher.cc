#include "engine/segment_publisher.h"

#include "base/status_macros.h"
#include "engine/pack.h"

namespace snapstore {
namespace {

constexpr size_t kSegmentTarget = 8 << 20;

}  // namespace

Status SegmentPublisher::Add(PackKind kind, const PackId& id, std::span<const PackChunk> chunks) {
  std::lock_guard lock(mutex_);
  if (!builder_.has_value()) builder_.emplace();
  builder_->Add(kind, id, chunks);
  packs_.push_back(id);
  return builder_->size() >= kSegmentTarget ? PublishLocked() : Status();
}

Status SegmentPublisher::Finish() {
  std::lock_guard lock(mutex_);
  return PublishLocked();
}

Status SegmentPublisher::PublishLocked() {
  if (!builder_.has_value()) return {};
  const Bytes bytes = std::move(*builder_).Finish(*sealer_);
  builder_.reset();
  const Digest id = Sha256::Of(bytes);
  const ByteSpan parts[] = {bytes};
  if (damaged_.contains(id)) {
    const Status deleted = store_->Delete(SegmentKey(id));
    const bool stays = deleted.Is(StatusCode::kPermissionDenied);
    if (!deleted.ok() && !stays && !deleted.Is(StatusCode::kNotFound)) {
      return deleted.WithContext("damaged index segment " + id.ToHex());
    }
    if (!stays) published_.insert(id);
  } else {
    published_.insert(id);
  }
  const auto put = store_->PutIfAbsent(SegmentKey(id), parts);
  if (!put.ok()) return put.status().WithContext("store index segment " + id.ToHex());
  SNAP_RETURN_IF_ERROR(index_->AddSegment(id));
  SNAP_RETURN_IF_ERROR(index_->MarkPublished(packs_));
  bytes_stored_ += bytes.size();
  packs_published_ += packs_.size();
  packs_.clear();
  return {};
}

Status PublishLeftovers(ObjectStore& store, const Sealer& sealer, ChunkIndex& index,
                        DedupGuard* guard, SegmentPublisher* publisher) {
  std::vector<PackId> leftovers;
  std::vector<PackId> gone;
  SNAP_RETURN_IF_ERROR(index.ForEachPack([&](const PackId& id, bool published) {
    if (!published && !guard->IsCondemned(id)) leftovers.push_back(id);
    return Status();
  }));
  for (const PackId& id : leftovers) {
    const std::string name = "pack " + id.ToHex();
    SNAP_ASSIGN_OR_RETURN(const bool there, guard->MayReferTo(PackKind::kData, id));
    if (!there) {
      gone.push_back(id);
      continue;
    }
    PackKind kind = PackKind::kData;
    Result<ObjectInfo> object = store.Stat(PackKey(kind, id));
    if (object.status().Is(StatusCode::kNotFound)) {
      kind = PackKind::kMeta;
      object = store.Stat(PackKey(kind, id));
    }
    if (!object.ok()) return object.status().WithContext(name);
    const Result<PackFooter> footer =
        ReadPackFooter(store, sealer, kind, id, object->size, nullptr);
    if (footer.status().Is(StatusCode::kCorruption)) {
      // No snapshot needs it yet. What it held is stored again when it is met again.
      gone.push_back(id);
      continue;
    }
    if (!footer.ok()) return footer.status().WithContext(name);
    SNAP_RETURN_IF_ERROR(publisher->Add(kind, id, footer->chunks));
  }
  return index.DropPacks(gone);
}

uint64_t SegmentPublisher::bytes_stored() const {
  std::lock_guard lock(mutex_);
  return bytes_stored_;
}

uint64_t SegmentPublisher::packs_published() const {
  std::lock_guard lock(mutex_);
  return packs_published_;
}

}  // namespace snapstore
