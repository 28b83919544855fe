// An application for tests that has memory of every kind. It says "ready"; SIGUSR1 changes some of
// it, forks a child, and says "changed"; SIGUSR2 says what all of it holds, as a number.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHuge = 2 << 20;
constexpr size_t kMib = 1 << 20;

std::mt19937_64 values(1);

// Never merged with a neighbour, and without huge pages, which would come by themselves.
uint8_t* Map(size_t bytes, int flags = MAP_PRIVATE, int fd = -1) {
  if (fd < 0) flags |= MAP_ANONYMOUS;
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (at == MAP_FAILED) std::abort();
  if (fd < 0) madvise(at, bytes, MADV_NOHUGEPAGE);
  (void)mmap(nullptr, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return static_cast<uint8_t*>(at);
}

void WritePages(uint8_t* at, size_t first, size_t count, size_t step = 1) {
  for (size_t i = 0; i < count; ++i) {
    const uint64_t value = values();
    for (size_t j = 0; j < kPage; j += 512) {
      std::memcpy(at + (first + i * step) * kPage + j, &value, sizeof(value));
    }
  }
}

struct Zoo {
  uint8_t* holes = Map(8 * kMib);
  uint8_t* zeros = Map(2 * kMib);
  uint8_t* huge = nullptr;  // 8 MiB
  uint8_t* hidden = Map(kMib);
  uint8_t* constant = Map(kMib);
  uint8_t* locked = Map(2 * kMib);
  uint8_t* file = nullptr;  // 1 MiB, private
  uint8_t* shared = Map(kMib, MAP_SHARED);
  uint8_t* replaced = Map(kMib);
  uint8_t* moved = Map(kMib);
  uint8_t* swapped = Map(2 * kMib);
  uint8_t* plain = Map(16 * kMib);
};

void Fill(Zoo* zoo, const std::string& path) {
  WritePages(zoo->holes, 0, 600, 3);
  for (size_t page = 0; page < 256; ++page) {
    // A zero page of the kernel's, and some of its own.
    if (*static_cast<volatile uint8_t*>(zoo->zeros + page * kPage) != 0) std::abort();
  }
  std::memset(zoo->zeros + 300 * kPage, 0, 100 * kPage);
  auto* const room = static_cast<uint8_t*>(
      mmap(nullptr, 10 * kMib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const auto address = reinterpret_cast<uintptr_t>(room);
  zoo->huge = room + (kHuge - address % kHuge) % kHuge;
  madvise(zoo->huge, 8 * kMib, MADV_HUGEPAGE);
  WritePages(zoo->huge, 0, 8 * kMib / kPage);
  for (uint8_t* const one : {zoo->hidden, zoo->constant, zoo->shared, zoo->replaced, zoo->moved}) {
    WritePages(one, 0, 256);
  }
  mprotect(zoo->hidden, kMib, PROT_NONE);
  mprotect(zoo->constant, kMib, PROT_READ);
  WritePages(zoo->locked, 0, 512);
  mlock(zoo->locked, 2 * kMib);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, kMib) != 0) std::abort();
  zoo->file = Map(kMib, MAP_PRIVATE, fd);
  close(fd);
  WritePages(zoo->file, 0, 50, 2);
  WritePages(zoo->swapped, 0, 512);
  madvise(zoo->swapped, kMib, MADV_PAGEOUT);
  WritePages(zoo->plain, 0, 4096);
}

void Change(Zoo* zoo) {
  WritePages(zoo->holes, 1, 100, 3);
  WritePages(zoo->holes, 300, 20, 3);
  madvise(zoo->holes + 1000 * kPage, 100 * kPage, MADV_DONTNEED);
  // Where memory was, zeros are read, and some of that written.
  if (*static_cast<volatile uint8_t*>(zoo->holes + 1002 * kPage) != 0) std::abort();
  WritePages(zoo->holes, 1005, 5);
  zoo->zeros[7 * kPage] = 1;
  zoo->huge[kHuge + 12345] ^= 1;
  mprotect(zoo->hidden, kMib, PROT_READ | PROT_WRITE);
  WritePages(zoo->hidden, 10, 5);
  mprotect(zoo->hidden, kMib / 2, PROT_NONE);
  mprotect(zoo->constant, kMib / 2, PROT_READ | PROT_EXEC);
  munlock(zoo->locked, kMib);
  WritePages(zoo->locked, 500, 5);
  WritePages(zoo->file, 1, 30, 2);
  WritePages(zoo->shared, 9, 3);
  // Other memory where known one was, none of it written since the last checkpoint.
  munmap(zoo->replaced, kMib);
  mremap(zoo->moved, kMib, kMib, MREMAP_MAYMOVE | MREMAP_FIXED, zoo->replaced);
  zoo->moved = static_cast<uint8_t*>(mmap(zoo->moved, kMib, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  madvise(zoo->moved, kMib, MADV_NOHUGEPAGE);
  WritePages(zoo->moved, 0, 30);
  WritePages(zoo->swapped, 0, 5, 7);
  WritePages(zoo->plain, 100, 40, 90);
  if (fork() == 0) {
    WritePages(zoo->plain, 0, 10, 17);
    while (true) pause();
  }
}

uint64_t Sum(const uint8_t* at, size_t bytes, uint64_t sum) {
  for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
    uint64_t value = 0;
    std::memcpy(&value, at + i, sizeof(value));
    sum = (sum ^ value) * 0x9e3779b97f4a7c15 + 1;
  }
  return sum;
}

uint64_t SumOf(const Zoo& zoo) {
  mprotect(zoo.hidden, kMib, PROT_READ);
  uint64_t sum = 0;
  for (const uint8_t* const one :
       {zoo.hidden, zoo.constant, zoo.file, zoo.shared, zoo.replaced, zoo.moved}) {
    sum = Sum(one, kMib, sum);
  }
  for (const uint8_t* const one : {zoo.zeros, zoo.locked, zoo.swapped}) {
    sum = Sum(one, 2 * kMib, sum);
  }
  for (const uint8_t* const one : {zoo.holes, zoo.huge}) sum = Sum(one, 8 * kMib, sum);
  return Sum(zoo.plain, 16 * kMib, sum);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGUSR2);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  Zoo zoo;
  Fill(&zoo, argv[1]);
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([] {
      while (true) pause();
    });
  }
  std::puts("ready");
  std::fflush(stdout);
  for (int number = 0; sigwait(&set, &number) == 0;) {
    if (number == SIGUSR1) {
      Change(&zoo);
      std::puts("changed");
    } else {
      std::printf("%016llx\n", static_cast<unsigned long long>(SumOf(zoo)));
    }
    std::fflush(stdout);
  }
  return 1;
}
