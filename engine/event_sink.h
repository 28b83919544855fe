// EventSink: the reading thread's end of the queue to the storing thread.
//
// Whole entries are gathered into batches, which go out when they are full and before anything else
// does. Thread safety: belongs to the reading thread.
#ifndef SNAPSTORE_ENGINE_EVENT_SINK_H_
#define SNAPSTORE_ENGINE_EVENT_SINK_H_

#include <string>

#include "base/bounded_queue.h"
#include "engine/buffer_pool.h"
#include "engine/source_event.h"

namespace snapstore {

// Every call returns Cancelled once the storing thread has given up.
class EventSink {
 public:
  // Both must outlive the sink.
  EventSink(BoundedQueue<SourceEvent>* queue, BufferPool* pool) : queue_(queue), pool_(pool) {}

  // An entry that is complete as it stands.
  Status Complete(format::Entry entry);
  // A directory that only leads to sources.
  Status OnTheWay(format::Entry directory);
  // A file that is read meanwhile. REQUIRES: TakesFile(its size).
  Status File(format::Entry entry, std::unique_ptr<SmallFile> file);
  bool TakesFile(uint64_t size) const { return size <= pool_->buffer_bytes() / 4; }
  // An entry whose content follows piece by piece.
  Status Begin(format::Entry entry, CutRule cut, std::optional<format::Content> parent);
  Status Data(PooledBuffer buffer, size_t length);
  Status BorrowedData(ByteSpan data);
  Status Hole(uint64_t length);
  Status Unchanged(uint64_t length);
  Status End(format::Entry entry, Status status);
  Status Warn(std::string item, Status status);
  // Sends what is gathered; call at the end.
  Status Flush();

  Result<PooledBuffer> TakeBuffer();
  size_t buffer_bytes() const { return pool_->buffer_bytes(); }
  MutableByteSpan buffer_memory() { return pool_->memory(); }
  // Of small files.
  const BatchReaders& readers() const { return readers_; }

 private:
  Status Push(SourceEvent event);
  Status Add(BatchedEntry entry);

  BoundedQueue<SourceEvent>* const queue_;
  BufferPool* const pool_;
  BatchReaders readers_;
  std::shared_ptr<EntryBatch> batch_ = std::make_shared<EntryBatch>();
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_EVENT_SINK_H_
