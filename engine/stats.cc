#include "base/status_macros.h"
#include "engine/progress.h"
#include "engine/repository_impl.h"
#include "snapstore/inspect.h"

namespace snapstore {
namespace {

Status CountObjects(ObjectStore& store, Observer* observer, RepositoryStats* stats) {
  ProgressReporter progress(observer, "list objects");
  return store.List("", [&](const ObjectInfo& object) -> Status {
    SNAP_RETURN_IF_ERROR(progress.Poll());
    progress.AddItems(1);
    stats->bytes_stored += object.size;
    if (!DigestOfKey(object.key).ok()) return {};
    if (object.key.starts_with(kDataPrefix) || object.key.starts_with(kMetaPrefix)) {
      ++stats->packs;
      stats->bytes_packs += object.size;
    } else if (object.key.starts_with(kSegmentPrefix)) {
      ++stats->index_segments;
    }
    return {};
  });
}

}  // namespace

Result<RepositoryStats> GatherStats(Repository& repository, Observer* observer) {
  RepositoryImpl& impl = RepositoryImpl::Of(repository);
  RepositoryStats stats;
  SNAP_RETURN_IF_ERROR(CountObjects(impl.store(), observer, &stats));
  SNAP_ASSIGN_OR_RETURN(const std::vector<SnapshotInfo> infos,
                        impl.ListSnapshots(observer, /*damaged=*/nullptr));
  stats.snapshots = infos.size();
  for (const SnapshotInfo& info : infos) stats.bytes_logical += info.bytes_total;
  SNAP_RETURN_IF_ERROR(impl.SyncIndex(observer));
  SNAP_ASSIGN_OR_RETURN(ChunkIndex * index, impl.Index());
  stats.chunks = index->ApproximateChunkCount();
  return stats;
}

}  // namespace snapstore
