#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/network_file_system.h"
#include "base/status_macros.h"
#include "engine/cache_root.h"
#include "engine/manifest.h"
#include "engine/manifest_cache.h"
#include "engine/pack.h"
#include "engine/parallel.h"
#include "engine/progress.h"
#include "engine/repository_impl.h"
#include "engine/reread.h"
#include "engine/segment.h"

namespace snapstore {
namespace {

constexpr uint64_t kMemoryLimitMin = 64ull << 20;
// One frame being compressed, one waiting, one compressed, and what zstd needs.
constexpr uint64_t kWorkerBytes = 8ull << 20;
// Index folders of one repository, one for each process that has it open at the same time.
constexpr int kIndexFolders = 16;
// What a segment spends on a chunk: 20 bytes and a part of its frame's entry.
constexpr uint64_t kSegmentBytesPerChunk = 20;
constexpr size_t kPrefixDigitsMin = 4;
constexpr int kSyncAttempts = 5;
constexpr uint64_t kPackBytesMin = 4 << 20;
constexpr size_t kDigestDigits = 64;

Result<Bytes> FetchManifest(ObjectStore& store, const Digest& id) {
  Result<Bytes> bytes = GetNamed(store, ManifestKey(id), kManifestBytesMax);
  if (bytes.status().Is(StatusCode::kNotFound)) {
    return Status::NotFound("no snapshot " + id.ToHex());
  }
  if (!bytes.ok()) return bytes.status().WithContext("snapshot " + id.ToHex());
  return bytes;
}

}  // namespace

MemoryPlan MemoryPlan::For(uint64_t limit, unsigned threads, unsigned uploads, unsigned reads) {
  limit = std::max(limit, kMemoryLimitMin);
  MemoryPlan plan;
  plan.index = std::clamp<uint64_t>(limit / 4, 8 << 20, 1 << 30);
  // A quarter for two kinds being filled, one queued, and those on their way.
  const uint64_t packs_max = limit / 4 / kPackBytesMin;
  plan.uploads = std::clamp<unsigned>(uploads, 1, packs_max - 3);
  plan.pack = std::clamp<uint64_t>(limit / 4 / (3 + plan.uploads), kPackBytesMin, 32 << 20);
  // Who reads much writes no packs: the same quarter.
  plan.reads = std::clamp<unsigned>(reads, 1, limit / 4 / ChunkFetcher::kReadBytesMax);
  plan.read_buffers = std::clamp<uint64_t>(limit / 8, 8 << 20, 64 << 20);
  plan.frame_cache = std::clamp<uint64_t>(limit / 16, 4 << 20, 64 << 20);
  const unsigned wanted = threads != 0 ? threads : std::thread::hardware_concurrency();
  plan.threads = std::clamp<unsigned>(wanted, 1, limit / 4 / kWorkerBytes);
  return plan;
}

OpenedKey RepositoryImpl::opened_key() const {
  std::lock_guard lock(key_mutex_);
  return opened_key_;
}

void RepositoryImpl::SetOpenedKey(const OpenedKey& key) {
  std::lock_guard lock(key_mutex_);
  opened_key_ = key;
}

Result<std::vector<Digest>> RepositoryImpl::ManifestIds() {
  std::vector<Digest> ids;
  SNAP_RETURN_IF_ERROR(store_->List(kManifestPrefix, [&](const ObjectInfo& object) {
    // Names that are no digest are not ours.
    if (Result<Digest> id = DigestOfKey(object.key); id.ok()) ids.push_back(*id);
    return Status();
  }));
  std::sort(ids.begin(), ids.end());
  return ids;
}

Result<format::Manifest> RepositoryImpl::LoadManifest(const Digest& id) {
  SNAP_ASSIGN_OR_RETURN(const Bytes bytes, FetchManifest(*store_, id));
  Result<format::Manifest> manifest = DecodeManifest(sealer_, id, bytes);
  if (!manifest.ok()) return manifest.status().WithContext("snapshot " + id.ToHex());
  return manifest;
}

Result<OpenedSnapshot> RepositoryImpl::OpenSnapshot(const Digest& id) {
  OpenedSnapshot snapshot;
  snapshot.id = id;
  SNAP_ASSIGN_OR_RETURN(snapshot.manifest, LoadManifest(id));
  SNAP_ASSIGN_OR_RETURN(std::vector<PackId> packs,
                        ReadPackTable(snapshot.manifest, fetcher_.get()));
  snapshot.packs = std::make_unique<PackTable>(std::move(packs));
  snapshot.nodes = std::make_unique<NodeSource>(fetcher_.get(), snapshot.packs.get());
  return snapshot;
}

Result<std::vector<SnapshotInfo>> RepositoryImpl::ListSnapshots(Observer* observer,
                                                                uint64_t* damaged) {
  ProgressReporter progress(observer, "list");
  SNAP_ASSIGN_OR_RETURN(const std::vector<Digest> ids, ManifestIds());
  progress.SetItemsTotal(ids.size());
  std::vector<SnapshotInfo> infos;
  uint64_t damaged_count = 0;
  const auto take = [&](size_t i, Result<format::Manifest> manifest) -> Status {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    if (manifest.ok()) {
      infos.push_back(InfoFromManifest(ids[i], *manifest));
    } else if (manifest.status().Is(StatusCode::kCorruption)) {
      ++damaged_count;
      if (observer != nullptr) {
        observer->OnWarning({ManifestKey(ids[i]).text(), manifest.status()});
      }
    } else if (!manifest.status().Is(StatusCode::kNotFound)) {
      return manifest.status();
    }
    return {};
  };
  // A store that is near is no slower than a cache of it.
  const Result<std::string> folder =
      memory_.reads > 1 ? CacheFolder() : Status::Unsupported("no cache");
  std::optional<ManifestCache> cache;
  if (folder.ok()) cache.emplace(*folder + "/manifests");
  const auto load = [&](size_t i) -> Result<format::Manifest> {
    if (!cache.has_value()) return LoadManifest(ids[i]);
    if (const std::optional<Bytes> kept = cache->Find(ids[i]); kept.has_value()) {
      Result<format::Manifest> manifest = DecodeManifest(sealer_, ids[i], *kept);
      if (manifest.ok()) return manifest;
    }
    SNAP_ASSIGN_OR_RETURN(const Bytes bytes, FetchManifest(*store_, ids[i]));
    Result<format::Manifest> manifest = DecodeManifest(sealer_, ids[i], bytes);
    if (!manifest.ok()) return manifest.status().WithContext("snapshot " + ids[i].ToHex());
    cache->Keep(ids[i], bytes);
    return manifest;
  };
  SNAP_RETURN_IF_ERROR(
      FetchInOrder<format::Manifest>({.count = ids.size(), .threads = memory_.reads}, load, take,
                                     [&] { return progress.Poll(); }));
  if (cache.has_value()) cache->Retain(ids);
  std::sort(infos.begin(), infos.end(), [](const SnapshotInfo& a, const SnapshotInfo& b) {
    return std::tie(a.time_ns, a.id) < std::tie(b.time_ns, b.id);
  });
  if (damaged != nullptr) *damaged = damaged_count;
  return infos;
}

Result<std::string> RepositoryImpl::ResolveSnapshot(std::string_view reference) {
  if (reference == "latest") {
    uint64_t damaged = 0;
    SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> infos, ListSnapshots(nullptr, &damaged));
    if (infos.empty() && damaged > 0) {
      return Status::Corruption("no snapshot can be read: 'snapstore list' says why");
    }
    if (infos.empty()) return Status::NotFound("the repository has no snapshot yet");
    // Of which any may be the newest.
    if (damaged > 0) {
      LogWarning("'latest' is {}: {} snapshots cannot be read, 'snapstore list' says which",
                 infos.back().id.substr(0, 16), damaged);
    }
    return infos.back().id;
  }
  const std::string quoted = "'" + std::string(reference) + "'";
  if (reference.size() < kPrefixDigitsMin || reference.size() > kDigestDigits ||
      reference.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return Status::InvalidArgument(quoted +
                                   " is not a snapshot: give 'latest', an id, or at least " +
                                   std::to_string(kPrefixDigitsMin) + " of its first digits");
  }
  SNAP_ASSIGN_OR_RETURN(const std::vector<Digest> ids, ManifestIds());
  std::vector<std::string> found;
  for (const Digest& id : ids) {
    if (std::string hex = id.ToHex(); hex.starts_with(reference)) found.push_back(std::move(hex));
  }
  if (found.empty()) return Status::NotFound("no snapshot " + quoted);
  if (found.size() > 1) {
    std::string list;
    for (const std::string& hex : found) list += " " + hex.substr(0, 16);
    return Status::InvalidArgument(
        fmt::format("{} is ambiguous, {} snapshots begin so:{}", quoted, found.size(), list));
  }
  return found.front();
}

Result<std::vector<std::string>> RepositoryImpl::SnapshotIds() {
  SNAP_ASSIGN_OR_RETURN(const std::vector<Digest> ids, ManifestIds());
  std::vector<std::string> names;
  names.reserve(ids.size());
  for (const Digest& id : ids) names.push_back(id.ToHex());
  return names;
}

Result<SnapshotInfo> RepositoryImpl::GetSnapshot(const std::string& id) {
  SNAP_ASSIGN_OR_RETURN(const Digest digest, Digest::FromHex(id));
  SNAP_ASSIGN_OR_RETURN(const format::Manifest manifest, LoadManifest(digest));
  return InfoFromManifest(digest, manifest);
}

Result<ChunkIndex*> RepositoryImpl::Index() {
  std::lock_guard lock(index_mutex_);
  SNAP_RETURN_IF_ERROR(OpenIndexLocked());
  if (!synced_) SNAP_RETURN_IF_ERROR(SyncIndexLocked(nullptr));
  return index_.get();
}

Status RepositoryImpl::SyncIndex(Observer* observer) {
  std::lock_guard lock(index_mutex_);
  SNAP_RETURN_IF_ERROR(OpenIndexLocked());
  return SyncIndexLocked(observer);
}

Status RepositoryImpl::ReloadIndexOnce() {
  std::lock_guard lock(index_mutex_);
  if (reloaded_) return {};
  SNAP_RETURN_IF_ERROR(OpenIndexLocked());
  std::vector<Digest> segments;
  SNAP_RETURN_IF_ERROR(index_->ForEachSegment([&](const Digest& id) {
    segments.push_back(id);
    return Status();
  }));
  // Not those that only this index knows of.
  std::vector<PackId> packs;
  SNAP_RETURN_IF_ERROR(index_->ForEachPack([&](const PackId& id, bool published) {
    if (published) packs.push_back(id);
    return Status();
  }));
  // In this order: a segment that seems taken in without its packs would not be read again.
  SNAP_RETURN_IF_ERROR(index_->DropSegments(segments));
  SNAP_RETURN_IF_ERROR(index_->DropPacks(packs));
  // Once, also when it fails: then each look-up tries to bring the index up to date.
  reloaded_ = true;
  synced_ = false;
  return SyncIndexLocked(nullptr);
}

Result<std::string> RepositoryImpl::CacheFolder() const {
  SNAP_ASSIGN_OR_RETURN(const std::string root, CacheRoot(options_));
  std::string folder = root + "/" + id_;
  SNAP_RETURN_IF_ERROR(MakeDirectories(folder, 0700).WithContext("cache directory"));
  return folder;
}

Status RepositoryImpl::OpenIndexLocked() {
  if (index_ != nullptr) return {};
  SNAP_ASSIGN_OR_RETURN(const std::string folder, CacheFolder());
  if (FileSystemKindOf(folder) != FileSystemKind::kLocal) {
    return Status::InvalidArgument("the cache directory " + folder +
                                   " is on a network file system, where RocksDB is not safe: set "
                                   "SNAPSTORE_CACHE_DIR to a local"
                                   " directory");
  }
  Status status;
  for (int i = 0; i < kIndexFolders; ++i) {
    const std::string path = fmt::format("{}/index-{}", folder, i);
    const ChunkIndexOptions options{.path = path, .memory_bytes = memory_.index};
    Result<std::unique_ptr<ChunkIndex>> index = ChunkIndex::Open(options);
    if (index.status().Is(StatusCode::kCorruption)) {
      SNAP_RETURN_IF_ERROR(ChunkIndex::Destroy(path));
      index = ChunkIndex::Open(options);
    }
    if (index.ok()) {
      index_path_ = path;
      index_ = std::move(*index);
      return {};
    }
    status = index.status();
    if (!status.Is(StatusCode::kConflict)) return status.WithContext("chunk index " + path);
  }
  return status.WithContext("chunk index below " + folder);
}

Status RepositoryImpl::ResetIndexLocked() {
  index_.reset();
  SNAP_RETURN_IF_ERROR(ChunkIndex::Destroy(index_path_));
  SNAP_ASSIGN_OR_RETURN(index_,
                        ChunkIndex::Open({.path = index_path_, .memory_bytes = memory_.index}));
  return {};
}

Result<std::map<Digest, ObjectInfo>> RepositoryImpl::Segments() {
  std::map<Digest, ObjectInfo> segments;
  SNAP_RETURN_IF_ERROR(store_->List(kSegmentPrefix, [&](const ObjectInfo& object) {
    if (Result<Digest> id = DigestOfKey(object.key); id.ok()) segments[*id] = object;
    return Status();
  }));
  return segments;
}

Status RepositoryImpl::SyncIndexLocked(Observer* observer) {
  Status status;
  for (int attempt = 0; attempt < kSyncAttempts; ++attempt) {
    status = SyncOnceLocked(observer);
    // A prune replaced a segment after it was listed: what it put in its place is there already.
    if (!status.Is(StatusCode::kNotFound)) break;
  }
  return status;
}

Status RepositoryImpl::SyncOnceLocked(Observer* observer) {
  SNAP_ASSIGN_OR_RETURN(const auto segments, Segments());
  std::vector<Digest> vanished;
  SNAP_RETURN_IF_ERROR(index_->ForEachSegment([&](const Digest& id) {
    if (!segments.contains(id)) vanished.push_back(id);
    return Status();
  }));
  // A segment taken back means packs may be gone: what the index says of them must not be trusted.
  if (!vanished.empty()) SNAP_RETURN_IF_ERROR(DropVanishedLocked(vanished));
  std::vector<std::pair<int64_t, Digest>> ordered;
  uint64_t missing_bytes = 0;
  for (const auto& [id, object] : segments) {
    SNAP_ASSIGN_OR_RETURN(const bool known, index_->HasSegment(id));
    if (known) continue;
    ordered.emplace_back(object.modified_ns, id);
    missing_bytes += object.size;
  }
  // The newest last: of two places of a chunk the index keeps that one, and so does a prune most
  // often. Where it does not, ReloadIndexOnce finds the other.
  std::sort(ordered.begin(), ordered.end());
  std::vector<SegmentObject> missing;
  missing.reserve(ordered.size());
  for (const auto& [time, id] : ordered) missing.push_back({id, segments.at(id).size});
  if (!index_->LoadPays(missing_bytes / kSegmentBytesPerChunk)) {
    SNAP_RETURN_IF_ERROR(ImportSegments(missing, index_.get(), observer));
  } else {
    SNAP_ASSIGN_OR_RETURN(const std::unique_ptr<ChunkLoad> load, index_->StartLoad());
    SNAP_RETURN_IF_ERROR(ImportSegments(missing, load.get(), observer));
    Status committed = CommitLoad(load.get(), observer);
    // With nothing new to load it only makes look-ups faster: not worth failing for.
    if (!committed.ok() && !(missing.empty() && committed.Is(StatusCode::kNoSpace))) {
      return committed;
    }
  }
  synced_ = true;
  return {};
}

Status RepositoryImpl::DropVanishedLocked(std::span<const Digest> segments) {
  std::vector<PackId> packs;
  // Before the listing: what a writer of this process adds meanwhile must not seem to be gone.
  SNAP_RETURN_IF_ERROR(index_->ForEachPack([&](const PackId& id, bool) {
    packs.push_back(id);
    return Status();
  }));
  std::vector<PackId> present;
  for (const std::string_view prefix : {kDataPrefix, kMetaPrefix}) {
    SNAP_RETURN_IF_ERROR(store_->List(prefix, [&](const ObjectInfo& object) {
      if (Result<Digest> id = DigestOfKey(object.key); id.ok()) present.push_back(*id);
      return Status();
    }));
  }
  std::sort(present.begin(), present.end());
  std::erase_if(packs, [&](const PackId& id) {
    return std::binary_search(present.begin(), present.end(), id);
  });
  SNAP_RETURN_IF_ERROR(index_->DropPacks(packs));
  return index_->DropSegments(segments);
}

Status RepositoryImpl::ImportSegments(std::span<const SegmentObject> segments, ChunkSink* sink,
                                      Observer* observer) {
  ProgressReporter progress(observer, "index");
  progress.SetItemsTotal(segments.size());
  const OrderedTasks tasks{.count = segments.size(),
                           .threads = memory_.reads,
                           .cost = [&](size_t i) { return segments[i].bytes; },
                           .cost_max = memory_.reads * ChunkFetcher::kReadBytesMax};
  return FetchInOrder<Bytes>(
      tasks,
      [&](size_t i) { return GetNamed(*store_, SegmentKey(segments[i].id), kSegmentBytesMax); },
      [&](size_t i, const Result<Bytes>& bytes) -> Status {
        SNAP_RETURN_IF_ERROR(progress.Poll());
        progress.AddItems(1);
        const Status imported =
            bytes.ok() ? ImportSegment(segments[i].id, *bytes, sink) : bytes.status();
        return imported.WithContext("index segment " + segments[i].id.ToHex());
      },
      [&] { return progress.Poll(); });
}

Status RepositoryImpl::CommitLoad(ChunkLoad* load, Observer* observer) {
  ProgressReporter progress(observer, "sort index");
  uint64_t reported = 0;
  return load->Commit([&](uint64_t done, uint64_t total) {
    progress.SetItemsTotal(total);
    progress.AddItems(done - reported);
    reported = done;
    return progress.Poll();
  });
}

Status RepositoryImpl::ImportSegment(const Digest& segment, ByteSpan bytes, ChunkSink* sink) {
  std::vector<PackId> published;
  const Status parsed =
      ParseSegment(sealer_, segment, bytes, [&](const SegmentPack& pack) -> Status {
        published.push_back(pack.id);
        return sink->AddPack(pack.id, pack.chunks, /*published=*/true);
      });
  SNAP_RETURN_IF_ERROR(parsed);
  SNAP_RETURN_IF_ERROR(sink->MarkPublished(published));
  return sink->AddSegment(segment);
}

}  // namespace snapstore
