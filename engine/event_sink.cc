#include "engine/event_sink.h"

#include <utility>

#include "base/status_macros.h"

namespace snapstore {

Status EventSink::Push(SourceEvent event) {
  if (event.kind != SourceEvent::Kind::kEntries) SNAP_RETURN_IF_ERROR(Flush());
  return queue_->Push(std::move(event)) ? Status() : Status::Cancelled("snapshot ended");
}

Status EventSink::Flush() {
  if (batch_->empty()) return {};
  SourceEvent event;
  event.kind = SourceEvent::Kind::kEntries;
  event.batch = std::exchange(batch_, std::make_shared<EntryBatch>());
  if (event.batch->HasFiles()) {
    readers_.Submit(event.batch);
  } else {
    event.batch->Read();
  }
  return Push(std::move(event));
}

Status EventSink::Add(BatchedEntry entry) {
  batch_->Add(std::move(entry));
  return batch_->Full() ? Flush() : Status();
}

Status EventSink::Complete(format::Entry entry) {
  BatchedEntry added;
  added.entry = std::move(entry);
  return Add(std::move(added));
}

Status EventSink::OnTheWay(format::Entry directory) {
  BatchedEntry added;
  added.entry = std::move(directory);
  added.on_the_way = true;
  return Add(std::move(added));
}

Status EventSink::File(format::Entry entry, std::unique_ptr<SmallFile> file) {
  const auto size = static_cast<uint64_t>(file->stat.st_size);
  if (!batch_->HasRoom(size)) {
    if (batch_->HasFiles()) SNAP_RETURN_IF_ERROR(Flush());
    SNAP_ASSIGN_OR_RETURN(PooledBuffer buffer, TakeBuffer());
    batch_->SetBuffer(std::move(buffer), pool_->buffer_bytes());
  }
  BatchedEntry added;
  added.entry = std::move(entry);
  added.file = std::move(file);
  return Add(std::move(added));
}

Status EventSink::Begin(format::Entry entry, CutRule cut, std::optional<format::Content> parent) {
  SourceEvent event;
  event.kind = SourceEvent::Kind::kBegin;
  event.entry = std::move(entry);
  event.cut = cut;
  event.parent = std::move(parent);
  return Push(std::move(event));
}

Status EventSink::Data(PooledBuffer buffer, size_t length) {
  SourceEvent event;
  event.kind = SourceEvent::Kind::kData;
  event.data = ByteSpan(buffer.data(), length);
  event.buffer = std::move(buffer);
  return Push(std::move(event));
}

Status EventSink::BorrowedData(ByteSpan data) {
  SourceEvent event;
  event.kind = SourceEvent::Kind::kData;
  event.data = data;
  return Push(std::move(event));
}

Status EventSink::Hole(uint64_t length) {
  if (length == 0) return {};
  SourceEvent event;
  event.kind = SourceEvent::Kind::kHole;
  event.length = length;
  return Push(std::move(event));
}

Status EventSink::Unchanged(uint64_t length) {
  if (length == 0) return {};
  SourceEvent event;
  event.kind = SourceEvent::Kind::kUnchanged;
  event.length = length;
  return Push(std::move(event));
}

Status EventSink::End(format::Entry entry, Status status) {
  SourceEvent event;
  event.kind = SourceEvent::Kind::kEnd;
  event.entry = std::move(entry);
  event.status = std::move(status);
  return Push(std::move(event));
}

Status EventSink::Warn(std::string item, Status status) {
  SourceEvent event;
  event.kind = SourceEvent::Kind::kWarning;
  event.item = std::move(item);
  event.status = std::move(status);
  return Push(std::move(event));
}

Result<PooledBuffer> EventSink::TakeBuffer() {
  PooledBuffer buffer = pool_->Take();
  if (buffer.empty()) return Status::Cancelled("snapshot ended");
  return buffer;
}

}  // namespace snapstore
