#include "engine/entry_batch.h"

#include <fcntl.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "engine/file_metadata.h"
#include "engine/image_sniffer.h"

namespace snapstore {
namespace {

constexpr size_t kEntriesMax = 256;
// Few enough that workers share the files of one directory.
constexpr size_t kFilesMax = 32;
// One byte more than the file had shows whether it has grown.
constexpr uint64_t kProbeBytes = 1;
// A file that outgrew its place in the buffer gets memory of its own up to this size.
constexpr uint64_t kGrownBytesMax = 4 << 20;

}  // namespace

void EntryBatch::SetBuffer(PooledBuffer buffer, size_t bytes) {
  SNAP_CHECK(files_ == 0);
  buffer_ = std::move(buffer);
  buffer_bytes_ = bytes;
}

bool EntryBatch::Full() const { return entries_.size() >= kEntriesMax || files_ >= kFilesMax; }

bool EntryBatch::HasRoom(uint64_t size) const {
  return size + kProbeBytes <= buffer_bytes_ - used_;
}

void EntryBatch::Add(BatchedEntry entry) {
  if (entry.file != nullptr) {
    SNAP_CHECK(HasRoom(static_cast<uint64_t>(entry.file->stat.st_size)));
    used_ += static_cast<size_t>(entry.file->stat.st_size) + kProbeBytes;
    ++files_;
  }
  entries_.push_back(std::move(entry));
}

void EntryBatch::Read() {
  size_t used = 0;
  for (BatchedEntry& each : entries_) {
    if (each.file == nullptr) continue;
    const size_t bytes = static_cast<size_t>(each.file->stat.st_size) + kProbeBytes;
    each.file->status = ReadFile(&each.entry, each.file.get(), {buffer_.data() + used, bytes});
    each.file->directory = nullptr;
    used += bytes;
  }
  std::lock_guard lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

void EntryBatch::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return done_; });
}

Status EntryBatch::ReadFile(format::Entry* entry, SmallFile* file, MutableByteSpan space) {
  SNAP_ASSIGN_OR_RETURN(const UniqueFd fd,
                        OpenAt(file->directory->get(), file->name, O_RDONLY | O_NONBLOCK));
  struct stat before {};
  if (::fstat(fd.get(), &before) != 0 || !S_ISREG(before.st_mode) ||
      before.st_ino != file->stat.st_ino || before.st_dev != file->stat.st_dev) {
    return Status::Io("is another file than a moment ago");
  }
  SNAP_RETURN_IF_ERROR(ReadXattrs(fd.get(), entry));
  // As it was found to be when it was opened: a log may have grown since the walk came by.
  entry->set_mtime_ns(ToNanos(before.st_mtim));
  entry->set_ctime_ns(ToNanos(before.st_ctim));
  const uint64_t wanted = static_cast<uint64_t>(before.st_size) + kProbeBytes;
  if (wanted > space.size() && wanted <= kGrownBytesMax) {
    file->grown.resize(wanted);
    space = file->grown;
  }
  SNAP_ASSIGN_OR_RETURN(size_t got, PreadFull(fd.get(), space, 0, "it"));
  struct stat after {};
  if (::fstat(fd.get(), &after) != 0) return Status::FromErrno(errno, "stat");
  // It may have grown: then the beginning is kept, as of any file that changes while it is read.
  const bool grown = got == space.size();
  if (grown) got -= kProbeBytes;
  entry->set_size(got);
  entry->set_changed_while_read(grown || !SameModification(before, after) ||
                                got != static_cast<uint64_t>(after.st_size));
  file->data = space.first(got);
  const bool image =
      file->profile == Profile::kAuto && got >= kImageBytesMin && LooksLikeImage(file->data);
  file->cut = RuleFor(file->profile, image);
  return {};
}

BatchReaders::~BatchReaders() {
  queue_.Close();
  for (std::thread& thread : threads_) thread.join();
}

void BatchReaders::Submit(std::shared_ptr<EntryBatch> batch) {
  // Threads beyond the first pay only where the others do not keep up.
  if (threads_.empty() || (waiting_ > 1 && threads_.size() < kThreadsMax)) {
    try {
      threads_.emplace_back([this] { Loop(); });
    } catch (const std::system_error&) {
      if (threads_.empty()) {
        batch->Read();
        return;
      }
    }
  }
  ++waiting_;
  queue_.Push(std::move(batch));
}

void BatchReaders::Loop() {
  while (std::optional<std::shared_ptr<EntryBatch>> batch = queue_.Pop()) {
    --waiting_;
    const BusyClock::Scope busy(&busy_);
    (*batch)->Read();
  }
}

}  // namespace snapstore
