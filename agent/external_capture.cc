#include "agent/external_capture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "agent/file_users.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/network_file_system.h"
#include "base/status_macros.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kSmallBytes = 1 << 20;
constexpr int64_t kLastingNanos = 2 * kNanosPerSecond;
constexpr size_t kReadBytes = 1 << 20;
// Whole captures of a file of which a tail would not do, before that is tried again.
constexpr unsigned kDistrusted = 16;

int64_t CoarseNow() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return ToNanos(now);
}

// Whether its times are set by this kernel, at each change.
bool HasOwnTimes(int fd) {
  struct statfs system {};
  return FileSystemKindOf(fd) == FileSystemKind::kLocal && fstatfs(fd, &system) == 0 &&
         system.f_type != FUSE_SUPER_MAGIC;
}

UniqueFd Clone(int fd, const std::string& directory) {
  UniqueFd clone(open(directory.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600));
  if (!clone.valid() || ioctl(clone.get(), FICLONE, fd) != 0) return {};
  return clone;
}

// Adds bytes [begin, end) of the file to `hash`. Corruption: it ends before.
Status HashRange(int fd, uint64_t begin, uint64_t end, const std::string& name, RunningHash* hash) {
  Bytes buffer(kReadBytes);
  while (begin < end) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(buffer.size(), end - begin));
    const MutableByteSpan out(buffer.data(), want);
    SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(fd, out, begin, name));
    if (got < want) return Status::Corruption(fmt::format("{}: has become shorter", name));
    hash->Update(out);
    begin += want;
  }
  return Status::Ok();
}

}  // namespace

RunningHash::RunningHash() : state_(XXH3_createState()) {
  XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_.get()));
}
RunningHash::RunningHash(const RunningHash& other) : RunningHash() { *this = other; }
RunningHash& RunningHash::operator=(const RunningHash& other) {
  XXH3_copyState(static_cast<XXH3_state_t*>(state_.get()),
                 static_cast<const XXH3_state_t*>(other.state_.get()));
  return *this;
}
void RunningHash::Update(std::span<const uint8_t> bytes) {
  (void)XXH3_128bits_update(static_cast<XXH3_state_t*>(state_.get()), bytes.data(), bytes.size());
}
std::array<uint64_t, 2> RunningHash::Digest() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_.get()));
  return {hash.low64, hash.high64};
}
void RunningHash::Free::operator()(void* state) const {
  XXH3_freeState(static_cast<XXH3_state_t*>(state));
}

ExternalCapture::ExternalCapture(std::vector<std::string> paths, std::string clone_directory)
    : paths_(std::move(paths)), clone_directory_(std::move(clone_directory)) {}

const ExternalCapture::Known* ExternalCapture::KnownOf(const std::string& path,
                                                       const std::string& parent_id,
                                                       const struct stat& now) const {
  const auto found = known_.find(path);
  if (found == known_.end() || distrusted_.contains(path)) return nullptr;
  const Known& known = found->second;
  const bool same = known.snapshot_id == parent_id && known.device == now.st_dev &&
                    known.inode == now.st_ino && known.size <= static_cast<uint64_t>(now.st_size);
  return same ? &known : nullptr;
}

uint64_t ExternalCapture::Prepare(const std::string& parent_id) const {
  uint64_t bytes = 0;
  for (const std::string& path : paths_) {
    struct stat now {};
    if (stat(path.c_str(), &now) != 0 || !S_ISREG(now.st_mode)) continue;
    const Known* known = KnownOf(path, parent_id, now);
    bytes += static_cast<uint64_t>(now.st_size) - (known == nullptr ? 0 : known->size);
    if (known == nullptr || !known->cloned) continue;
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (fd.valid()) (void)sync_file_range(fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  }
  return bytes;
}

Status ExternalCapture::ReadToArena(CapturedFile* file, uint64_t begin, Arena* arena) const {
  ArenaWriter writer(arena, file->info.path);
  for (uint64_t at = begin;;) {
    const std::span<uint8_t> space = writer.Space();
    if (space.empty()) return arena->Full("it");
    SNAP_ASSIGN_OR_RETURN(const size_t got,
                          PreadFull(file->file.get(), space, at, file->info.path));
    writer.Advance(got);
    at += got;
    if (got < space.size()) break;
  }
  file->content = writer.Finish();
  file->known = begin;
  file->info.size = begin + file->content.size;
  return Status::Ok();
}

Result<CapturedFile> ExternalCapture::CaptureOne(const std::string& path,
                                                 const std::vector<pid_t>& pids,
                                                 const std::string& parent_id, bool exact,
                                                 Arena* arena) {
  CapturedFile captured;
  // Not blocking, in case somebody put a FIFO there.
  SNAP_ASSIGN_OR_RETURN(captured.file, OpenFile(path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  const int fd = captured.file.get();
  struct stat now {};
  if (fstat(fd, &now) != 0) return Status::FromErrno(errno, path);
  if (!S_ISREG(now.st_mode)) return Status::InvalidArgument("is not a regular file");
  std::array<char, PATH_MAX> real{};
  if (realpath(path.c_str(), real.data()) == nullptr) return Status::FromErrno(errno, path);
  captured.info = {
      path,       real.data(),          now.st_mode & 07777,  now.st_uid,
      now.st_gid, ToNanos(now.st_atim), ToNanos(now.st_mtim), static_cast<uint64_t>(now.st_size)};
  captured.device = now.st_dev;
  captured.inode = now.st_ino;
  captured.ctime_ns = ToNanos(now.st_ctim);
  if (captured.info.size < kSmallBytes || !HasOwnTimes(fd)) {
    SNAP_RETURN_IF_ERROR(ReadToArena(&captured, 0, arena));
    return captured;
  }
  const FileUse use = UseOf(pids, now);
  captured.lasting = !use.mapped_shared && captured.ctime_ns + kLastingNanos < CoarseNow();
  const Known* known = use.mapped_shared ? nullptr : KnownOf(path, parent_id, now);
  if (known != nullptr && known->lasting && known->size == captured.info.size &&
      known->mtime_ns == captured.info.mtime_ns && known->ctime_ns == captured.ctime_ns) {
    captured.kind = CaptureKind::kUnchanged;
    captured.known = known->size;
    captured.hash = known->hash;
    return captured;
  }
  if (UniqueFd clone = Clone(fd, clone_directory_); clone.valid()) {
    captured.kind = CaptureKind::kClone;
    captured.file = std::move(clone);
    captured.known = known == nullptr ? 0 : known->size;
    return captured;
  }
  // Set before the thaw, behind our own opening of it.
  if (known != nullptr && use.all_append && known->size >= kSmallBytes) {
    RunningHash hash;
    if (!exact || (HashRange(fd, 0, known->size, path, &hash).ok() &&
                   hash.Digest() == known->hash.Digest())) {
      captured.watch =
          inotify_add_watch(opened_.get(), fmt::format("/proc/self/fd/{}", fd).c_str(), IN_OPEN);
      captured.kind = CaptureKind::kTail;
    }
  }
  const bool tail = captured.kind == CaptureKind::kTail && (exact || captured.watch >= 0);
  if (!tail) captured.kind = CaptureKind::kWhole;
  SNAP_RETURN_IF_ERROR(ReadToArena(&captured, tail ? known->size : 0, arena));
  if (tail && exact) {
    captured.hash = known->hash;
    captured.watch = -1;
  }
  return captured;
}

Result<std::vector<CapturedFile>> ExternalCapture::Capture(const std::vector<pid_t>& pids,
                                                           const std::string& parent_id, bool exact,
                                                           Arena* arena) {
  opened_.Reset(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  std::vector<CapturedFile> files;
  files.reserve(paths_.size());
  for (const std::string& path : paths_) {
    auto captured = CaptureOne(path, pids, parent_id, exact, arena);
    if (!captured.ok()) {
      return captured.status().WithContext(fmt::format("external file {}", path));
    }
    files.push_back(std::move(*captured));
  }
  return files;
}

Status ExternalCapture::FinishOne(CapturedFile* file) {
  const auto known = known_.find(file->info.path);
  const auto matches = [&] { return file->hash.Digest() == known->second.hash.Digest(); };
  switch (file->kind) {
    case CaptureKind::kUnchanged:
      return Status::Ok();
    case CaptureKind::kClone: {
      const int fd = file->file.get();
      SNAP_RETURN_IF_ERROR(HashRange(fd, 0, file->known, file->info.path, &file->hash));
      const uint64_t hashed = file->known;
      if (file->known != 0 && !matches()) file->known = 0;
      return HashRange(fd, hashed, file->info.size, file->info.path, &file->hash);
    }
    case CaptureKind::kTail:
      if (file->watch < 0) break;  // compared already
      if (!HashRange(file->file.get(), 0, file->known, file->info.path, &file->hash).ok() ||
          !matches()) {
        return Status::Conflict("is not what it was before its end");
      }
      break;
    case CaptureKind::kWhole:
      break;
  }
  if (file->info.size >= kSmallBytes) {
    for (const auto& part : file->content.parts) file->hash.Update(part);
  }
  return Status::Ok();
}

Status ExternalCapture::Finish(std::vector<CapturedFile>* files) {
  Status result;
  const auto conflict = [&](const CapturedFile& file, const Status& status) {
    // Counted down by Committed, which follows the whole capture.
    distrusted_[file.info.path] = kDistrusted;
    if (result.ok()) result = status.WithContext(fmt::format("external file {}", file.info.path));
  };
  for (CapturedFile& file : *files) {
    if (const Status one = FinishOne(&file); one.Is(StatusCode::kConflict)) {
      conflict(file, one);
    } else if (!one.ok()) {
      return one.WithContext(fmt::format("external file {}", file.info.path));
    }
  }
  // Only now: who opened it before it was compared may have changed it until then.
  alignas(inotify_event) std::array<char, 4096> events{};
  std::set<int> opened;
  for (ssize_t got = 0; (got = read(opened_.get(), events.data(), events.size())) > 0;) {
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(events.data() + at);
      opened.insert(event->wd);  // -1: events were lost
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }
  for (const CapturedFile& file : *files) {
    if (file.watch >= 0 && (opened.contains(file.watch) || opened.contains(-1))) {
      conflict(file, Status::Conflict("was opened while it was compared"));
    }
  }
  opened_.Reset();
  return result;
}

void ExternalCapture::Committed(const std::vector<CapturedFile>& files,
                                const std::string& snapshot_id) {
  for (const CapturedFile& file : files) {
    const std::string& path = file.info.path;
    if (const auto distrusted = distrusted_.find(path);
        distrusted != distrusted_.end() && --distrusted->second == 0) {
      distrusted_.erase(distrusted);
    }
    known_.erase(path);
    if (file.info.size < kSmallBytes) continue;
    known_.emplace(path,
                   Known{snapshot_id, file.device, file.inode, file.info.size, file.info.mtime_ns,
                         file.ctime_ns, file.lasting, file.kind == CaptureKind::kClone, file.hash});
  }
}

CapturedFileReader::CapturedFileReader(const CapturedFile* file) : file_(file) {
  uint64_t at = file_->known;
  for (const auto& part : file_->content.parts) {
    offsets_.push_back(at);
    at += part.size();
  }
}

VolumeSource CapturedFileReader::Source(std::string name) {
  return {.name = std::move(name),
          .size = file_->info.size,
          .reader = this,
          .rest_unchanged = file_->known != 0,
          .single_blocks = true};
}

Status CapturedFileReader::NextPart(uint64_t offset, uint64_t* begin, uint64_t* end) {
  *begin = std::min(std::max(offset, file_->known), file_->info.size);
  *end = file_->info.size;
  if (file_->kind != CaptureKind::kClone || file_->known != 0 || *begin == *end)
    return Status::Ok();
  const int fd = file_->file.get();
  const off_t data = lseek(fd, static_cast<off_t>(*begin), SEEK_DATA);
  if (data < 0 && errno == ENXIO) *begin = *end;
  if (data < 0) return Status::Ok();
  *begin = static_cast<uint64_t>(data);
  if (const off_t hole = lseek(fd, data, SEEK_HOLE); hole > data) {
    *end = std::min(static_cast<uint64_t>(hole), *end);
  }
  return Status::Ok();
}

Status CapturedFileReader::ReadAt(uint64_t offset, std::span<uint8_t> out) {
  if (file_->kind == CaptureKind::kClone) {
    SNAP_ASSIGN_OR_RETURN(const size_t got,
                          PreadFull(file_->file.get(), out, offset, file_->info.path));
    return got == out.size() ? Status::Ok() : Status::Corruption("the clone is too short");
  }
  auto part = static_cast<size_t>(std::upper_bound(offsets_.begin(), offsets_.end(), offset) -
                                  offsets_.begin() - 1);
  for (size_t done = 0; done < out.size(); ++part) {
    const auto bytes = file_->content.parts[part].subspan(offset + done - offsets_[part]);
    const size_t length = std::min(bytes.size(), out.size() - done);
    std::copy_n(bytes.begin(), length, out.begin() + static_cast<ptrdiff_t>(done));
    done += length;
  }
  return Status::Ok();
}

}  // namespace snapstore::agent
