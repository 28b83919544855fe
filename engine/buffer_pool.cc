#include "engine/buffer_pool.h"

#include <sys/mman.h>

#include <utility>

#include "base/check.h"

namespace snapstore {

PooledBuffer::PooledBuffer(PooledBuffer&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), data_(std::exchange(other.data_, nullptr)) {}

PooledBuffer& PooledBuffer::operator=(PooledBuffer&& other) noexcept {
  if (this != &other) {
    Reset();
    pool_ = std::exchange(other.pool_, nullptr);
    data_ = std::exchange(other.data_, nullptr);
  }
  return *this;
}

void PooledBuffer::Reset() {
  if (data_ != nullptr) pool_->Give(data_);
  pool_ = nullptr;
  data_ = nullptr;
}

BufferPool::BufferPool(size_t count, size_t buffer_bytes)
    : count_(count), buffer_bytes_(buffer_bytes) {
  void* const memory = ::mmap(nullptr, count * buffer_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SNAP_CHECK(memory != MAP_FAILED);
  memory_ = static_cast<uint8_t*>(memory);
  for (size_t i = 0; i < count; ++i) free_.push_back(memory_ + i * buffer_bytes);
}

BufferPool::~BufferPool() {
  SNAP_CHECK(free_.size() == count_);
  ::munmap(memory_, count_ * buffer_bytes_);
}

PooledBuffer BufferPool::Take() {
  std::unique_lock lock(mutex_);
  waits_.Wait(&available_, &lock, [&] { return !free_.empty() || cancelled_; });
  if (cancelled_) return {};
  uint8_t* const data = free_.back();
  free_.pop_back();
  return {this, data};
}

double BufferPool::waited() const {
  std::lock_guard lock(mutex_);
  return waits_.Seconds();
}

void BufferPool::Cancel() {
  std::lock_guard lock(mutex_);
  cancelled_ = true;
  available_.notify_all();
}

void BufferPool::Give(uint8_t* data) {
  std::lock_guard lock(mutex_);
  free_.push_back(data);
  available_.notify_one();
}

}  // namespace snapstore
