// An application that is busy: two threads compute without pause, and change pages of a large heap
// at a steady rate. How far it got stands in a file.
//
// busy_application FILE MIB PAGES_PER_SECOND: FILE holds one number of 20 digits, the rounds of
// computation so far, written anew every 20 ms.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPageBytes = 4096;
constexpr int kThreads = 2;
constexpr std::chrono::milliseconds kTick{20};

std::atomic<uint64_t> rounds{0};

// One round takes some microseconds, in the processor's caches.
uint64_t Compute(uint64_t state) {
  for (int i = 0; i < 4096; ++i) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
  }
  return state;
}

void Work(uint64_t seed, std::vector<uint64_t>* heap, double pages_per_second) {
  std::mt19937_64 random(seed);
  const size_t words = kPageBytes / sizeof(uint64_t);
  const size_t pages = heap->size() / words / kThreads;
  const size_t first = seed * pages;
  uint64_t state = seed + 1;
  double owed = 0;
  auto before = Clock::now();
  while (true) {
    for (int i = 0; i < 256; ++i) state = Compute(state);
    rounds += 256;
    const auto now = Clock::now();
    // What it did not get to while it stood still it does not catch up on.
    owed += std::min(std::chrono::duration<double>(now - before).count(), 0.1) * pages_per_second;
    before = now;
    const auto due = static_cast<uint64_t>(owed);
    owed -= static_cast<double>(due);
    for (uint64_t i = 0; i < due; ++i) (*heap)[(first + random() % pages) * words] = ++state;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const int file = open(argv[1], O_WRONLY | O_CREAT, 0600);
  if (file < 0) return 1;
  std::vector<uint64_t> heap((strtoull(argv[2], nullptr, 10) << 20) / sizeof(uint64_t));
  std::mt19937_64 random(1);
  for (uint64_t& word : heap) word = random();
  const double each = strtod(argv[3], nullptr) / kThreads;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kThreads; ++i) threads.emplace_back(Work, i, &heap, each);
  while (true) {
    const std::string text = fmt::format("{:020}", rounds.load());
    if (pwrite(file, text.data(), text.size(), 0) < 0) return 1;
    std::this_thread::sleep_for(kTick);
  }
}
