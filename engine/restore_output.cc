#include "engine/restore_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/file.h"
#include "base/status_macros.h"
#include "chunker/chunker.h"
#include "engine/restore_metadata.h"

namespace snapstore {
namespace {

// Files beyond this many are closed as soon as nobody writes to them.
constexpr int kOpenFilesMax = 256;
// Repetitions and zeros are written, and compared, in steps of this size.
constexpr size_t kStepBytes = 256 << 10;
// Larger files get their size before their content, so that it can be laid out at once.
constexpr uint64_t kSizeLaterBytes = 1 << 20;
// What BLKZEROOUT demands at least.
constexpr uint64_t kDeviceBlockBytes = 4096;

}  // namespace

RestoreOutput::RestoreOutput(OutputContext* context, Entry entry)
    : context_(context), entry_(std::move(entry)) {}

RestoreOutput::RestoreOutput(OutputContext* context, Entry entry, UniqueFd fd, bool device,
                             std::string remove_path)
    : context_(context),
      entry_(std::move(entry)),
      given_open_(true),
      device_(device),
      remove_path_(std::move(remove_path)),
      fd_(std::move(fd)) {
  created_ = !remove_path_.empty();
}

RestoreOutput::~RestoreOutput() {
  if (finished_) return;
  // The restore ended early: half a file must not pass for a whole one. There is nobody left to
  // tell when even that fails; the restore's own error says that it is not complete.
  const Status discarded = Discard();
  (void)discarded;
}

size_t RestoreOutput::footprint() const {
  size_t bytes = sizeof(*this) + 2 * entry_.path.size();
  for (const auto& [name, value] : entry_.xattrs) bytes += 128 + name.size() + value.size();
  return bytes;
}

Status RestoreOutput::OpenLocked() {
  if (fd_.valid()) return {};
  if (created_ || existed_) {
    SNAP_ASSIGN_OR_RETURN(fd_, context_->tree->OpenFile(entry_.path));
    ++context_->open_files;
    return {};
  }
  if (context_->in_place) {
    Result<UniqueFd> existing = context_->tree->OpenFile(entry_.path);
    if (existing.ok()) {
      fd_ = std::move(*existing);
      existed_ = true;
    } else if (!existing.status().Is(StatusCode::kNotFound)) {
      return existing.status();
    }
  }
  if (!existed_) {
    SNAP_ASSIGN_OR_RETURN(fd_, context_->tree->CreateFile(entry_.path));
    created_ = true;
  }
  ++context_->open_files;
  // A small new file gets its size by being written, or in the end.
  return created_ && entry_.size <= kSizeLaterBytes ? Status() : SetSize();
}

Status RestoreOutput::SetSize() {
  struct stat now;
  if (::fstat(fd_.get(), &now) != 0) return Status::FromErrno(errno, "stat " + entry_.path);
  if (static_cast<uint64_t>(now.st_size) != entry_.size &&
      ::ftruncate(fd_.get(), static_cast<off_t>(entry_.size)) != 0) {
    return Status::FromErrno(errno, "set the size of " + entry_.path);
  }
  return {};
}

Result<int> RestoreOutput::Pin() {
  std::lock_guard lock(mutex_);
  SNAP_RETURN_IF_ERROR(OpenLocked());
  ++pins_;
  return fd_.get();
}

void RestoreOutput::Unpin() {
  std::lock_guard lock(mutex_);
  if (--pins_ > 0 || given_open_ || !fd_.valid() || context_->open_files <= kOpenFilesMax) return;
  fd_.Reset();
  --context_->open_files;
}

void RestoreOutput::Fail(const Status& status) {
  if (failed_.exchange(true)) return;
  bool existed = false;
  {
    std::lock_guard lock(mutex_);
    existed = existed_ || (given_open_ && !created_);
  }
  context_->report->FailEntry(entry_,
                              existed ? status.WithContext("left damaged in place") : status);
}

Status RestoreOutput::PartDone() { return --parts_ == 0 ? Finish() : Status(); }

Status RestoreOutput::Finish() {
  if (!failed_ && !given_open_) {
    const Result<int> fd = Pin();
    if (fd.ok()) {
      Status sized = written_end_ == entry_.size ? Status() : SetSize();
      if (EndsRestore(sized)) return sized;
      if (!sized.ok()) Fail(sized);
      const Status applied = ApplyMetadata(*fd, /*path_only=*/false, entry_);
      Unpin();
      if (EndsRestore(applied)) return applied.WithContext(entry_.path);
      // The content is good: the file stays.
      if (!applied.ok()) context_->report->FailMetadata(entry_, applied);
    } else {
      if (EndsRestore(fd.status())) return fd.status();
      Fail(fd.status());
    }
  }
  finished_ = true;
  if (failed_) return Discard();
  context_->report->EndContent(entry_.size);
  std::lock_guard lock(mutex_);
  if (!given_open_ && fd_.valid()) {
    fd_.Reset();
    --context_->open_files;
  }
  return {};
}

Status RestoreOutput::Discard() {
  std::lock_guard lock(mutex_);
  if (!given_open_ && fd_.valid()) {
    fd_.Reset();
    --context_->open_files;
  }
  if (!created_) return {};
  if (!given_open_) return context_->tree->Remove(entry_.path);
  if (::unlink(remove_path_.c_str()) == 0) return {};
  return Status::FromErrno(errno, "remove the damaged file " + remove_path_);
}

void RestoreOutput::Wrote(uint64_t offset, uint64_t bytes) {
  uint64_t end = written_end_;
  while (end < offset + bytes && !written_end_.compare_exchange_weak(end, offset + bytes)) {
  }
  context_->report->AddWritten(bytes);
}

Status RestoreOutput::WriteDiffering(int fd, uint64_t offset, ByteSpan bytes, Bytes* scratch) {
  if (compares()) {
    scratch->resize(bytes.size());
    SNAP_ASSIGN_OR_RETURN(const size_t got, PreadFull(fd, *scratch, offset, entry_.path));
    if (got == bytes.size() && std::memcmp(scratch->data(), bytes.data(), got) == 0) return {};
  }
  SNAP_RETURN_IF_ERROR(PwriteFull(fd, bytes, offset, entry_.path));
  Wrote(offset, bytes.size());
  return {};
}

Status RestoreOutput::Write(int fd, uint64_t offset, std::span<const ByteSpan> pieces) {
  std::unique_lock writing(write_mutex_);
  const int error_number = PwriteParts(fd, pieces, offset);
  writing.unlock();
  if (error_number != 0) {
    return Status::FromErrno(error_number, fmt::format("write {} at {}", entry_.path, offset));
  }
  uint64_t bytes = 0;
  for (const ByteSpan piece : pieces) bytes += piece.size();
  Wrote(offset, bytes);
  return {};
}

Status RestoreOutput::Repeat(int fd, uint64_t offset, ByteSpan bytes, uint64_t count,
                             Bytes* scratch) {
  const uint64_t batch = std::clamp<uint64_t>(kStepBytes / bytes.size(), 1, count);
  Bytes repeated;
  repeated.reserve(batch * bytes.size());
  for (uint64_t i = 0; i < batch; ++i) repeated.insert(repeated.end(), bytes.begin(), bytes.end());
  for (uint64_t done = 0; done < count; done += batch) {
    const uint64_t step = std::min(batch, count - done);
    SNAP_RETURN_IF_ERROR(WriteDiffering(fd, offset + done * bytes.size(),
                                        ByteSpan(repeated).first(step * bytes.size()), scratch));
  }
  return {};
}

Status RestoreOutput::WriteZeros(int fd, uint64_t offset, uint64_t length, Bytes* scratch) {
  const Bytes zeros(std::min<uint64_t>(length, kStepBytes));
  for (uint64_t done = 0; done < length;) {
    const uint64_t step = std::min<uint64_t>(length - done, zeros.size());
    SNAP_RETURN_IF_ERROR(WriteDiffering(fd, offset + done, ByteSpan(zeros).first(step), scratch));
    done += step;
  }
  return {};
}

Status RestoreOutput::ZeroDevice(int fd, uint64_t offset, uint64_t length, Bytes* scratch) {
  if (compares()) return WriteZeros(fd, offset, length, scratch);
  const uint64_t end = offset + length;
  const uint64_t first = std::min(end, (offset + kDeviceBlockBytes - 1) & ~(kDeviceBlockBytes - 1));
  const uint64_t last = std::max(first, end & ~(kDeviceBlockBytes - 1));
  SNAP_RETURN_IF_ERROR(WriteZeros(fd, offset, first - offset, scratch));
  if (last > first) {
    uint64_t range[2] = {first, last - first};
    if (::ioctl(fd, BLKZEROOUT, range) != 0) {
      if (errno != EOPNOTSUPP && errno != EINVAL) {
        return Status::FromErrno(errno, "clear a hole of " + entry_.path);
      }
      SNAP_RETURN_IF_ERROR(WriteZeros(fd, first, last - first, scratch));
    }
  }
  return WriteZeros(fd, last, end - last, scratch);
}

Status RestoreOutput::Zero(int fd, uint64_t offset, uint64_t length, Bytes* scratch) {
  if (device_) return ZeroDevice(fd, offset, length, scratch);
  const uint64_t end = offset + length;
  while (offset < end) {
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0) return Status::FromErrno(errno, "look for data in " + entry_.path);
    if (static_cast<uint64_t>(data) >= end) return {};
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    if (hole < 0) return Status::FromErrno(errno, "look for holes in " + entry_.path);
    const uint64_t length_here =
        std::min(end, static_cast<uint64_t>(hole)) - static_cast<uint64_t>(data);
    if (::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, data,
                    static_cast<off_t>(length_here)) != 0) {
      if (errno != EOPNOTSUPP) return Status::FromErrno(errno, "punch a hole in " + entry_.path);
      SNAP_RETURN_IF_ERROR(WriteZeros(fd, static_cast<uint64_t>(data), length_here, scratch));
    }
    offset = static_cast<uint64_t>(data) + length_here;
  }
  return {};
}

}  // namespace snapstore
