// ExtentReader: the bytes of one open file or device, holes and unchanged parts left out, as
// events.
//
// Reads run ahead of the storing thread through an IoEngine; events come in order of the content.
//
// Thread safety: belongs to one thread at a time.
#ifndef SNAPSTORE_ENGINE_EXTENT_READER_H_
#define SNAPSTORE_ENGINE_EXTENT_READER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/io_engine.h"
#include "engine/event_sink.h"
#include "snapstore/snapshot.h"

namespace snapstore {

class ExtentReader {
 public:
  // `sink` must outlive the reader. Falls back to threads where io_uring is not to be had.
  static Result<std::unique_ptr<ExtentReader>> Create(IoBackend backend, EventSink* sink,
                                                      size_t buffers_ahead);

  // Emits events for bytes [0, size) of `fd`. Returns how many bytes there were: less than `size`
  // when the file was cut short meanwhile.
  Result<uint64_t> ReadFile(int fd, uint64_t size, const std::string& name);

  // Same, but only `changed` (ascending, disjoint, inside the content) is read; the rest is
  // reported as unchanged.
  Status ReadChanged(int fd, uint64_t size, std::span<const ByteRange> changed,
                     const std::string& name);

  uint64_t bytes_read() const { return bytes_read_; }
  // Of these, past the page cache.
  uint64_t bytes_read_directly() const { return bytes_read_directly_; }

 private:
  struct Read {
    IoRequest request;
    PooledBuffer buffer;
    bool done = false;
  };

  ExtentReader(std::unique_ptr<IoEngine> engine, EventSink* sink, size_t buffers_ahead)
      : engine_(std::move(engine)), sink_(sink), buffers_ahead_(buffers_ahead) {}

  // Reads [begin, end); returns where the data ended.
  Result<uint64_t> ReadRange(int fd, uint64_t begin, uint64_t end, const std::string& name);
  Status SubmitNext(int fd, uint64_t offset, size_t length);
  Status AwaitFront();
  Status Drop();

  const std::unique_ptr<IoEngine> engine_;
  EventSink* const sink_;
  const size_t buffers_ahead_;
  std::deque<std::unique_ptr<Read>> reads_;  // in order of offset
  std::vector<IoRequest*> completed_;
  bool registered_ = false;  // the buffers, with the engine
  uint64_t bytes_read_ = 0;
  uint64_t bytes_read_directly_ = 0;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_EXTENT_READER_H_
