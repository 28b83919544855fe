// RepositoryImpl::RebuildIndex: the chunk index from what packs say of themselves, and index
// segments that say the same.
#include <algorithm>
#include <mutex>
#include <set>
#include <vector>

#include "base/status_macros.h"
#include "engine/dedup_guard.h"
#include "engine/lease.h"
#include "engine/pack.h"
#include "engine/parallel.h"
#include "engine/progress.h"
#include "engine/repository_impl.h"
#include "engine/reread.h"
#include "engine/segment.h"
#include "engine/segment_publisher.h"

namespace snapstore {
namespace {

// Footers on their way at once where the store is near.
constexpr unsigned kFootersNear = 2;

struct RebuildPack {
  PackKind kind = PackKind::kData;
  PackId id;
  uint64_t size = 0;
  uint64_t table_hash = 0;
  bool listed = false;  // its footer was read
};

Result<std::vector<RebuildPack>> ListPacks(ObjectStore& store) {
  std::vector<RebuildPack> packs;
  for (const PackKind kind : {PackKind::kData, PackKind::kMeta}) {
    SNAP_RETURN_IF_ERROR(store.List(PackPrefix(kind), [&](const ObjectInfo& object) {
      const Result<Digest> id = DigestOfKey(object.key);
      if (id.ok() && PackKey(kind, *id).text() == object.key) {
        packs.push_back({.kind = kind, .id = *id, .size = object.size});
      }
      return Status();
    }));
  }
  std::sort(packs.begin(), packs.end(),
            [](const RebuildPack& a, const RebuildPack& b) { return a.id < b.id; });
  return packs;
}

// Whether the segment lists only packs that exist, each as its footer does.
bool ListsAsFooters(const SegmentPack& pack, const std::vector<RebuildPack>& packs) {
  const auto it = std::lower_bound(packs.begin(), packs.end(), pack.id,
                                   [](const RebuildPack& a, const PackId& b) { return a.id < b; });
  return it != packs.end() && it->id == pack.id && it->kind == pack.kind && it->listed &&
         it->table_hash == ChunkTableHash(pack.chunks);
}

// Adds what footers say to `load`; damaged ones are warned about.
Status ReadFooters(ObjectStore& store, const Sealer& sealer, const std::set<PackId>& left_out,
                   Observer* observer, std::vector<RebuildPack>* packs, ChunkLoad* load,
                   RebuiltIndex* rebuilt) {
  ProgressReporter progress(observer, "read pack footers");
  progress.SetItemsTotal(packs->size());
  std::mutex mutex;
  std::vector<Warning> warnings;
  const auto read_one = [&](size_t item, unsigned) -> Status {
    RebuildPack& pack = (*packs)[item];
    progress.AddItems(1);
    if (left_out.contains(pack.id)) return {};
    const Result<PackFooter> footer =
        ReadPackFooter(store, sealer, pack.kind, pack.id, pack.size, nullptr);
    const std::string key = PackKey(pack.kind, pack.id).text();
    // Taken away meanwhile, by a prune.
    if (footer.status().Is(StatusCode::kNotFound)) return {};
    std::lock_guard guard(mutex);
    if (footer.status().Is(StatusCode::kCorruption)) {
      warnings.push_back({key, footer.status()});
      return {};
    }
    if (!footer.ok()) return footer.status().WithContext(key);
    ++rebuilt->packs_read;
    pack.listed = true;
    pack.table_hash = ChunkTableHash(footer->chunks);
    return load->AddPack(pack.id, footer->chunks, /*published=*/false);
  };
  SNAP_RETURN_IF_ERROR(RunParallel(std::max(store.GetsAtOnce(), kFootersNear), packs->size(),
                                   read_one, [&] { return progress.Poll(); }));
  rebuilt->packs_damaged = warnings.size();
  for (const Warning& warning : warnings) {
    if (observer != nullptr) observer->OnWarning(warning);
  }
  return {};
}

// False when the segment is damaged or says what is not so. `load` learns what a good one lists.
Result<bool> TakeSegment(ObjectStore& store, const Sealer& sealer, const Digest& segment,
                         const std::vector<RebuildPack>& packs, const CondemnedSet& condemned,
                         ChunkLoad* load) {
  const Result<Bytes> bytes = GetNamed(store, SegmentKey(segment), kSegmentBytesMax);
  // Taken away meanwhile: nothing to mend.
  if (bytes.status().Is(StatusCode::kNotFound)) return true;
  bool good = true;
  std::vector<PackId> published;
  Status parsed = bytes.status();
  if (bytes.ok()) {
    parsed = ParseSegment(sealer, segment, *bytes, [&](const SegmentPack& pack) {
      // The prune that condemned it replaces the segment.
      if (condemned.contains(pack.id)) return Status();
      good = good && ListsAsFooters(pack, packs);
      published.push_back(pack.id);
      return Status();
    });
  }
  if (parsed.Is(StatusCode::kCorruption)) return false;
  if (!parsed.ok()) return parsed.WithContext(SegmentKey(segment).text());
  if (!good) return false;
  SNAP_RETURN_IF_ERROR(load->MarkPublished(published));
  SNAP_RETURN_IF_ERROR(load->AddSegment(segment));
  return true;
}

// With a damaged mark nobody may write, and what it condemned nobody knows. Once its prune has
// ended that is no more than packs that the next one finds again.
Result<uint64_t> RemoveDamagedMarks(ObjectStore& store, const Sealer& sealer, Observer* observer) {
  SNAP_ASSIGN_OR_RETURN(const LeaseFolder folder, ListLeases(store));
  uint64_t count = 0;
  for (const auto& [id, time] : folder.marks) {
    const Status read = ReadMark(store, sealer, id).status();
    if (!read.Is(StatusCode::kCorruption)) continue;
    const Status removed = store.Delete(MarkKey(id));
    if (!removed.ok() && !removed.Is(StatusCode::kNotFound)) {
      return removed.WithContext("remove damaged " + MarkKey(id).text());
    }
    ++count;
    if (observer != nullptr) observer->OnWarning({MarkKey(id).text(), read});
  }
  return count;
}

}  // namespace

Result<RebuiltIndex> RepositoryImpl::RebuildIndex(Observer* observer) {
  SNAP_ASSIGN_OR_RETURN(const uint64_t removed, RemoveDamagedMarks(*store_, sealer_, observer));
  SNAP_ASSIGN_OR_RETURN(RebuiltIndex rebuilt, RebuildIndexWithout({}, observer));
  rebuilt.marks_removed = removed;
  return rebuilt;
}

Result<RebuiltIndex> RepositoryImpl::RebuildIndexWithout(const std::set<PackId>& left_out,
                                                         Observer* observer) {
  std::lock_guard lock(index_mutex_);
  // It publishes segments, which others rely on: packs that a prune is about to take are left out,
  // and none that is left in is taken before this has ended.
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<WriterLease> lease, TakeLease());
  CondemnedSet without = lease->condemned();
  without.insert(left_out.begin(), left_out.end());
  SNAP_RETURN_IF_ERROR(OpenIndexLocked());
  SNAP_RETURN_IF_ERROR(ResetIndexLocked());
  RebuiltIndex rebuilt;
  // Segments first: the packs that one names were there before it.
  SNAP_ASSIGN_OR_RETURN(const auto segments, Segments());
  SNAP_ASSIGN_OR_RETURN(std::vector<RebuildPack> packs, ListPacks(*store_));
  SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<ChunkLoad> load, index_->StartLoad());
  SNAP_RETURN_IF_ERROR(
      ReadFooters(*store_, sealer_, without, observer, &packs, load.get(), &rebuilt));
  std::vector<Digest> bad;
  {
    ProgressReporter progress(observer, "read index segments");
    progress.SetItemsTotal(segments.size());
    for (const auto& [segment, object] : segments) {
      SNAP_RETURN_IF_ERROR(progress.Poll());
      progress.AddItems(1);
      SNAP_ASSIGN_OR_RETURN(const bool good, TakeSegment(*store_, sealer_, segment, packs,
                                                         lease->condemned(), load.get()));
      if (!good) bad.push_back(segment);
    }
  }
  SNAP_RETURN_IF_ERROR(CommitLoad(load.get(), observer));
  SegmentPublisher publisher(store_.get(), &sealer_, index_.get());
  publisher.Replace(bad);
  DedupGuard guard(store_.get(), lease->condemned());
  SNAP_RETURN_IF_ERROR(PublishLeftovers(*store_, sealer_, *index_, &guard, &publisher));
  SNAP_RETURN_IF_ERROR(lease->Ensure());
  SNAP_RETURN_IF_ERROR(publisher.Finish());
  rebuilt.packs_published = publisher.packs_published();
  synced_ = true;
  // Only now: until their replacements were there, they were better than none.
  const size_t all_bad = bad.size();
  std::erase_if(bad, [&](const Digest& id) { return publisher.published().contains(id); });
  rebuilt.segments_replaced += all_bad - bad.size();
  SNAP_RETURN_IF_ERROR(RemoveSegments(bad, observer, &rebuilt));
  return rebuilt;
}

Status RepositoryImpl::RemoveSegments(std::span<const Digest> segments, Observer* observer,
                                      RebuiltIndex* rebuilt) {
  for (const Digest& segment : segments) {
    const Status removed = store_->Delete(SegmentKey(segment));
    if (removed.ok() || removed.Is(StatusCode::kNotFound)) {
      ++rebuilt->segments_replaced;
    } else if (removed.Is(StatusCode::kPermissionDenied)) {
      // A writer may not delete: somebody else's repair has to.
      ++rebuilt->segments_wrong;
      if (observer != nullptr) observer->OnWarning({SegmentKey(segment).text(), removed});
    } else {
      return removed.WithContext(SegmentKey(segment).text());
    }
  }
  return {};
}

}  // namespace snapstore
