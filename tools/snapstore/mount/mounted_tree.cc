#include "tools/snapstore/mount/mounted_tree.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.h"
#include "base/status_macros.h"

namespace snapstore::cli {
namespace {

// Snapshots that stay open when nobody uses them.
constexpr size_t kOpenedMax = 8;
constexpr std::chrono::seconds kRefreshInterval{3};
// How long somebody who looks at the list of snapshots waits for it to be read anew.
constexpr std::chrono::seconds kRefreshWait{2};
constexpr uint64_t kPrefetchBytes = 2 << 20;
constexpr size_t kPrefetchQueueMax = 64;
constexpr blksize_t kBlockBytes = 128 << 10;
constexpr uint64_t kStatBlock = 512;

constexpr std::pair<const char*, uint64_t> kFixedDirectories[] = {
    {"ids", kIdsInode}, {"by-time", kTimesInode}, {"hosts", kHostsInode}};
constexpr char kLatest[] = "latest";

Status NotThere(std::string_view name) { return Status::NotFound(std::string(name)); }

mode_t FileType(EntryType type) {
  switch (type) {
    case EntryType::kFile:
    case EntryType::kVolume:
      return S_IFREG;
    case EntryType::kDirectory:
      return S_IFDIR;
    case EntryType::kSymlink:
      return S_IFLNK;
    case EntryType::kFifo:
      return S_IFIFO;
    case EntryType::kSocket:
      return S_IFSOCK;
    case EntryType::kCharDevice:
      return S_IFCHR;
    case EntryType::kBlockDevice:
      return S_IFBLK;
  }
  return S_IFREG;
}

void SetTimes(int64_t modified_ns, int64_t changed_ns, struct stat* out) {
  out->st_mtim = out->st_atim = ToTimespec(modified_ns);
  out->st_ctim = ToTimespec(changed_ns);
}

std::optional<uint64_t> DirectoryPosition(const Inode& inode) {
  return inode.kind == Inode::Kind::kEntry ? std::optional(inode.value) : std::nullopt;
}

}  // namespace

struct stat EntryAttributes(uint32_t number, const PlacedEntry& placed) {
  const Entry& entry = placed.entry;
  struct stat out {};
  out.st_ino = InodeNumber({Inode::Kind::kEntry, number, placed.content_position});
  out.st_mode = FileType(entry.type) | (entry.mode & 07777);
  // Of a directory, 1 says that its subdirectories cannot be told from it (as on btrfs): some may
  // have been left out of the snapshot.
  out.st_nlink = entry.type == EntryType::kDirectory ? 1 : std::max<uint64_t>(entry.links, 1);
  out.st_uid = entry.uid;
  out.st_gid = entry.gid;
  out.st_rdev = entry.rdev;
  out.st_size = static_cast<off_t>(entry.type == EntryType::kSymlink ? entry.symlink_target.size()
                                                                     : entry.size);
  out.st_blksize = kBlockBytes;
  out.st_blocks = static_cast<blkcnt_t>((placed.data_bytes + kStatBlock - 1) / kStatBlock);
  SetTimes(entry.mtime_ns, entry.ctime_ns, &out);
  return out;
}

MountedFile::MountedFile(std::shared_ptr<SnapshotReader> snapshot,
                         std::shared_ptr<SharedContentReader> content, BackgroundTasks* background,
                         uint64_t window_max)
    : snapshot_(std::move(snapshot)),
      content_(std::move(content)),
      background_(background),
      ahead_(content_->size(), window_max) {}

Result<size_t> MountedFile::ReadAt(uint64_t offset, std::span<uint8_t> out) {
  if (offset >= content_->size()) return size_t{0};
  out = out.first(std::min<uint64_t>(out.size(), content_->size() - offset));
  ByteRange ahead;
  {
    const std::lock_guard lock(mutex_);
    ahead = ahead_.OnRead(offset, out.size());
  }
  // In pieces, so that several threads fetch side by side.
  for (uint64_t at = ahead.offset; at < ahead.offset + ahead.length; at += kPrefetchBytes) {
    const uint64_t length = std::min(kPrefetchBytes, ahead.offset + ahead.length - at);
    const bool queued = background_->Add([snapshot = snapshot_, content = content_, at, length] {
      // What cannot be read is reported to whoever reads it.
      (void)content->Prefetch(at, length);
    });
    if (!queued) break;
  }
  SNAP_RETURN_IF_ERROR(content_->ReadAt(offset, out));
  return out.size();
}

Result<uint64_t> MountedFile::Seek(uint64_t offset, int whence) {
  if (offset >= content_->size()) return Status::FromErrno(ENXIO, "lseek");
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t at = offset;
  while (true) {
    SNAP_RETURN_IF_ERROR(content_->NextData(at, &begin, &end));
    if (whence == SEEK_DATA) {
      if (begin >= content_->size()) return Status::FromErrno(ENXIO, "lseek");
      return begin;
    }
    // Long data comes in pieces.
    if (begin > at || begin >= content_->size() || end <= at) return at;
    at = end;
  }
}

MountedTree::MountedTree(Repository* repository, MountedTreeOptions options)
    : repository_(repository), options_(std::move(options)), started_ns_(WallNanos()) {}

MountedTree::~MountedTree() {
  {
    const std::lock_guard lock(refresh_mutex_);
    stopping_ = true;
  }
  refresh_wake_.notify_all();
  if (refresher_.joinable()) refresher_.join();
}

Status MountedTree::Start(Observer* observer) {
  uint64_t damaged = 0;
  SNAP_ASSIGN_OR_RETURN(std::vector<SnapshotInfo> infos,
                        repository_->ListSnapshots(observer, &damaged));
  std::vector<std::string> ids;
  ids.reserve(infos.size());
  for (const SnapshotInfo& info : infos) ids.push_back(info.id);
  names_.Update(ids, std::move(infos));
  names_missing_ = damaged > 0;
  refreshed_at_ = std::chrono::steady_clock::now();
  background_ = std::make_unique<BackgroundTasks>(options_.read_ahead_threads, kPrefetchQueueMax);
  refresher_ = std::thread([this] { RefreshLoop(); });
  return {};
}

Status MountedTree::Refresh(bool* names_missing) {
  SNAP_ASSIGN_OR_RETURN(const std::vector<std::string> ids, repository_->SnapshotIds());
  std::vector<SnapshotInfo> added;
  for (const std::string& id : names_.Unknown(ids)) {
    Result<SnapshotInfo> info = repository_->GetSnapshot(id);
    if (info.ok()) {
      added.push_back(std::move(*info));
    } else if (info.status().Is(StatusCode::kCorruption)) {
      *names_missing = true;
      options_.report("snapshot " + id, info.status());
    } else if (!info.status().Is(StatusCode::kNotFound)) {
      return info.status();
    }
  }
  names_.Update(ids, std::move(added));
  return {};
}

void MountedTree::RefreshLoop() {
  std::unique_lock lock(refresh_mutex_);
  while (true) {
    refresh_wake_.wait(lock, [this] { return stopping_ || refresh_wanted_; });
    if (stopping_) return;
    lock.unlock();
    bool names_missing = false;
    const Status status = Refresh(&names_missing);
    if (!status.ok()) options_.report("list of snapshots", status);
    lock.lock();
    refresh_wanted_ = false;
    refresh_failed_ = !status.ok();
    names_missing_ = names_missing || refresh_failed_;
    refreshed_at_ = std::chrono::steady_clock::now();
    ++refreshes_;
    refreshed_.notify_all();
  }
}

void MountedTree::Freshen() {
  std::unique_lock lock(refresh_mutex_);
  if (std::chrono::steady_clock::now() - refreshed_at_ < kRefreshInterval) return;
  const bool asked_before = refresh_wanted_;
  refresh_wanted_ = true;
  refresh_wake_.notify_one();
  // While the store cannot be reached the old list is better than none.
  if (asked_before || refresh_failed_) return;
  const uint64_t before = refreshes_;
  refreshed_.wait_for(lock, kRefreshWait, [&] { return stopping_ || refreshes_ != before; });
}

Result<std::shared_ptr<SnapshotReader>> MountedTree::Snapshot(uint32_t number) {
  std::shared_ptr<Opened> opened;
  {
    const std::lock_guard lock(opened_mutex_);
    std::shared_ptr<Opened>& place = opened_[number];
    if (place == nullptr) {
      place = std::make_shared<Opened>();
    } else {
      recent_.remove(number);
    }
    recent_.push_front(number);
    opened = place;
    if (recent_.size() > kOpenedMax) {
      opened_.erase(recent_.back());
      recent_.pop_back();
    }
  }
  const std::lock_guard lock(opened->mutex);
  if (opened->reader != nullptr) return opened->reader;
  const std::optional<NamedSnapshot> named = names_.Get(number);
  if (!named.has_value()) return NotThere("snapshot");
  Result<std::unique_ptr<SnapshotReader>> reader = SnapshotReader::Open(*repository_, named->id);
  if (reader.status().Is(StatusCode::kNotFound)) {
    // Stale, not missing: the kernel then asks for the names that led here once more.
    return Status::FromErrno(ESTALE, "snapshot " + named->id_name + " was forgotten");
  }
  SNAP_RETURN_IF_ERROR(reader.status());
  opened->reader = std::move(*reader);
  return opened->reader;
}

Result<PlacedEntry> MountedTree::EntryOf(const Inode& inode) {
  SNAP_ASSIGN_OR_RETURN(const std::shared_ptr<SnapshotReader> reader, Snapshot(inode.snapshot));
  return reader->EntryAt(inode.value);
}

std::string MountedTree::SnapshotOf(uint64_t inode) const {
  const Inode parts = InodeOf(inode);
  const std::optional<NamedSnapshot> named =
      parts.in_snapshot() ? names_.Get(parts.snapshot) : std::nullopt;
  return named.has_value() ? "ids/" + named->id_name : "/";
}

struct stat MountedTree::OwnDirectory(const Inode& inode) const {
  struct stat out {};
  out.st_ino = InodeNumber(inode);
  out.st_mode = S_IFDIR | 0555;
  out.st_nlink = 1;
  out.st_uid = getuid();
  out.st_gid = getgid();
  SetTimes(started_ns_, started_ns_, &out);
  return out;
}

struct stat MountedTree::TopDirectory(const NamedSnapshot& snapshot) const {
  struct stat out = OwnDirectory({Inode::Kind::kTop, snapshot.number, 0});
  SetTimes(snapshot.time_ns, snapshot.time_ns, &out);
  return out;
}

struct stat MountedTree::Link(uint64_t depth, const NamedSnapshot& snapshot) const {
  struct stat out = OwnDirectory({Inode::Kind::kLink, snapshot.number, depth});
  out.st_mode = S_IFLNK | 0777;
  out.st_size = static_cast<off_t>(3 * depth + 4 + snapshot.id_name.size());
  SetTimes(snapshot.time_ns, snapshot.time_ns, &out);
  return out;
}

Result<std::string> MountedTree::ReadLink(uint64_t number) {
  const Inode inode = InodeOf(number);
  if (inode.kind == Inode::Kind::kEntry) {
    SNAP_ASSIGN_OR_RETURN(PlacedEntry placed, EntryOf(inode));
    if (placed.entry.type != EntryType::kSymlink) return Status::FromErrno(EINVAL, "readlink");
    return std::move(placed.entry.symlink_target);
  }
  const std::optional<NamedSnapshot> named = names_.Get(inode.snapshot);
  if (inode.kind != Inode::Kind::kLink || !named.has_value()) return NotThere("link");
  std::string target;
  for (uint64_t i = 0; i < inode.value; ++i) target += "../";
  return target + "ids/" + named->id_name;
}

Result<struct stat> MountedTree::Attributes(uint64_t number) {
  const Inode inode = InodeOf(number);
  if (inode.kind == Inode::Kind::kEntry) {
    SNAP_ASSIGN_OR_RETURN(const PlacedEntry placed, EntryOf(inode));
    return EntryAttributes(inode.snapshot, placed);
  }
  if (inode.kind == Inode::Kind::kFixed || inode.kind == Inode::Kind::kHost) {
    return OwnDirectory(inode);
  }
  const std::optional<NamedSnapshot> named = names_.Get(inode.snapshot);
  if (!named.has_value()) return NotThere("snapshot");
  return inode.kind == Inode::Kind::kTop ? TopDirectory(*named) : Link(inode.value, *named);
}

Result<std::map<std::string, std::string>> MountedTree::Xattrs(uint64_t number) {
  const Inode inode = InodeOf(number);
  if (inode.kind != Inode::Kind::kEntry) return std::map<std::string, std::string>();
  SNAP_ASSIGN_OR_RETURN(PlacedEntry placed, EntryOf(inode));
  return std::move(placed.entry.xattrs);
}

Result<std::shared_ptr<MountedFile>> MountedTree::Open(uint64_t number) {
  const Inode inode = InodeOf(number);
  if (inode.kind != Inode::Kind::kEntry) return Status::FromErrno(EISDIR, "open");
  SNAP_ASSIGN_OR_RETURN(std::shared_ptr<SnapshotReader> reader, Snapshot(inode.snapshot));
  SNAP_ASSIGN_OR_RETURN(std::shared_ptr<SharedContentReader> content,
                        reader->OpenShared(inode.value));
  return std::shared_ptr<MountedFile>(new MountedFile(
      std::move(reader), std::move(content), background_.get(), options_.read_ahead_bytes));
}

Result<struct stat> MountedTree::Lookup(uint64_t parent_number, std::string_view name) {
  const Inode parent = InodeOf(parent_number);
  if (!parent.in_snapshot()) return LookupOwn(parent, name);
  SNAP_ASSIGN_OR_RETURN(const std::shared_ptr<SnapshotReader> reader, Snapshot(parent.snapshot));
  SNAP_ASSIGN_OR_RETURN(const PlacedEntry placed,
                        reader->LookupIn(DirectoryPosition(parent), name));
  return EntryAttributes(parent.snapshot, placed);
}

Result<struct stat> MountedTree::LookupOwn(const Inode& parent, std::string_view name) {
  Freshen();
  Result<struct stat> found = FindOwn(parent, name);
  const bool in_root = parent.kind == Inode::Kind::kFixed && parent.value == kRootInode;
  if (found.ok() || in_root) return found;
  const std::lock_guard lock(refresh_mutex_);
  // Nobody may take for deleted what could not be listed.
  if (names_missing_) return Status::Io("not all snapshots can be listed");
  return found;
}

Result<struct stat> MountedTree::FindOwn(const Inode& parent, std::string_view name) const {
  std::optional<uint32_t> snapshot;
  uint64_t depth = 0;
  if (parent.kind == Inode::Kind::kHost) {
    depth = 2;
    const auto host = static_cast<uint32_t>(parent.value);
    snapshot = name == kLatest ? names_.LatestOf(host) : names_.FindTime(name);
    const std::optional<NamedSnapshot> named =
        snapshot.has_value() ? names_.Get(*snapshot) : std::nullopt;
    if (!named.has_value() || named->host != host) return NotThere(name);
  } else if (parent.value == kRootInode) {
    for (const auto& [directory, inode] : kFixedDirectories) {
      if (name == directory) return OwnDirectory({Inode::Kind::kFixed, 0, inode});
    }
    if (name == kLatest) snapshot = names_.Latest();
  } else if (parent.value == kIdsInode) {
    snapshot = names_.FindId(name);
    if (!snapshot.has_value()) return NotThere(name);
    return TopDirectory(*names_.Get(*snapshot));
  } else if (parent.value == kTimesInode) {
    depth = 1;
    snapshot = names_.FindTime(name);
  } else if (parent.value == kHostsInode) {
    const std::optional<uint32_t> host = names_.FindHost(name);
    if (!host.has_value()) return NotThere(name);
    return OwnDirectory({Inode::Kind::kHost, 0, *host});
  }
  if (!snapshot.has_value()) return NotThere(name);
  return Link(depth, *names_.Get(*snapshot));
}

Status MountedTree::ReadDirectory(uint64_t number, uint64_t cookie, const EmitFn& emit) {
  const Inode inode = InodeOf(number);
  if (!inode.in_snapshot()) return ReadOwnDirectory(inode, cookie, emit);
  SNAP_ASSIGN_OR_RETURN(const std::shared_ptr<SnapshotReader> reader, Snapshot(inode.snapshot));
  // A cookie is 1 more than the position of the entry before.
  const std::optional<uint64_t> after = cookie == 0 ? std::nullopt : std::optional(cookie - 1);
  return reader->ForEachChild(
      DirectoryPosition(inode), after, [&](const PlacedEntry& placed) -> Result<bool> {
        if (placed.position > kMountedPositionMax) {
          return Status::FromErrno(EOVERFLOW, "the snapshot has too many entries");
        }
        const std::string& path = placed.entry.path;
        return emit(path.substr(path.rfind('/') + 1), EntryAttributes(inode.snapshot, placed),
                    placed.position + 1);
      });
}

Status MountedTree::ReadOwnDirectory(const Inode& inode, uint64_t cookie, const EmitFn& emit) {
  if (cookie == 0) Freshen();
  if (inode.kind == Inode::Kind::kFixed && inode.value == kRootInode) {
    return ReadFixed(cookie, emit);
  }
  if (inode.kind == Inode::Kind::kFixed && inode.value == kHostsInode) {
    auto host = static_cast<uint32_t>(cookie);
    while (const std::optional<std::string> name = names_.NextHost(&host)) {
      if (!emit(*name, OwnDirectory({Inode::Kind::kHost, 0, host}), host + 1)) break;
      ++host;
    }
    return {};
  }
  return ReadLinks(inode, cookie, emit);
}

Status MountedTree::ReadFixed(uint64_t cookie, const EmitFn& emit) {
  uint64_t at = 0;
  for (const auto& [name, inode] : kFixedDirectories) {
    if (at++ < cookie) continue;
    if (!emit(name, OwnDirectory({Inode::Kind::kFixed, 0, inode}), at)) return {};
  }
  const std::optional<uint32_t> latest = names_.Latest();
  if (cookie <= at && latest.has_value()) emit(kLatest, Link(0, *names_.Get(*latest)), at + 1);
  return {};
}

Status MountedTree::ReadLinks(const Inode& inode, uint64_t cookie, const EmitFn& emit) {
  std::optional<uint32_t> host;
  // Cookies are 2 more than the number of the snapshot before; 1 is behind "latest".
  if (inode.kind == Inode::Kind::kHost) {
    host = static_cast<uint32_t>(inode.value);
    const std::optional<uint32_t> latest = names_.LatestOf(*host);
    if (cookie == 0 && latest.has_value() && !emit(kLatest, Link(2, *names_.Get(*latest)), 1)) {
      return {};
    }
  } else if (inode.value != kIdsInode && inode.value != kTimesInode) {
    return NotThere("directory");
  }
  auto number = static_cast<uint32_t>(cookie < 2 ? 0 : cookie - 1);
  while (const std::optional<NamedSnapshot> snapshot = names_.Next(number, host)) {
    const uint64_t next = uint64_t{snapshot->number} + 2;
    const bool ids = !host.has_value() && inode.value == kIdsInode;
    const bool more = ids ? emit(snapshot->id_name, TopDirectory(*snapshot), next)
                          : emit(snapshot->time_name, Link(host ? 2 : 1, *snapshot), next);
    if (!more) break;
    number = snapshot->number + 1;
  }
  return {};
}

}  // namespace snapstore::cli
