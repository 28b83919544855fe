// Repository: the handle to one place that keeps snapshots. Open this header first.
//
//   auto repo = snapstore::Repository::Open({.location = "/backup/repo"});
//   if (!repo.ok()) …repo.status().ToString()…
//   auto summary = snapstore::TakeSnapshot(**repo, {.paths = {"/data"}}, nullptr);
//
// Any number of processes and machines may have one repository open and write to it at once. The
// chunk index is opened on first need, in a folder of the cache directory that belongs to this
// process alone while it runs.
//
// Thread safety: a Repository may be shared; run one snapshot at a time on each handle.
#ifndef SNAPSTORE_REPOSITORY_H_
#define SNAPSTORE_REPOSITORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/credential.h"
#include "snapstore/observer.h"
#include "snapstore/status.h"
#include "snapstore/store_usage.h"

namespace snapstore {

// How files are read and written: chosen by a probe, or demanded.
enum class IoChoice { kAuto, kUring, kThreads };

struct RepositoryOptions {
  // "/path", "file:///path", "efs://fs-0123abcd/prefix" (found among the mounts or below
  // SNAPSTORE_EFS_ROOT), "s3://bucket/prefix" (credentials, region and endpoint from AWS's own
  // variables and files).
  std::string location = {};
  // Where the chunk index lives; empty: SNAPSTORE_CACHE_DIR, else XDG_CACHE_HOME/snapstore, else
  // ~/.cache/snapstore.
  std::string cache_dir = {};
  // Bytes for queues, buffers, compression contexts and the index together. Lowered to three
  // quarters of the cgroup's limit if that is smaller. At least 64 MiB.
  uint64_t memory_limit = 512ull << 20;
  // Bytes of decoded content kept for readers; 0: a sixteenth of the memory limit. For programs
  // that read many contents at random, and write none.
  uint64_t read_cache_bytes = 0;
  unsigned threads = 0;  // workers for compression and restore; 0: one a core
  IoChoice io = IoChoice::kAuto;
  // Settings of the store, as "s3.storage-class": docs/stores.md lists them.
  std::map<std::string, std::string> store_settings = {};
  // Polled, from any thread, while a store waits for a server; once true, calls end with Cancelled.
  std::function<bool()> cancelled = nullptr;
  // Opens an encrypted repository. Given for one that is not encrypted, it is refused: nobody shall
  // believe in a secrecy that there is not.
  std::optional<Credential> credential = std::nullopt;
  // Asked at most once, when a credential is needed and none was given; null: the call fails.
  std::function<Result<Credential>()> ask_credential = nullptr;
};

class Repository;

// What Init makes.
struct InitOptions {
  bool encrypt = false;        // with the credential of the repository's options
  std::string key_label = {};  // of its first key
  // Not null: its secret and its cuts, so that copies between the two need not read what is there.
  Repository* like = nullptr;
};

// What `list` shows of a snapshot.
struct SnapshotInfo {
  std::string id;         // 64 hex digits: the SHA-256 of its manifest
  std::string parent_id;  // empty: none
  int64_t time_ns = 0;    // wall clock when it began, ns since the epoch
  std::string host;
  std::string user;
  std::vector<std::string> paths;  // its sources, sorted
  std::map<std::string, std::string> tags;

  uint64_t entries = 0;       // files, directories, volumes, …
  uint64_t unreadable = 0;    // entries that could not be read, or that changed meanwhile
  uint64_t bytes_total = 0;   // logical size of all content
  uint64_t bytes_read = 0;    // read from the sources
  uint64_t bytes_new = 0;     // of chunks the repository did not have, before compression
  uint64_t bytes_stored = 0;  // that this snapshot added to the store, all objects
  uint64_t chunks_total = 0;
  uint64_t chunks_new = 0;
  double seconds = 0;

  // Of a copy: repository and snapshot it is a copy of, however often it was copied on.
  std::string original_repository;
  std::string original_id;
  // Of a repaired snapshot: the damaged one.
  std::string repaired_from;
};

struct RebuiltIndex {
  uint64_t packs_read = 0;
  uint64_t packs_damaged = 0;      // left out: their footers cannot be read
  uint64_t packs_published = 0;    // that no good segment listed
  uint64_t segments_replaced = 0;  // that were damaged or said what is not so
  uint64_t segments_wrong = 0;     // the same, but this user may not remove them
  uint64_t marks_removed = 0;      // of prunes: they were damaged, and nobody could write
};

class Repository {
 public:
  // Makes a new repository. Conflict when there is one already; InvalidArgument when the place is
  // not empty and is no repository, or when a credential is given without `encrypt`; WrongKey when
  // it lacks.
  static Status Init(const RepositoryOptions& options, const InitOptions& init = {});

  // NotFound: no repository there. Corruption: its configuration is damaged. WrongKey: the
  // credential is wrong, missing, or given for a repository that is not encrypted.
  static Result<std::unique_ptr<Repository>> Open(const RepositoryOptions& options);

  virtual ~Repository() = default;

  virtual const std::string& id() const = 0;             // 32 hex digits
  virtual const std::string& location() const = 0;       // for people
  virtual const RepositoryOptions& options() const = 0;  // without the credential
  virtual bool encrypted() const = 0;

  // What this handle has asked of its store until now.
  virtual StoreUsage Usage() const = 0;

  // Whether the caps on bandwidth among its store settings are passed over, also by transfers under
  // way: for what must be stored before a machine goes. From any thread.
  virtual void LiftBandwidthLimits(bool lifted) = 0;

  // All snapshots, oldest first. A damaged manifest is reported to `observer` (may be null) as a
  // warning and counted in `damaged` (may be null). Unsupported: a newer program wrote one, and
  // what is the newest of the others is not what anybody asked for.
  virtual Result<std::vector<SnapshotInfo>> ListSnapshots(Observer* observer,
                                                          uint64_t* damaged) = 0;

  // The full id for "latest", a full id or a prefix of at least four digits. NotFound when none
  // fits, InvalidArgument when several do (the message lists them).
  virtual Result<std::string> ResolveSnapshot(std::string_view reference) = 0;

  virtual Result<SnapshotInfo> GetSnapshot(const std::string& id) = 0;

  // Ids of all snapshots, in no order of time: one listing, no snapshot is read.
  virtual Result<std::vector<std::string>> SnapshotIds() = 0;

  // Drops the local chunk index and fills it anew from the footers of all packs. Publishes index
  // segments for packs that no segment lists, and replaces segments that are damaged, or that list
  // packs that are gone or are not as listed. Packs with damaged footers are warned about. Damaged
  // prune marks are taken away. REQUIRES for that: no prune is at work.
  virtual Result<RebuiltIndex> RebuildIndex(Observer* observer) = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_REPOSITORY_H_
