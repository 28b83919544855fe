// An application for tests that changes its memory in every way a process can, in several threads.
//
// memory_writer churn SEED: until it is killed, by threads that write, map, unmap, move, discard,
//   protect and fork, and by a child that executes itself again and again.
// memory_writer calls: signals and system calls that block, over and over; ends with 1 when one of
//   them returned something that it must not, and says "ready" once it has begun.
// memory_writer aligned MIB: so much memory, at which it looks at each SIGUSR1; waits for that with
//   a stack pointer that is a multiple of the page size. Says "ready", then "good" or "bad".
// memory_writer quiet MIB: so much memory, of which the first 256 pages are written at each
// SIGUSR1;
//   says "ready", then "written" each time.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kRegionPagesMax = 200;
constexpr size_t kRegionsMax = 12;

struct Region {
  uint8_t* at = nullptr;
  size_t pages = 0;
  bool readable = true;
  bool shared = false;
};

void Pause(long nanoseconds) {
  const timespec time{0, nanoseconds};
  nanosleep(&time, nullptr);
}

// One thread's regions; nobody else touches them.
class Churner {
 public:
  explicit Churner(uint64_t seed) : random_(seed) {}

  void Run(uint64_t steps) {
    for (uint64_t step = 0; step < steps; ++step) {
      Step();
      if (Below(2) == 0) Pause(200'000);
    }
  }

 private:
  size_t Below(size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random_);
  }

  void WritePages(const Region& region, size_t count) {
    for (size_t i = 0; i < count && region.readable; ++i) {
      uint8_t* const page = region.at + Below(region.pages) * kPage;
      page[Below(kPage)] = static_cast<uint8_t>(random_());
      if (Below(4) == 0) std::memset(page, static_cast<int>(Below(256)), kPage);
    }
  }

  void Map() {
    if (regions_.size() >= kRegionsMax) return;
    Region region;
    region.pages = 1 + Below(kRegionPagesMax);
    region.shared = Below(8) == 0;
    const int flags = (region.shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS;
    void* const at = mmap(nullptr, region.pages * kPage, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED) return;
    region.at = static_cast<uint8_t*>(at);
    if (Below(4) == 0) madvise(at, region.pages * kPage, MADV_HUGEPAGE);
    WritePages(region, region.pages);
    regions_.push_back(region);
  }

  void Unmap(size_t index) {
    Region& region = regions_[index];
    if (region.pages > 1 && Below(2) == 0) {
      const size_t kept = 1 + Below(region.pages - 1);
      munmap(region.at + kept * kPage, (region.pages - kept) * kPage);
      region.pages = kept;
      return;
    }
    munmap(region.at, region.pages * kPage);
    regions_.erase(regions_.begin() + static_cast<ptrdiff_t>(index));
  }

  void Move(Region* region) {
    // Behind the end of what is shared there is nothing.
    const size_t pages = region->shared ? region->pages : 1 + Below(kRegionPagesMax);
    void* target = nullptr;
    int flags = MREMAP_MAYMOVE;
    if (Below(2) == 0) {
      // To a place of its own choice, right behind another region as likely as not.
      target = mmap(nullptr, pages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (target == MAP_FAILED) return;
      flags |= MREMAP_FIXED;
    }
    void* const at = mremap(region->at, region->pages * kPage, pages * kPage, flags, target);
    if (at == MAP_FAILED) return;
    region->at = static_cast<uint8_t*>(at);
    region->pages = pages;
  }

  void Discard(const Region& region) {
    const size_t first = Below(region.pages);
    const size_t count = 1 + Below(region.pages - first);
    constexpr int kCollapse = 25;  // MADV_COLLAPSE of Linux 6.1
    constexpr int kAdvice[] = {MADV_DONTNEED, MADV_FREE, MADV_PAGEOUT, kCollapse};
    madvise(region.at + first * kPage, count * kPage, kAdvice[Below(4)]);
  }

  void Protect(Region* region) {
    if (!region->readable) {
      mprotect(region->at, region->pages * kPage, PROT_READ | PROT_WRITE);
      region->readable = true;
      WritePages(*region, 2);
      return;
    }
    if (Below(2) == 0) {
      mprotect(region->at, region->pages * kPage, PROT_NONE);
      region->readable = false;
      return;
    }
    mprotect(region->at, region->pages * kPage / 2 / kPage * kPage, PROT_READ);
    mprotect(region->at, region->pages * kPage, PROT_READ | PROT_WRITE);
    WritePages(*region, 2);
  }

  // Both go on writing for a while, to pages that are the same at first.
  void Fork(const Region& region) {
    const pid_t child = fork();
    if (child == 0) {
      for (int i = 0; i < 20; ++i) {
        WritePages(region, 5);
        Pause(1'000'000);
      }
      _exit(0);
    }
    WritePages(region, 10);
    if (child > 0) waitpid(child, nullptr, 0);
  }

  // The kernel writes here, not we.
  void ReadInto(const Region& region) {
    if (!region.readable) return;
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    const size_t page = Below(region.pages);
    (void)!read(fd, region.at + page * kPage, std::min<size_t>(region.pages - page, 3) * kPage);
    close(fd);
  }

  void Allocate() {
    std::string& slot = heap_[Below(heap_.size())];
    slot.assign(1 + Below(200'000), static_cast<char>(random_()));
  }

  void Recurse(size_t depth) {
    volatile uint8_t frame[1500];
    frame[Below(sizeof(frame))] = static_cast<uint8_t>(random_());
    if (depth > 0) Recurse(depth - 1);
    frame[0] = 1;
  }

  void Step() {
    if (regions_.empty()) return Map();
    const size_t index = Below(regions_.size());
    Region& region = regions_[index];
    switch (Below(24)) {
      case 0:
      case 1:
        return Map();
      case 2:
        return Unmap(index);
      case 3:
        return Move(&region);
      case 4:
        return Discard(region);
      case 5:
        return Protect(&region);
      case 6:
        if (Below(40) == 0) Fork(region);
        return;
      case 7:
        return ReadInto(region);
      case 8:
        return Allocate();
      case 9:
        return Recurse(Below(60));
      default:
        return WritePages(region, 1 + Below(4));
    }
  }

  std::mt19937_64 random_;
  std::vector<Region> regions_;
  std::vector<std::string> heap_{20};
};

// A process that becomes another one with every breath.
[[noreturn]] void RunExecuted(const char* program, uint64_t seed) {
  const std::vector<uint8_t> much(12 << 20, static_cast<uint8_t>(seed));
  Churner(seed).Run(300 + much.back());
  const std::string next = std::to_string(seed + 1);
  execl(program, program, "executed", next.c_str(), nullptr);
  _exit(1);
}

[[noreturn]] void RunChurn(const char* program, uint64_t seed) {
  if (fork() == 0) RunExecuted(program, seed + 100);
  // What stays as it is, so that there is something to gain.
  const std::vector<uint8_t> quiet(24 << 20, 7);
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([=] { Churner(seed + i).Run(UINT64_MAX); });
  }
  for (std::thread& thread : threads) thread.join();
  _exit(quiet.back());
}

std::atomic<uint64_t> ticks{0};

bool CallsAreWhole(int round, int pipe_read, int pipe_write) {
  timespec before{};
  timespec after{};
  clock_gettime(CLOCK_MONOTONIC, &before);
  const timespec wait{0, 3'000'000};
  timespec left = wait;
  // An alarm may well interrupt it; anything else must not, and then it must last.
  while (nanosleep(&left, &left) != 0) {
    if (errno != EINTR || ticks == 0) return false;
  }
  clock_gettime(CLOCK_MONOTONIC, &after);
  if ((after.tv_sec - before.tv_sec) * 1'000'000'000 + after.tv_nsec - before.tv_nsec <
      wait.tv_nsec) {
    return false;
  }
  const auto byte = static_cast<uint8_t>(round);
  std::thread writer([=] {
    Pause(1'000'000);
    (void)!write(pipe_write, &byte, 1);
  });
  uint8_t got = 0;
  const bool read_well = read(pipe_read, &got, 1) == 1 && got == byte;
  writer.join();
  double sum = 0;
  for (int i = 1; i <= 1000; ++i) sum += 1.0 / i;
  return read_well && sum > 7.4854 && sum < 7.4855;
}

int RunCalls() {
  struct sigaction action {};
  action.sa_handler = [](int) { ++ticks; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  const itimerval timer{{0, 1700}, {0, 1700}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  int ends[2];
  if (pipe(ends) != 0) return 1;
  std::puts("ready");
  std::fflush(stdout);
  for (int round = 0;; ++round) {
    if (!CallsAreWhole(round, ends[0], ends[1])) return 1;
  }
}

int RunQuiet(size_t mib) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  const size_t bytes = mib << 20;
  auto* const memory = static_cast<uint8_t*>(
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  // Else each of the pages may make two megabytes dirty.
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  std::mt19937_64 random(1);
  for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    const uint64_t value = random();
    std::memcpy(memory + at, &value, sizeof(value));
  }
  std::puts("ready");
  std::fflush(stdout);
  for (int number = 0; sigwait(&set, &number) == 0;) {
    for (size_t page = 0; page < 256; ++page) ++memory[page * kPage];
    std::puts("written");
    std::fflush(stdout);
  }
  return 1;
}

#if defined(__x86_64__)
std::atomic<bool> asked = false;

void WaitAligned() {
  asm volatile(
      "mov %%rsp, %%rbx\n\t"
      "and $-4096, %%rsp\n\t"
      "syscall\n\t"
      "mov %%rbx, %%rsp"
      :
      : "a"(SYS_pause)
      : "rbx", "rcx", "r11", "memory");
}

int RunAligned(size_t mib) {
  signal(SIGUSR1, [](int) { asked = true; });
  std::vector<uint64_t> memory((mib << 20) / sizeof(uint64_t));
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = i * 0x9e3779b97f4a7c15;
  for (const char* answer = "ready";;) {
    std::puts(answer);
    std::fflush(stdout);
    while (!asked.exchange(false)) WaitAligned();
    answer = "good";
    for (size_t i = 0; i < memory.size(); ++i) {
      if (memory[i] != i * 0x9e3779b97f4a7c15) answer = "bad";
    }
  }
}
#endif

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const uint64_t number = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (mode == "churn") RunChurn(argv[0], number);
  if (mode == "executed") RunExecuted(argv[0], number);
  if (mode == "calls") return RunCalls();
  if (mode == "quiet") return RunQuiet(number);
#if defined(__x86_64__)
  if (mode == "aligned") return RunAligned(number);
#endif
  std::fprintf(stderr, "usage: %s churn SEED | calls | aligned MIB | quiet MIB\n", argv[0]);
  return 2;
}
