#include "bench/scale_memory.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

namespace snapstore::bench {
namespace {

constexpr size_t kReserved = size_t{64} << 30;  // of addresses
constexpr size_t kSlab = 64 << 10;              // holds blocks of one size
constexpr size_t kStep = 16;
constexpr size_t kLargest = 4096;  // larger ones are left to malloc

struct FreeBlock {
  FreeBlock* next;
};

// All of it is initialised before any constructor runs.
constinit std::mutex mutex;  // guards the next three
constinit std::array<FreeBlock*, kLargest / kStep + 1> free_blocks{};
constinit std::array<uint16_t, kReserved / kSlab> slab_steps{};
constinit std::atomic<size_t> slabs_taken = 0;
constinit std::atomic<uintptr_t> reserved = 0;
constinit thread_local bool in_cloud = false;

void* TakeFromCloud(size_t bytes) {
  const size_t steps = bytes == 0 ? 1 : (bytes + kStep - 1) / kStep;
  const std::lock_guard lock(mutex);
  if (reserved == 0) {
    void* const place = mmap(nullptr, kReserved, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) throw std::bad_alloc();
    reserved = reinterpret_cast<uintptr_t>(place);
  }
  FreeBlock*& head = free_blocks[steps];
  if (head == nullptr) {
    if (slabs_taken == slab_steps.size()) throw std::bad_alloc();
    const size_t slab = slabs_taken++;
    slab_steps[slab] = static_cast<uint16_t>(steps);
    const size_t size = steps * kStep;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address that a constant may be, before main
    auto* const begin = reinterpret_cast<uint8_t*>(reserved.load()) + slab * kSlab;
    for (size_t at = 0; at + size <= kSlab; at += size) {
      head = ::new (begin + at) FreeBlock{head};
    }
  }
  FreeBlock* const block = head;
  head = block->next;
  return block;
}

bool GiveBack(void* block) {
  const uintptr_t begin = reserved;
  const auto at = reinterpret_cast<uintptr_t>(block);
  if (begin == 0 || at < begin || at >= begin + kReserved) return false;
  const std::lock_guard lock(mutex);
  FreeBlock*& head = free_blocks[slab_steps[(at - begin) / kSlab]];
  head = ::new (block) FreeBlock{head};
  return true;
}

}  // namespace

InCloud::InCloud() : before_(in_cloud) { in_cloud = true; }
InCloud::~InCloud() { in_cloud = before_; }

size_t CloudBytes() { return slabs_taken * kSlab; }

// For the operators below, which are no part of a namespace.
void* Allocate(size_t bytes);
void Free(void* block);

void* Allocate(size_t bytes) {
  if (in_cloud && bytes <= kLargest) return TakeFromCloud(bytes);
  void* const block = std::malloc(bytes == 0 ? 1 : bytes);  // NOLINT: this is operator new
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

void Free(void* block) {
  if (block != nullptr && !GiveBack(block)) std::free(block);  // NOLINT: as above
}

}  // namespace snapstore::bench

void* operator new(size_t bytes) { return snapstore::bench::Allocate(bytes); }
void operator delete(void* block) noexcept { snapstore::bench::Free(block); }
void operator delete(void* block, size_t /*bytes*/) noexcept { snapstore::bench::Free(block); }
