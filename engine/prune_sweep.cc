// The second half of a prune: packs are condemned, writers waited for, objects deleted.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/status_macros.h"
#include "engine/claim.h"
#include "engine/live_walk.h"
#include "engine/progress.h"
#include "engine/prune.h"
#include "engine/prune_plan.h"

namespace snapstore {
namespace {

constexpr auto kFirstPoll = std::chrono::milliseconds(50);
constexpr auto kLastPoll = std::chrono::milliseconds(5000);
// A wait as long as this is told of, once.
constexpr double kQuietSeconds = 5;
constexpr size_t kWritersNamed = 3;
constexpr const char* kWaitHint =
    " (--max-seconds ends a prune before; the next one goes on, and snapshots need not wait)";
// More than the clocks of one store's servers may differ.
constexpr int64_t kVoidSlack = 10 * kNanosPerSecond;
// So many small segments are put together into few.
constexpr size_t kSmallSegmentsMin = 32;
constexpr uint64_t kSmallSegmentBytes = 1 << 20;
constexpr size_t kLateBatch = 4096;
constexpr size_t kDeleteBatch = 1000;
// Older than any upload can be that is still going on.
constexpr std::chrono::hours kUploadAge{48};
// People may want to see who held a name before.
constexpr int64_t kClaimAge = int64_t{24} * 3600 * kNanosPerSecond;

}  // namespace

Status Pruner::Condemn() {
  std::vector<CondemnedPack> packs;
  for (CatalogPack& pack : catalog_->packs()) {
    const bool goes = pack.rewrite || (IsDead(pack) && !pack.held);
    if (!goes || pack.condemned) continue;
    pack.condemned = true;
    packs.push_back({pack.kind, pack.id});
    doomed_.insert(pack.id);
  }
  // Its own packs count as much as a writer's: another prune may have taken them otherwise.
  if (!packs.empty()) SNAP_RETURN_IF_ERROR(lease_->Ensure());
  for (size_t begin = 0; begin < packs.size(); begin += kMarkPacksMax) {
    const std::span<const CondemnedPack> some = std::span<const CondemnedPack>(packs).subspan(
        begin, std::min(kMarkPacksMax, packs.size() - begin));
    const Bytes bytes = EncodeMark(repository_.sealer(), some);
    const Digest id = Sha256::Of(bytes);
    const ByteSpan parts[] = {bytes};
    const auto put = store_.PutIfAbsent(MarkKey(id), parts);
    if (!put.ok()) return put.status().WithContext("store prune mark");
    marks_.insert(id);
    own_marks_.insert(id);
  }
  // From here on every writer that does not know of the mark is in this listing.
  SNAP_ASSIGN_OR_RETURN(LeaseFolder folder, ListLeases(store_));
  folder.writers.erase(lease_->writer());
  SNAP_RETURN_IF_ERROR(CheckAlone(folder));
  if (lease_->Expired()) return Status::Conflict("the prune's own lease has expired: run it again");
  waiting_ = std::move(folder.writers);
  // Two prunes would wait for each other.
  lease_.reset();
  return {};
}

std::string Pruner::TellWriters() {
  std::string what =
      fmt::format("{} writer{} at work, or killed and not yet given up:", waiting_.size(),
                  waiting_.size() == 1 ? " is" : "s are");
  size_t named = 0;
  int64_t ends_ns = 0;
  for (const auto& [writer, seen] : waiting_) {
    ends_ns = std::max(ends_ns, seen.ends_ns);
    if (named == kWritersNamed) continue;
    const auto [host, first] = hosts_.try_emplace(writer);
    if (first) host->second = HostOfWriter(store_, repository_.sealer(), seen);
    what += fmt::format("{} {} since {}", named++ == 0 ? "" : ",",
                        host->second.empty() ? "one" : "on " + host->second,
                        FormatTime(seen.began_ns, 0));
  }
  if (named < waiting_.size()) what += ", …";
  return what +
         fmt::format("; if killed, the last lease ends by {}", FormatTime(ends_ns + kVoidSlack, 0));
}

Result<bool> Pruner::WaitForWriters() {
  if (doomed_.empty()) return true;
  const Stopwatch waited;
  bool told = false;
  ProgressReporter progress(observer_, "wait for writers");
  auto pause = kFirstPoll;
  for (;;) {
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (it->second.ends_ns + kVoidSlack >= StoreNow()) {
        ++it;
        continue;
      }
      void_leases_.insert(void_leases_.end(), it->second.keys.begin(), it->second.keys.end());
      it = waiting_.erase(it);
    }
    if (waiting_.empty()) return true;
    if (OutOfTime()) {
      Postpone("the time was up: " + TellWriters());
      return false;
    }
    progress.SetCurrent(fmt::format("{} left", waiting_.size()));
    if (!told && waited.Seconds() >= kQuietSeconds && observer_ != nullptr) {
      told = true;
      observer_->OnWarning({"waiting", Status::Conflict(TellWriters() + kWaitHint)});
    }
    SNAP_RETURN_IF_ERROR(progress.Poll());
    std::this_thread::sleep_for(pause);
    pause = std::min<std::chrono::milliseconds>(2 * pause, kLastPoll);
    SNAP_ASSIGN_OR_RETURN(const LeaseFolder folder, ListLeases(store_));
    SNAP_RETURN_IF_ERROR(CheckMarked(folder));
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      const auto still = folder.writers.find(it->first);
      if (still == folder.writers.end()) {
        it = waiting_.erase(it);  // ended
      } else {
        it->second = still->second;
        ++it;
      }
    }
  }
}

Status Pruner::SaveLate() {
  // Holds for what is copied and published from here on.
  SNAP_ASSIGN_OR_RETURN(lease_, repository_.TakeLease());
  SNAP_RETURN_IF_ERROR(CheckAlone(lease_->seen()));
  SNAP_RETURN_IF_ERROR(CheckMarked(lease_->seen()));
  SNAP_ASSIGN_OR_RETURN(std::vector<Digest> ids, repository_.ManifestIds());
  std::erase_if(ids, [this](const Digest& id) { return manifests_.contains(id); });
  if (ids.empty() || doomed_.empty()) return Sweep();

  ProgressReporter progress(observer_, "follow new snapshots");
  progress.SetItemsTotal(ids.size());
  SNAP_RETURN_IF_ERROR(catalog_->ListPacks());
  SNAP_RETURN_IF_ERROR(catalog_->ReadSegments());
  SNAP_RETURN_IF_ERROR(live_->AddPlaces(catalog_.get(), observer_));
  DedupGuard present(&store_, CondemnedSet(doomed_.begin(), doomed_.end()));
  Copier copier = MakeCopier(*lease_);
  std::vector<StoredChunk> late[2];
  const auto save = [&](PackKind kind) {
    std::vector<StoredChunk>& chunks = late[kind == PackKind::kData ? 0 : 1];
    Status saved = SaveMissing(kind, chunks, &present, &copier);
    chunks.clear();
    return saved;
  };
  LiveWalk walk(
      fetcher_.get(), &live_->walked(),
      [&](PackKind kind, const StoredChunk& chunk) -> Status {
        std::vector<StoredChunk>& chunks = late[kind == PackKind::kData ? 0 : 1];
        chunks.push_back(chunk);
        return chunks.size() >= kLateBatch ? save(kind) : Status();
      },
      &progress);
  for (const Digest& id : ids) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    const Result<format::Manifest> manifest = repository_.LoadManifest(id);
    if (manifest.status().Is(StatusCode::kNotFound)) continue;
    if (!manifest.ok()) return manifest.status();
    SNAP_RETURN_IF_ERROR(walk.Visit(id, *manifest));
    manifests_.insert(id);
  }
  SNAP_RETURN_IF_ERROR(save(PackKind::kData));
  SNAP_RETURN_IF_ERROR(save(PackKind::kMeta));
  SNAP_RETURN_IF_ERROR(Finish(&copier, lease_.get()));
  return Sweep();
}

Status Pruner::SaveMissing(PackKind kind, std::span<const StoredChunk> chunks, DedupGuard* present,
                           Copier* copier) {
  std::vector<StoredChunk> missing;
  for (const StoredChunk& chunk : chunks) {
    // What the first walk met is in a pack that stays.
    SNAP_ASSIGN_OR_RETURN(const bool known, live_->IsNeeded(chunk.id));
    if (known) continue;
    SNAP_ASSIGN_OR_RETURN(bool safe, present->MayReferTo(kind, chunk.pack));
    if (!safe) {
      SNAP_ASSIGN_OR_RETURN(const auto place, live_->places().Find(chunk.id));
      if (place.has_value()) {
        SNAP_ASSIGN_OR_RETURN(safe, present->MayReferTo(kind, place->pack));
      }
    }
    if (!safe) missing.push_back(chunk);
    SNAP_RETURN_IF_ERROR(live_->Need(chunk.id));
  }
  return fetcher_->ReadMany(
      kind, missing,
      [&](std::span<const FetchedChunk> fetched) -> Status {
        for (const FetchedChunk& chunk : fetched) {
          SNAP_RETURN_IF_ERROR(
              copier->packs->Put(kind, missing[chunk.ordinal].id, chunk.bytes).status());
        }
        return {};
      },
      [](size_t, const Status& status) { return status; });
}

Status Pruner::Sweep() {
  std::vector<ObjectKey> segments;
  SNAP_RETURN_IF_ERROR(ReplaceSegments(&segments));
  SNAP_RETURN_IF_ERROR(DeleteAll(segments, "delete segments"));
  summary_.segments_replaced = segments.size();
  std::vector<ObjectKey> packs;
  for (const CatalogPack& pack : catalog_->packs()) {
    if (!IsCondemned(pack.id)) continue;
    packs.push_back(PackKey(pack.kind, pack.id));
    ++summary_.packs_deleted;
    summary_.bytes_deleted += pack.size;
  }
  SNAP_RETURN_IF_ERROR(DeleteAll(packs, "delete packs"));
  // Last: as long as a pack may be there, its mark is.
  std::vector<ObjectKey> marks;
  for (const Digest& id : marks_) marks.push_back(MarkKey(id));
  SNAP_RETURN_IF_ERROR(DeleteAll(marks, "delete marks"));
  for (const auto& [writer, seen] : first_seen_.writers) {
    if (seen.ends_ns + kVoidSlack >= StoreNow()) continue;
    void_leases_.insert(void_leases_.end(), seen.keys.begin(), seen.keys.end());
  }
  std::sort(void_leases_.begin(), void_leases_.end());
  void_leases_.erase(std::unique(void_leases_.begin(), void_leases_.end()), void_leases_.end());
  summary_.leases_expired = void_leases_.size();
  SNAP_RETURN_IF_ERROR(DeleteAll(void_leases_, "delete leases"));
  SNAP_ASSIGN_OR_RETURN(const std::vector<ObjectKey> claims,
                        SupersededClaims(store_, StoreNow() - kClaimAge));
  SNAP_RETURN_IF_ERROR(DeleteAll(claims, "delete claims"));
  const Result<uint64_t> uploads = store_.AbortUploads(kUploadAge);
  if (uploads.ok()) {
    summary_.uploads_aborted = *uploads;
  } else if (observer_ != nullptr) {
    // Nothing depends on it.
    observer_->OnWarning({"unfinished uploads", uploads.status()});
  }
  return {};
}

Status Pruner::ReplaceSegments(std::vector<ObjectKey>* old) {
  // Also those that writers put since the last look; packs after them, since those are put first.
  SNAP_RETURN_IF_ERROR(catalog_->ReadSegments());
  SNAP_RETURN_IF_ERROR(catalog_->ListPacks());
  const auto& segments = catalog_->segments();
  const auto small = [](const CatalogSegment& segment) {
    return segment.size < kSmallSegmentBytes;
  };
  const bool merge = std::count_if(segments.begin(), segments.end(), [&](const auto& each) {
                       return small(each.second);
                     }) >= static_cast<ptrdiff_t>(kSmallSegmentsMin);
  SegmentPublisher publisher(&store_, &repository_.sealer(), &live_->places());
  std::set<PackId> again;
  for (const auto& [id, segment] : segments) {
    const bool stale =
        std::any_of(segment.packs.begin(), segment.packs.end(), [this](const PackId& pack) {
          return IsCondemned(pack) || catalog_->Find(pack) == nullptr;
        });
    if (!stale && !(merge && small(segment))) continue;
    old->push_back(SegmentKey(id));
    for (const PackId& pack : segment.packs) {
      if (!IsCondemned(pack) && catalog_->Find(pack) != nullptr) again.insert(pack);
    }
  }
  for (const CatalogPack& pack : catalog_->packs()) {
    // Live packs that no segment lists, as after the loss of one, are told again as well.
    const bool lost = !pack.listed && !pack.held && pack.live_bytes > 0 && !IsCondemned(pack.id);
    if (lost) again.insert(pack.id);
  }
  for (const PackId& id : again) {
    CatalogPack* const pack = catalog_->Find(id);
    if (pack->table_bytes == 0) SNAP_RETURN_IF_ERROR(catalog_->ReadFooter(pack));
    SNAP_ASSIGN_OR_RETURN(const std::vector<PackChunk> chunks, catalog_->Table(*pack));
    if (chunks.empty()) continue;
    SNAP_RETURN_IF_ERROR(live_->places().AddPack(id, chunks, /*published=*/true));
    SNAP_RETURN_IF_ERROR(publisher.Add(pack->kind, id, chunks));
  }
  SNAP_RETURN_IF_ERROR(lease_->Ensure());
  SNAP_RETURN_IF_ERROR(publisher.Finish());
  // A prune that was killed here leaves what it merged, and merged again that is the same segment.
  std::erase_if(*old, [&](const ObjectKey& key) {
    const Result<Digest> id = DigestOfKey(key.text());
    return id.ok() && publisher.published().contains(*id);
  });
  return {};
}

Status Pruner::DeleteAll(const std::vector<ObjectKey>& keys, const char* phase) {
  if (keys.empty()) return {};
  ProgressReporter progress(observer_, phase);
  progress.SetItemsTotal(keys.size());
  for (size_t at = 0; at < keys.size(); at += kDeleteBatch) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    const auto some = std::span(keys).subspan(at, std::min(kDeleteBatch, keys.size() - at));
    SNAP_RETURN_IF_ERROR(store_.DeleteMany(some));
    progress.AddItems(some.size());
  }
  return {};
}

Result<PruneSummary> PruneRepository(Repository& repository, const PruneOptions& options,
                                     Observer* observer) {
  return Pruner(&RepositoryImpl::Of(repository), &options, observer).Run();
}

}  // namespace snapstore
