// Threads that fill, change and check a heap: arguments log, threads, MiB in all. A page holds its
// number and a count in every word; each thread goes through its pages, checks and rewrites them,
// with a rest now and then: the agent works with what is left of the processors.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

constexpr size_t kWords = 4096 / sizeof(uint64_t);
constexpr uint64_t kPagesBetweenRests = 256;

std::atomic<uint64_t> rounds{0};
std::atomic<int64_t> wrong_page{-1};

void FillPage(uint64_t* page, uint64_t number, uint64_t count) {
  for (size_t word = 0; word < kWords; ++word) page[word] = number * 1'000'003 + count * 7 + word;
}

// Of a page that was filled `count` times.
bool IsPage(const uint64_t* page, uint64_t number, uint64_t count) {
  for (size_t word = 0; word < kWords; ++word) {
    if (page[word] != number * 1'000'003 + count * 7 + word) return false;
  }
  return true;
}

void Work(uint64_t* memory, uint64_t first, uint64_t pages) {
  for (uint64_t page = first; page < first + pages; ++page) {
    FillPage(memory + page * kWords, page, 0);
  }
  for (uint64_t round = 0;; ++round) {
    // Every eighth page changes in a round, each after eight rounds.
    for (uint64_t page = first; page < first + pages; ++page) {
      const uint64_t count = (round + 7 - page % 8) / 8;
      if (!IsPage(memory + page * kWords, page, count)) wrong_page = static_cast<int64_t>(page);
      if (page % 8 == round % 8) FillPage(memory + page * kWords, page, count + 1);
      if (page % kPagesBetweenRests == 0) usleep(2'000);
    }
    ++rounds;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  FILE* log = fopen(argv[1], "a");
  const uint64_t threads = strtoull(argv[2], nullptr, 10);
  const uint64_t pages = (strtoull(argv[3], nullptr, 10) << 20) / 4096 / threads;
  auto* memory = static_cast<uint64_t*>(aligned_alloc(4096, pages * threads * 4096));
  if (log == nullptr || memory == nullptr) return 1;
  std::vector<std::thread> all;
  for (uint64_t i = 0; i < threads; ++i) all.emplace_back(Work, memory, i * pages, pages);
  while (true) {
    if (wrong_page >= 0) {
      fprintf(log, "wrong: page %lld %llu\n", static_cast<long long>(wrong_page.load()),
              static_cast<unsigned long long>(rounds.load()));
    } else {
      fprintf(log, "ok %llu\n", static_cast<unsigned long long>(rounds.load()));
    }
    fflush(log);
    usleep(10'000);
  }
}
