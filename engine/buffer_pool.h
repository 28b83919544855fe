// BufferPool: a fixed number of equal, page-aligned buffers. Taking one blocks while all are out,
// which bounds what a pipeline holds in memory.
//
// Thread safety: all calls may run concurrently; a buffer may be returned by another thread.
#ifndef SNAPSTORE_ENGINE_BUFFER_POOL_H_
#define SNAPSTORE_ENGINE_BUFFER_POOL_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/bytes.h"
#include "base/wait_meter.h"

namespace snapstore {

class BufferPool;

// A buffer on loan; gives itself back. May be empty. Must not outlive its pool.
class PooledBuffer {
 public:
  PooledBuffer() = default;
  PooledBuffer(PooledBuffer&& other) noexcept;
  PooledBuffer& operator=(PooledBuffer&& other) noexcept;
  ~PooledBuffer() { Reset(); }

  bool empty() const { return data_ == nullptr; }
  uint8_t* data() { return data_; }
  void Reset();

 private:
  friend class BufferPool;
  PooledBuffer(BufferPool* pool, uint8_t* data) : pool_(pool), data_(data) {}

  BufferPool* pool_ = nullptr;
  uint8_t* data_ = nullptr;
};

class BufferPool {
 public:
  BufferPool(size_t count, size_t buffer_bytes);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  size_t count() const { return count_; }
  size_t buffer_bytes() const { return buffer_bytes_; }
  // All buffers, one after the other.
  MutableByteSpan memory() { return {memory_, count_ * buffer_bytes_}; }
  // Empty once Cancel was called.
  PooledBuffer Take();
  void Cancel();
  // Seconds that takers were blocked until now.
  double waited() const;

 private:
  friend class PooledBuffer;
  void Give(uint8_t* data);

  const size_t count_;
  const size_t buffer_bytes_;
  uint8_t* memory_ = nullptr;
  mutable std::mutex mutex_;
  std::condition_variable available_;
  WaitMeter waits_;
  std::vector<uint8_t*> free_;
  bool cancelled_ = false;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_BUFFER_POOL_H_
