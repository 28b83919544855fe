#include "engine/extent_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/direct_read.h"

namespace snapstore {
namespace {

// The next data in [at, end): where SEEK_DATA and SEEK_HOLE say, or all of it where they are not
// supported.
struct DataRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

Result<DataRange> NextData(int fd, uint64_t at, uint64_t end) {
  const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
  if (data < 0) {
    if (errno == ENXIO) return DataRange{end, end};
    if (errno == EINVAL || errno == EOPNOTSUPP) return DataRange{at, end};
    return Status::FromErrno(errno, "seek to data");
  }
  const off_t hole = ::lseek(fd, data, SEEK_HOLE);
  if (hole < 0) return DataRange{static_cast<uint64_t>(data), end};
  return DataRange{std::min(static_cast<uint64_t>(data), end),
                   std::min(static_cast<uint64_t>(hole), end)};
}

}  // namespace

Result<std::unique_ptr<ExtentReader>> ExtentReader::Create(IoBackend backend, EventSink* sink,
                                                           size_t buffers_ahead) {
  SNAP_CHECK(buffers_ahead > 0);
  IoOptions options;
  options.backend = backend;
  options.depth = static_cast<uint32_t>(buffers_ahead);
  SNAP_ASSIGN_OR_RETURN(std::unique_ptr<IoEngine> engine, IoEngine::Create(options));
  return std::unique_ptr<ExtentReader>(new ExtentReader(std::move(engine), sink, buffers_ahead));
}

Result<uint64_t> ExtentReader::ReadFile(int fd, uint64_t size, const std::string& name) {
  const UniqueFd direct = OpenForDirectReads(fd, size);
  if (direct.valid() && !registered_) {
    // It pins all buffers, which is too much for a few small files.
    engine_->UseMemory(sink_->buffer_memory());
    registered_ = true;
  }
  uint64_t at = 0;
  while (at < size) {
    SNAP_ASSIGN_OR_RETURN(const DataRange data, NextData(fd, at, size));
    SNAP_RETURN_IF_ERROR(sink_->Hole(data.begin - at));
    const bool aligned = data.begin % kDirectAlignment == 0;
    const int from = direct.valid() && aligned ? direct.get() : fd;
    const uint64_t read_before = bytes_read_;
    SNAP_ASSIGN_OR_RETURN(at, ReadRange(from, data.begin, data.end, name));
    if (from != fd) bytes_read_directly_ += bytes_read_ - read_before;
    if (at < data.end) return at;
  }
  return at;
}

Status ExtentReader::ReadChanged(int fd, uint64_t size, std::span<const ByteRange> changed,
                                 const std::string& name) {
  uint64_t at = 0;
  for (const ByteRange& range : changed) {
    SNAP_RETURN_IF_ERROR(sink_->Unchanged(range.offset - at));
    const uint64_t end = range.offset + range.length;
    SNAP_ASSIGN_OR_RETURN(at, ReadRange(fd, range.offset, end, name));
    if (at < end) return Status::Io("ends before its recorded size");
  }
  return sink_->Unchanged(size - at);
}

Result<uint64_t> ExtentReader::ReadRange(int fd, uint64_t begin, uint64_t end,
                                         const std::string& name) {
  uint64_t submitted = begin;
  uint64_t delivered = begin;
  Status status;
  while (status.ok() && delivered < end) {
    while (status.ok() && submitted < end && reads_.size() < buffers_ahead_) {
      // Whole blocks, for direct reads; the end of the file may lie within the last.
      const uint64_t whole = (end - submitted + kDirectAlignment - 1) & ~(kDirectAlignment - 1);
      const size_t length = std::min<uint64_t>(sink_->buffer_bytes(), whole);
      status = SubmitNext(fd, submitted, length);
      submitted += length;
    }
    if (status.ok()) status = AwaitFront();
    if (!status.ok()) break;
    Read& front = *reads_.front();
    if (front.request.error_number != 0) {
      status = Status::FromErrno(front.request.error_number, "read");
      break;
    }
    const uint64_t wanted = std::min<uint64_t>(front.request.length, end - delivered);
    const size_t got = std::min<uint64_t>(front.request.transferred, wanted);
    const bool cut_short = got < wanted;
    bytes_read_ += got;
    delivered += got;
    if (got > 0) status = sink_->Data(std::move(front.buffer), got);
    reads_.pop_front();
    if (cut_short) break;
  }
  const Status dropped = Drop();
  if (!status.ok()) return status.WithContext(name);
  if (!dropped.ok()) return dropped.WithContext(name);
  return delivered;
}

Status ExtentReader::SubmitNext(int fd, uint64_t offset, size_t length) {
  auto read = std::make_unique<Read>();
  SNAP_ASSIGN_OR_RETURN(read->buffer, sink_->TakeBuffer());
  read->request.op = IoRequest::Op::kRead;
  read->request.fd = fd;
  read->request.offset = offset;
  read->request.data = read->buffer.data();
  read->request.length = length;
  read->request.user = read.get();
  SNAP_RETURN_IF_ERROR(engine_->Submit(&read->request));
  reads_.push_back(std::move(read));
  return {};
}

Status ExtentReader::AwaitFront() {
  while (!reads_.front()->done) {
    completed_.clear();
    SNAP_RETURN_IF_ERROR(engine_->Wait(1, &completed_));
    for (IoRequest* request : completed_) static_cast<Read*>(request->user)->done = true;
  }
  return {};
}

// Buffers may go back to the pool only once the kernel is done with them.
Status ExtentReader::Drop() {
  Status status;
  while (!reads_.empty() && status.ok()) {
    status = AwaitFront();
    if (status.ok()) reads_.pop_front();
  }
  return status;
}

}  // namespace snapstore
