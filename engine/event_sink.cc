#include "engine/event_sink.h"

namespace snapstore {

Status EventSink::Push(SourceEvent event) {
  return queue_->Push(std::move(event)) ? Status() : Status::Cancelled("snapshot ended");
}

Status EventSink::Begin(format::Entry entry, CutRule cut, std::optional<format::Content> parent) {
  SourceEvent event;
  event.kind = SourceEvent::Kind::kBegin;
  event.entry = std::move(entry);
  event.cut = cut;
  event.parent = std::move(parent);
  return Push(std::move(event));
}

Status EventSink::Complete(format::Entry entry) {
  SourceEvent event;
  event.kind = SourceEvent::Kind::kBegin;
  event.entry = std::move(entry);
  event.complete = true;
  return Push(std::move(event));
}

Status EventSink::OnTheWay(format::Entry directory) {
  SourceEvent event;
  event.kind = SourceEvent::Kind::kBegin;
  event.entry = std::move(directory);
  event.complete = true;
  event.on_the_way = true;
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
