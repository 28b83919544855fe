#include "engine/prune.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "engine/check_report.h"
#include "engine/live_walk.h"
#include "engine/manifest.h"
#include "engine/progress.h"
#include "engine/prune_plan.h"
#include "engine/reread.h"

namespace snapstore {
namespace {

constexpr double kRewritePart = 0.6;

// How much of a pack the needed chunks take up: of each frame the part that they fill.
uint64_t LiveBytes(std::span<const PackChunk> all, std::span<const PackChunk> needed,
                   uint64_t pack_size) {
  if (needed.size() == all.size()) return pack_size;
  std::map<uint32_t, std::pair<uint64_t, uint64_t>> frames;  // plain bytes: all, needed
  double stored_all = 0;
  for (const PackChunk& chunk : all) {
    auto& frame = frames[chunk.frame_offset];
    if (frame.first == 0) stored_all += chunk.frame_length;
    frame.first += chunk.id.length;
  }
  for (const PackChunk& chunk : needed) frames[chunk.frame_offset].second += chunk.id.length;
  double stored = 0;
  uint32_t last = 0;
  for (const PackChunk& chunk : all) {
    if (chunk.frame_offset == last) continue;
    last = chunk.frame_offset;
    const auto& [plain, used] = frames[chunk.frame_offset];
    stored += chunk.frame_length * static_cast<double>(used) / static_cast<double>(plain);
  }
  // At least one byte: it is needed.
  return std::max<uint64_t>(
      1, static_cast<uint64_t>(stored / stored_all * static_cast<double>(pack_size)));
}

}  // namespace

Result<PruneSummary> Pruner::Run() {
  SNAP_RETURN_IF_ERROR(Begin());
  if (const Status worked = Work(); !worked.ok()) return Explain(worked);
  summary_.bytes_read = catalog_->bytes_read() + spool_->bytes_fetched();
  summary_.seconds = stopwatch_.Seconds();
  return std::move(summary_);
}

Status Pruner::Work() {
  SNAP_RETURN_IF_ERROR(FindLive());
  SNAP_RETURN_IF_ERROR(Weigh());
  SNAP_RETURN_IF_ERROR(Plan());
  if (options_.dry_run) return {};
  if (Status rewritten = Rewrite(); !rewritten.ok()) {
    if (!rewritten.Is(StatusCode::kNoSpace)) return rewritten;
    return Status::NoSpace(rewritten.message() +
                           "; without room to rewrite packs, '--max-repack-bytes 0' deletes those "
                           "that nothing needs");
  }
  SNAP_RETURN_IF_ERROR(Condemn());
  SNAP_ASSIGN_OR_RETURN(const bool alone, WaitForWriters());
  return alone ? SaveLate() : Status();
}

Status Pruner::Explain(const Status& status) {
  if (!IsDamage(status) || marks_.empty()) return status;
  SNAP_ASSIGN_OR_RETURN(const LeaseFolder folder, ListLeases(store_));
  const bool finished = std::any_of(marks_.begin(), marks_.end(),
                                    [&](const Digest& id) { return !folder.marks.contains(id); });
  if (!finished) return status;
  return Status::Conflict("another prune was at work in this repository: run it again");
}

void Pruner::Postpone(std::string why) {
  summary_.finished = false;
  summary_.unfinished = std::move(why);
}

Status Pruner::Begin() {
  if (options_.dry_run) {
    SNAP_ASSIGN_OR_RETURN(first_seen_, ListLeases(store_));
    return ReadMarks(first_seen_);
  }
  SNAP_ASSIGN_OR_RETURN(lease_, repository_.TakeLease());
  clock_time_ns_ = repository_.lease_options().clock();
  first_seen_ = lease_->seen();
  const auto own = first_seen_.writers.find(lease_->writer());
  if (own == first_seen_.writers.end()) {
    return Status::Io("the store does not list what was just put into it (" +
                      std::string(kLeasePrefix) + "): nothing can be deleted safely there");
  }
  store_time_ns_ = own->second.began_ns;
  first_seen_.writers.erase(own);
  return ReadMarks(first_seen_);
}

int64_t Pruner::StoreNow() const {
  return store_time_ns_ + repository_.lease_options().clock() - clock_time_ns_;
}

Status Pruner::ReadMarks(const LeaseFolder& folder) {
  return ForEachMark(store_, repository_.sealer(), folder,
                     [this](const Digest& id, std::span<const CondemnedPack> packs) {
                       marks_.insert(id);
                       for (const CondemnedPack& pack : packs) doomed_.insert(pack.id);
                     });
}

Status Pruner::CheckAlone(const LeaseFolder& folder) const {
  for (const auto& [id, time] : folder.marks) {
    if (!marks_.contains(id)) {
      return Status::Conflict(
          "another prune is at work in this repository; what this one has condemned is deleted by "
          "the next");
    }
  }
  return {};
}

Status Pruner::CheckMarked(const LeaseFolder& folder) const {
  for (const Digest& id : own_marks_) {
    if (folder.marks.contains(id)) continue;
    // Since then writers may rely on what it condemned.
    return Status::Conflict(
        "the mark of this prune is gone: another prune, or a 'repair index', was at "
        "work; run it again");
  }
  return {};
}

Status Pruner::ReadCatalog() {
  SNAP_ASSIGN_OR_RETURN(catalog_, PackCatalog::Create(&repository_, observer_));
  SNAP_RETURN_IF_ERROR(catalog_->ListPacks());
  // A writer at work may still come to need what was stored since the first of them began.
  int64_t held_from = INT64_MAX;
  const int64_t slack = repository_.lease_options().store_slack.count() * kNanosPerSecond;
  for (const auto& [writer, seen] : first_seen_.writers) {
    const bool is_void = !options_.dry_run && seen.ends_ns + slack < StoreNow();
    if (!is_void) held_from = std::min(held_from, seen.began_ns - slack);
  }
  // And one that began after the first look, and was seen by nothing here.
  if (!options_.dry_run) held_from = std::min(held_from, store_time_ns_ + 1);
  SNAP_ASSIGN_OR_RETURN(const std::string folder, repository_.CacheFolder());
  SNAP_ASSIGN_OR_RETURN(std::unique_ptr<ScratchFile> file, ScratchFile::Create(folder));
  spool_ = std::make_unique<SpoolStore>(&store_, std::move(file));
  for (CatalogPack& pack : catalog_->packs()) {
    pack.condemned = IsCondemned(pack.id);
    pack.held = !pack.condemned && pack.modified_ns >= held_from;
    if (pack.kind == PackKind::kMeta) spool_->Expect(PackKey(pack.kind, pack.id), pack.size);
  }
  SNAP_RETURN_IF_ERROR(catalog_->ReadSegments());
  return catalog_->ReadFooters();
}

Status Pruner::FindLive() {
  // Before packs and segments are listed: what these manifests refer to is then among them.
  SNAP_ASSIGN_OR_RETURN(const std::vector<Digest> ids, repository_.ManifestIds());
  SNAP_RETURN_IF_ERROR(ReadCatalog());
  SNAP_ASSIGN_OR_RETURN(live_, LiveChunks::Create(&repository_));
  SNAP_RETURN_IF_ERROR(live_->AddPlaces(catalog_.get(), observer_));
  const LocateFn locate = [this](const ChunkId& id) { return live_->places().Find(id); };
  fetcher_ = std::make_unique<ChunkFetcher>(
      spool_.get(), &repository_.sealer(), repository_.config().hash_secret, locate,
      FetchLimits{.cache_bytes = repository_.memory().frame_cache});
  ProgressReporter progress(observer_, "follow snapshots");
  LiveWalk walk(
      fetcher_.get(), &live_->walked(),
      [this](PackKind, const StoredChunk& chunk) { return live_->Need(chunk.id); }, &progress);
  for (const Digest& id : ids) {
    progress.SetCurrent("snapshot " + id.ToHex());
    SNAP_RETURN_IF_ERROR(progress.Poll());
    const Result<format::Manifest> manifest = repository_.LoadManifest(id);
    if (manifest.status().Is(StatusCode::kNotFound)) continue;  // forgotten this moment
    if (!manifest.ok()) return manifest.status();
    SNAP_RETURN_IF_ERROR(walk.Visit(id, *manifest));
    manifests_.insert(id);
  }
  return live_->Flush();
}

Status Pruner::Weigh() {
  ProgressReporter progress(observer_, "weigh packs");
  progress.SetItemsTotal(catalog_->packs().size());
  uint64_t placed = 0;
  for (CatalogPack& pack : catalog_->packs()) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    SNAP_ASSIGN_OR_RETURN(const std::vector<PackChunk> needed, live_->NeededFrom(*catalog_, pack));
    placed += needed.size();
    if (needed.empty()) continue;
    SNAP_ASSIGN_OR_RETURN(const std::vector<PackChunk> all, catalog_->Table(pack));
    pack.live_bytes = LiveBytes(all, needed, pack.size);
  }
  if (placed == live_->count()) return {};
  return Status::Corruption(fmt::format(
      "{} of {} chunks that snapshots need are in no pack: nothing was deleted; 'snapstore check' "
      "says what is lost",
      live_->count() - placed, live_->count()));
}

Status Pruner::Plan() {
  PrunePlan& plan = summary_.plan;
  plan = MakePrunePlan(catalog_->packs(),
                       {.snapshots = manifests_.size(), .pack_bytes = repository_.memory().pack},
                       options_);
  for (const auto& [id, segment] : catalog_->segments()) {
    const bool stale =
        std::any_of(segment.packs.begin(), segment.packs.end(), [this](const PackId& pack_id) {
          const CatalogPack* const pack = catalog_->Find(pack_id);
          return pack == nullptr || pack->condemned || pack->rewrite ||
                 (IsDead(*pack) && !pack->held);
        });
    if (stale) ++plan.segments_replace;
  }
  const bool condemns = plan.packs_delete + plan.packs_rewrite > 0;
  plan.requests_put += (plan.segments_replace > 0 ? 2 : 0) + (condemns ? 1 : 0);
  plan.requests_delete += plan.segments_replace + marks_.size() + (condemns ? 1 : 0);
  return options_.on_plan == nullptr ? Status() : options_.on_plan(plan);
}

Pruner::Copier Pruner::MakeCopier(const WriterLease& lease) {
  // What is to go is as good as gone: chunks in it are stored again.
  CondemnedSet gone(lease.condemned());
  gone.insert(doomed_.begin(), doomed_.end());
  for (const CatalogPack& pack : catalog_->packs()) {
    if (pack.rewrite || (IsDead(pack) && !pack.held)) gone.insert(pack.id);
  }
  Copier copier;
  copier.guard = std::make_unique<DedupGuard>(&store_, std::move(gone));
  copier.publisher =
      std::make_unique<SegmentPublisher>(&store_, &repository_.sealer(), &live_->places());
  copier.table = std::make_unique<PackTable>();
  const MemoryPlan& memory = repository_.memory();
  copier.packs = std::make_unique<PackWriter>(
      &store_, &repository_.sealer(), &live_->places(), copier.publisher.get(), copier.table.get(),
      // The thread that reads decodes and verifies as well.
      PackWriterOptions{.threads = std::max(1u, memory.threads - 1),
                        .pack_bytes = memory.pack,
                        .uploads = memory.uploads,
                        .guard = copier.guard.get()});
  return copier;
}

Status Pruner::Finish(Copier* copier, WriterLease* lease) {
  SNAP_RETURN_IF_ERROR(copier->packs->Flush());
  SNAP_RETURN_IF_ERROR(lease->Ensure());
  SNAP_RETURN_IF_ERROR(copier->publisher->Finish());
  summary_.packs_written += copier->publisher->packs_published();
  summary_.bytes_written += copier->packs->stats().bytes_stored;
  return {};
}

Status Pruner::Rewrite() {
  std::vector<CatalogPack*> order;
  for (CatalogPack& pack : catalog_->packs()) {
    if (pack.rewrite) order.push_back(&pack);
  }
  if (order.empty()) return {};
  // Condemned ones must go; of the others first those that give back most.
  std::sort(order.begin(), order.end(), [](const CatalogPack* a, const CatalogPack* b) {
    const auto share = [](const CatalogPack* pack) {
      return static_cast<double>(pack->live_bytes) / static_cast<double>(pack->size);
    };
    return std::tuple(!a->condemned, share(a), a->id) < std::tuple(!b->condemned, share(b), b->id);
  });
  ProgressReporter progress(observer_, "rewrite packs");
  progress.SetBytesTotal(summary_.plan.bytes_rewrite);
  Copier copier = MakeCopier(*lease_);
  for (CatalogPack* const pack : order) {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    // The rest of the time is for giving space back.
    if (OutOfTime(kRewritePart) && !pack->condemned) {
      pack->rewrite = false;
      Postpone("the time was up before all packs were rewritten");
      continue;
    }
    Status copied = CopyOut(pack, &copier);
    if (!copied.ok() && (!IsDamage(copied) || pack->condemned)) return copied;
    progress.AddBytes(pack->size);
    if (copied.ok()) {
      ++summary_.packs_rewritten;
      continue;
    }
    // It stays as it is, for a check to say what is lost.
    pack->rewrite = false;
    if (observer_ != nullptr) {
      observer_->OnWarning({PackKey(pack->kind, pack->id).text(), copied});
    }
  }
  return Finish(&copier, lease_.get());
}

Status Pruner::CopyOut(CatalogPack* pack, Copier* copier) {
  SNAP_ASSIGN_OR_RETURN(const std::vector<PackChunk> needed, live_->NeededFrom(*catalog_, *pack));
  std::vector<StoredChunk> chunks;
  chunks.reserve(needed.size());
  for (const PackChunk& chunk : needed) {
    chunks.push_back(
        {chunk.id, pack->id, chunk.frame_offset, chunk.frame_length, chunk.chunk_in_frame});
  }
  return fetcher_->ReadMany(
      pack->kind, chunks,
      [&](std::span<const FetchedChunk> fetched) -> Status {
        for (const FetchedChunk& chunk : fetched) {
          SNAP_RETURN_IF_ERROR(
              copier->packs->Put(pack->kind, chunks[chunk.ordinal].id, chunk.bytes).status());
        }
        return {};
      },
      [](size_t, const Status& status) { return status; });
}

}  // namespace snapstore
