#include "tools/snapstore/mount/fuse_operations.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <vector>

#include "tools/snapstore/mount/fuse_server.h"

namespace snapstore::cli {
namespace {

// Entries of snapshots never change, the lists of snapshots do. Seconds.
constexpr double kFixedTimeout = 24 * 3600;
constexpr double kListTimeout = 1;
// Of the kernel's requests that nobody waits for, which come when it reads ahead, this many fewer
// than there are threads: names can then be looked up while the store hangs.
constexpr unsigned kThreadsForOthers = 4;
constexpr uint64_t kUnknownInode = 0xffffffff;  // as libfuse's own high-level interface has it
constexpr std::chrono::seconds kSayAgain{60};
constexpr size_t kSaidMax = 4096;
constexpr unsigned kNameBytesMax = 255;

thread_local fuse_req_t current_request = nullptr;
std::atomic<bool> mount_ended = false;

// Marks the request that this thread answers.
class RequestScope {
 public:
  explicit RequestScope(fuse_req_t request) { current_request = request; }
  ~RequestScope() { current_request = nullptr; }
  RequestScope(const RequestScope&) = delete;
  RequestScope& operator=(const RequestScope&) = delete;
};

FuseContext& ContextOf(fuse_req_t request) {
  return *static_cast<FuseContext*>(fuse_req_userdata(request));
}

MountedTree& TreeOf(fuse_req_t request) { return *ContextOf(request).tree; }

void ReplyError(fuse_req_t request, uint64_t inode, const Status& status) {
  const FuseContext& context = ContextOf(request);
  context.log->Add(*context.tree, inode, status);
  fuse_reply_err(request, ErrnoOf(status));
}

fuse_entry_param EntryParam(const struct stat& attributes) {
  fuse_entry_param entry{};
  entry.ino = attributes.st_ino;
  entry.attr = attributes;
  const Inode inode = InodeOf(attributes.st_ino);
  // The name of a snapshot's top may vanish; its attributes do not change.
  const bool fixed = inode.kind == Inode::Kind::kEntry;
  entry.entry_timeout = fixed ? kFixedTimeout : kListTimeout;
  entry.attr_timeout = fixed || inode.in_snapshot() ? kFixedTimeout : kListTimeout;
  return entry;
}

void OnInit(void* userdata, fuse_conn_info* connection) {
  auto* const context = static_cast<FuseContext*>(userdata);
  connection->time_gran = 1;
  connection->max_background =
      std::max(context->threads, 2 * kThreadsForOthers) - kThreadsForOthers;
  // Requests are short; moving them through pipes costs more than copying.
  connection->want &=
      ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
  connection->want |= connection->capable & FUSE_CAP_CACHE_SYMLINKS;
  // Attributes come with the names for nothing; looking up each by itself is what takes time.
  connection->want &= ~static_cast<unsigned>(FUSE_CAP_READDIRPLUS_AUTO);
  // With other users the kernel checks permissions, and then ACLs belong to them.
  if (context->allow_other) connection->want |= connection->capable & FUSE_CAP_POSIX_ACL;
  context->ready();
}

void OnLookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  const RequestScope scope(request);
  const Result<struct stat> found = TreeOf(request).Lookup(parent, name);
  if (!found.ok()) {
    if (!found.status().Is(StatusCode::kNotFound)) {
      return ReplyError(request, parent, found.status());
    }
    fuse_entry_param none{};  // inode 0: the kernel may remember that there is nothing
    none.entry_timeout = InodeOf(parent).in_snapshot() ? kFixedTimeout : kListTimeout;
    fuse_reply_entry(request, &none);
    return;
  }
  const fuse_entry_param entry = EntryParam(*found);
  fuse_reply_entry(request, &entry);
}

void OnForget(fuse_req_t request, fuse_ino_t, uint64_t) { fuse_reply_none(request); }

void OnForgetMany(fuse_req_t request, size_t, fuse_forget_data*) { fuse_reply_none(request); }

void OnGetAttributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
  const RequestScope scope(request);
  const Result<struct stat> attributes = TreeOf(request).Attributes(inode);
  if (!attributes.ok()) return ReplyError(request, inode, attributes.status());
  fuse_reply_attr(request, &*attributes,
                  InodeOf(inode).in_snapshot() ? kFixedTimeout : kListTimeout);
}

void OnReadLink(fuse_req_t request, fuse_ino_t inode) {
  const RequestScope scope(request);
  const Result<std::string> target = TreeOf(request).ReadLink(inode);
  if (!target.ok()) return ReplyError(request, inode, target.status());
  fuse_reply_readlink(request, target->c_str());
}

using FilePtr = std::shared_ptr<MountedFile>;

void OnOpen(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
  const RequestScope scope(request);
  if ((info->flags & O_ACCMODE) != O_RDONLY) {
    fuse_reply_err(request, EROFS);
    return;
  }
  Result<FilePtr> file = TreeOf(request).Open(inode);
  if (!file.ok()) return ReplyError(request, inode, file.status());
  info->fh = std::bit_cast<uint64_t>(new FilePtr(std::move(*file)));
  info->keep_cache = 1;
  info->noflush = 1;
  // An open that was interrupted is not followed by a release.
  if (fuse_reply_open(request, info) == -ENOENT) delete std::bit_cast<FilePtr*>(info->fh);
}

MountedFile& FileOf(const fuse_file_info* info) { return **std::bit_cast<FilePtr*>(info->fh); }

void OnRelease(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  delete std::bit_cast<FilePtr*>(info->fh);
  fuse_reply_err(request, 0);
}

void OnRead(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, fuse_file_info* info) {
  const RequestScope scope(request);
  thread_local std::vector<uint8_t> buffer;
  buffer.resize(std::max(buffer.size(), size));
  const Result<size_t> read =
      FileOf(info).ReadAt(static_cast<uint64_t>(offset), {buffer.data(), size});
  if (!read.ok()) return ReplyError(request, inode, read.status());
  fuse_reply_buf(request, reinterpret_cast<const char*>(buffer.data()), *read);
}

void OnSeek(fuse_req_t request, fuse_ino_t inode, off_t offset, int whence, fuse_file_info* info) {
  const RequestScope scope(request);
  if (whence != SEEK_DATA && whence != SEEK_HOLE) {
    fuse_reply_err(request, EINVAL);
    return;
  }
  const Result<uint64_t> place = FileOf(info).Seek(static_cast<uint64_t>(offset), whence);
  if (!place.ok()) return ReplyError(request, inode, place.status());
  fuse_reply_lseek(request, static_cast<off_t>(*place));
}

void OnOpenDirectory(fuse_req_t request, fuse_ino_t inode, fuse_file_info* info) {
  if (InodeOf(inode).in_snapshot()) info->keep_cache = info->cache_readdir = 1;
  fuse_reply_open(request, info);
}

// The offset of "." and "..", and what is added to the tree's cookies.
constexpr off_t kDotOffset = 1;
constexpr off_t kDotsOffset = 2;

// A reply to a request for entries, filled until nothing more fits.
class DirectoryReply {
 public:
  DirectoryReply(fuse_req_t request, size_t size, bool plus)
      : request_(request), buffer_(size), plus_(plus) {}

  bool Add(const std::string& name, const struct stat& attributes, off_t next) {
    char* const at = buffer_.data() + used_;
    const size_t room = buffer_.size() - used_;
    size_t needed = 0;
    if (plus_) {
      const fuse_entry_param entry = EntryParam(attributes);
      needed = fuse_add_direntry_plus(request_, at, room, name.c_str(), &entry, next);
    } else {
      needed = fuse_add_direntry(request_, at, room, name.c_str(), &attributes, next);
    }
    if (needed > room) return false;
    used_ += needed;
    return true;
  }

  bool AddDot(const char* name, uint64_t inode, off_t next) {
    struct stat attributes {};
    attributes.st_ino = inode;
    attributes.st_mode = S_IFDIR;
    return Add(name, attributes, next);
  }

  bool empty() const { return used_ == 0; }
  void Send() { fuse_reply_buf(request_, buffer_.data(), used_); }

 private:
  const fuse_req_t request_;
  std::vector<char> buffer_;
  size_t used_ = 0;
  const bool plus_;
};

void ReadDirectory(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, bool plus) {
  const RequestScope scope(request);
  DirectoryReply reply(request, size, plus);
  bool room = true;
  if (offset < kDotOffset) room = reply.AddDot(".", inode, kDotOffset);
  if (room && offset < kDotsOffset) {
    room = reply.AddDot("..", inode == kRootInode ? inode : kUnknownInode, kDotsOffset);
  }
  Status status;
  if (room) {
    const auto cookie = static_cast<uint64_t>(std::max(offset, kDotsOffset) - kDotsOffset);
    status = TreeOf(request).ReadDirectory(
        inode, cookie, [&](const std::string& name, const struct stat& attributes, uint64_t next) {
          return reply.Add(name, attributes, static_cast<off_t>(next) + kDotsOffset);
        });
  }
  // What came before a failure is shown; the next request fails.
  if (!status.ok() && reply.empty()) return ReplyError(request, inode, status);
  reply.Send();
}

void OnReadDirectory(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                     fuse_file_info*) {
  ReadDirectory(request, inode, size, offset, /*plus=*/false);
}

void OnReadDirectoryPlus(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                         fuse_file_info*) {
  ReadDirectory(request, inode, size, offset, /*plus=*/true);
}

void OnStatFs(fuse_req_t request, fuse_ino_t) {
  struct statvfs info {};
  info.f_bsize = info.f_frsize = 4096;
  info.f_namemax = kNameBytesMax;
  info.f_flag = ST_RDONLY;
  fuse_reply_statfs(request, &info);
}

// A value of variable length: its length if that is all that was asked for.
void ReplySized(fuse_req_t request, const std::string& value, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(request, value.size());
  } else if (value.size() > size) {
    fuse_reply_err(request, ERANGE);
  } else {
    fuse_reply_buf(request, value.data(), value.size());
  }
}

void OnGetXattr(fuse_req_t request, fuse_ino_t inode, const char* name, size_t size) {
  const RequestScope scope(request);
  const auto xattrs = TreeOf(request).Xattrs(inode);
  if (!xattrs.ok()) return ReplyError(request, inode, xattrs.status());
  const auto found = xattrs->find(name);
  if (found == xattrs->end()) {
    fuse_reply_err(request, ENODATA);
  } else {
    ReplySized(request, found->second, size);
  }
}

void OnListXattrs(fuse_req_t request, fuse_ino_t inode, size_t size) {
  const RequestScope scope(request);
  const auto xattrs = TreeOf(request).Xattrs(inode);
  if (!xattrs.ok()) return ReplyError(request, inode, xattrs.status());
  std::string names;
  for (const auto& [name, value] : *xattrs) names.append(name).push_back('\0');
  ReplySized(request, names, size);
}

}  // namespace

void AbandonRequests() { mount_ended = true; }

bool RequestAbandoned() {
  if (mount_ended.load(std::memory_order_relaxed)) return true;
  return current_request != nullptr && fuse_req_interrupted(current_request) != 0;
}

int ErrnoOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kNotFound:
      return ENOENT;
    case StatusCode::kCancelled:
      return EINTR;
    case StatusCode::kTimeout:
      return ETIMEDOUT;
    case StatusCode::kInvalidArgument:
      return status.error_number() != 0 ? status.error_number() : EINVAL;
    default:
      break;
  }
  // Those that this program chose itself; others are the store's, about another file.
  for (const int number : {ENXIO, ESTALE, EISDIR, EOVERFLOW}) {
    if (status.error_number() == number) return number;
  }
  return EIO;
}

void RequestLog::Add(const MountedTree& tree, uint64_t inode, const Status& status) {
  const int number = ErrnoOf(status);
  if (number != EIO && number != ETIMEDOUT && number != EOVERFLOW) return;
  const bool damage = status.Is(StatusCode::kCorruption);
  const auto now = std::chrono::steady_clock::now();
  {
    const std::lock_guard lock(mutex_);
    if (said_.size() >= kSaidMax) said_.clear();
    const auto [it, first] = said_.try_emplace({damage ? inode : 0, status.code()}, now);
    if (!first && now - it->second < kSayAgain) return;
    it->second = now;
  }
  report_(tree.SnapshotOf(inode), status);
}

const fuse_lowlevel_ops& FuseOperations() {
  static const fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops ops{};
    ops.init = OnInit;
    ops.lookup = OnLookup;
    ops.forget = OnForget;
    ops.forget_multi = OnForgetMany;
    ops.getattr = OnGetAttributes;
    ops.readlink = OnReadLink;
    ops.open = OnOpen;
    ops.read = OnRead;
    ops.release = OnRelease;
    ops.opendir = OnOpenDirectory;
    ops.readdir = OnReadDirectory;
    ops.readdirplus = OnReadDirectoryPlus;
    ops.statfs = OnStatFs;
    ops.getxattr = OnGetXattr;
    ops.listxattr = OnListXattrs;
    ops.lseek = OnSeek;
    return ops;
  }();
  return operations;
}

}  // namespace snapstore::cli
