#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <mutex>

#include "base/memory_limit.h"
#include "base/status_macros.h"
#include "tools/snapstore/command.h"
#include "tools/snapstore/interrupt.h"
#include "tools/snapstore/mount/fuse_server.h"
#include "tools/snapstore/mount/mount_point.h"
#include "tools/snapstore/mount/mounted_tree.h"
#include "tools/snapstore/text.h"

namespace snapstore::cli {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr int kLargeBlock = 256 << 10;

// How the memory limit is used by a mount. A thread that answers requests takes up to about 4 MiB,
// one that reads ahead 8.
struct MountPlan {
  uint64_t cache = 0;       // decoded content, bytes
  uint64_t read_ahead = 0;  // of one file, bytes
  unsigned read_ahead_threads = 1;
  unsigned threads = 1;

  static MountPlan For(uint64_t limit) {
    MountPlan plan;
    plan.cache = std::clamp<uint64_t>(limit / 4 - 8 * kMiB, 8 * kMiB, 1024 * kMiB);
    plan.read_ahead = std::clamp<uint64_t>(plan.cache / 4, 2 * kMiB, 8 * kMiB);
    plan.read_ahead_threads =
        static_cast<unsigned>(std::clamp<uint64_t>(limit / (64 * kMiB), 1, 4));
    plan.threads = static_cast<unsigned>(std::clamp<uint64_t>(limit / (16 * kMiB), 5, 16));
    return plan;
  }
};

class MountCommand : public Command {
 public:
  void AddOptions(CLI::App* app) override {
    app->add_option("DIR", directory_, "An empty directory")->required();
    app->add_flag("--allow-other", allow_other_,
                  "Let other users in, as the permissions of the files allow");
  }

  Result<Finding> Run(Session& session) override {
    SNAP_RETURN_IF_ERROR(session.EngineOptions().status());
    session.BeginRun();
    SNAP_RETURN_IF_ERROR(CheckFuseDevice());
    bool replaced = false;
    SNAP_ASSIGN_OR_RETURN(const std::string directory, PrepareMountPoint(directory_, &replaced));
    if (replaced && !session.quiet()) {
      session.observer()->OnWarning(
          {directory, Status::Io("took away a mount whose program had died")});
    }
    // Frames come and go on many threads for days: given back one by one, they leave no holes.
    mallopt(M_MMAP_THRESHOLD, kLargeBlock);
    MountPlan plan;
    SNAP_ASSIGN_OR_RETURN(auto repository, session.OpenRepository([&](RepositoryOptions* options) {
      plan = MountPlan::For(EffectiveMemoryLimit(options->memory_limit));
      options->read_cache_bytes = plan.cache;
      options->cancelled = [] { return Interrupted() || RequestAbandoned(); };
    }));
    const auto report = [&](const std::string& item, const Status& status) {
      const std::lock_guard lock(report_mutex_);
      session.observer()->OnWarning({item, status});
    };
    MountedTree tree(repository.get(), {.read_ahead_bytes = plan.read_ahead,
                                        .read_ahead_threads = plan.read_ahead_threads,
                                        .report = report});
    SNAP_RETURN_IF_ERROR(tree.Start(session.observer()));
    session.observer()->Finish();
    SNAP_ASSIGN_OR_RETURN(const auto server, FuseServer::Mount(&tree, directory,
                                                               {.source = repository->location(),
                                                                .allow_other = allow_other_,
                                                                .threads = plan.threads,
                                                                .report = report}));
    Status printed;
    SNAP_RETURN_IF_ERROR(
        server->Run([&] { printed = PrintReady(session, *repository, directory); }));
    SNAP_RETURN_IF_ERROR(printed);
    return Finding::kNone;
  }

 private:
  static Status PrintReady(Session& session, const Repository& repository,
                           const std::string& directory) {
    if (session.json()) {
      Json document = {{"message_type", "mounted"}};
      SetBytes(&document, "directory", directory);
      SetBytes(&document, "repository", repository.location());
      document["repository_id"] = repository.id();
      SNAP_RETURN_IF_ERROR(session.out().Json(document));
    } else if (!session.quiet()) {
      SNAP_RETURN_IF_ERROR(session.out().Line(
          fmt::format("{} is mounted at {}; Ctrl-C or 'fusermount3 -u {}' ends that",
                      EscapeForTerminal(repository.location()), EscapeForTerminal(directory),
                      EscapeForTerminal(directory))));
    }
    return session.out().Flush();
  }

  std::string directory_;
  bool allow_other_ = false;
  std::mutex report_mutex_;
};

}  // namespace

const CommandInfo kMountCommand = {
    "mount",
    "Show all snapshots as a read-only file system (FUSE) until it is unmounted or this command "
    "gets "
    "SIGINT or SIGTERM. DIR/ids has each snapshot by its id, DIR/by-time and DIR/hosts link to "
    "them "
    "by time and host, DIR/latest to the newest; new ones appear while it is mounted. Every byte "
    "is "
    "verified before it is handed out; what is damaged cannot be read (Input/output error). A "
    "volume "
    "is a regular file and can be mounted in turn; a file system with a journal must be told not "
    "to "
    "replay it: ext4 with noload, XFS with norecovery.",
    "  snapstore mount /mnt/snapshots\n"
    "  mount -o ro,loop,noload /mnt/snapshots/latest/dev/vg0/data /mnt/data\n"
    "  fusermount3 -u /mnt/snapshots",
    MakeCommand<MountCommand>};

}  // namespace snapstore::cli
