// far_bench REPOSITORY FOLDER: what distance costs. The repository, a directory, is used as if each
// request took a while to get there, by way of FarStore; once with one read at a time, and once
// with as many as S3 gets. One JSON line each: how long it takes to list the snapshots, to fill an
// empty index, and to restore the newest snapshot into FOLDER, which is removed again.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <filesystem>

#include "base/clock.h"
#include "base/status_macros.h"
#include "engine/repository_impl.h"
#include "snapstore/restore.h"
#include "tests/engine/far_store.h"
#include "uploader/open_store.h"

namespace snapstore::bench {
namespace {

constexpr unsigned kGetsOfS3 = 16;

Status Measure(const std::string& location, const std::string& folder, int delay_millis,
               unsigned gets) {
  const std::string cache = folder + "/cache";
  const std::string target = folder + "/target";
  SNAP_ASSIGN_OR_RETURN(std::shared_ptr<ObjectStore> inner, OpenStore(location, {}));
  RepositoryOptions options;
  options.cache_dir = cache;
  SNAP_ASSIGN_OR_RETURN(
      const std::unique_ptr<RepositoryImpl> repository,
      RepositoryImpl::OpenWithStore(
          std::make_unique<FarStore>(inner, gets, std::chrono::milliseconds(delay_millis)),
          options));
  const Stopwatch listing;
  SNAP_ASSIGN_OR_RETURN(const auto snapshots, repository->ListSnapshots(nullptr, nullptr));
  const double list = listing.Seconds();
  if (snapshots.empty()) return Status::NotFound("no snapshot in " + location);
  RestoreRequest request;
  request.snapshot_id = snapshots.back().id;
  request.target = target;
  const Stopwatch restoring;
  SNAP_ASSIGN_OR_RETURN(const RestoreSummary summary,
                        RestoreSnapshot(*repository, request, nullptr));
  const double restore = restoring.Seconds();
  const Stopwatch syncing;
  SNAP_RETURN_IF_ERROR(repository->SyncIndex(nullptr));
  fmt::print(
      "{{\"delay_ms\": {}, \"gets\": {}, \"snapshots\": {}, \"list_s\": {:.3f}, \"sync_s\": "
      "{:.3f}, "
      "\"restore_s\": {:.3f}, \"restored_bytes\": {}, \"fetched_bytes\": {}}}\n",
      delay_millis, gets, snapshots.size(), list, syncing.Seconds(), restore, summary.bytes_total,
      summary.bytes_fetched);
  std::fflush(stdout);
  return {};
}

int Main(const std::string& location, const std::string& folder) {
  for (const int delay : {0, 5, 20, 50}) {
    for (const unsigned gets : {1u, kGetsOfS3}) {
      const std::string run = folder + "/run";
      const Status measured = Measure(location, run, delay, gets);
      std::filesystem::remove_all(run);
      if (!measured.ok()) {
        fmt::print(stderr, "error: {}\n", measured.message());
        return 1;
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace snapstore::bench

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: far_bench REPOSITORY FOLDER\n");
    return 2;
  }
  return snapstore::bench::Main(argv[1], argv[2]);
}
