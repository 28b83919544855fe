// Runs a fuzz target without libFuzzer: the seeds, then mutations of them for a second.
//
//   fuzz_frame [SEED]             prints the seed, so that a failure can be played again
//   fuzz_frame --corpus FOLDER    writes the seeds there, for libFuzzer to begin with
#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/random.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {
namespace {

constexpr auto kDuration = std::chrono::seconds(1);
constexpr size_t kSizeMax = 1 << 16;

void Mutate(SplitMix64* random, const std::vector<Bytes>& seeds, Bytes* input) {
  for (uint64_t edits = 1 + random->Below(8); edits > 0; --edits) {
    const size_t at = input->empty() ? 0 : random->Below(input->size());
    const auto place = input->begin() + static_cast<ptrdiff_t>(at);
    switch (random->Below(6)) {
      case 0:
        if (!input->empty()) input->at(at) ^= static_cast<uint8_t>(1u << random->Below(8));
        break;
      case 1:
        if (!input->empty()) input->at(at) = static_cast<uint8_t>(random->Next());
        break;
      case 2:
        input->insert(place, static_cast<uint8_t>(random->Next()));
        break;
      case 3:
        input->resize(at);
        break;
      case 4:  // a number that is likely to be a limit
        if (input->size() >= at + 4) {
          StoreLe<uint32_t>(input->data() + at, static_cast<uint32_t>(-1) >> random->Below(32));
        }
        break;
      default: {  // the end of another seed
        const Bytes& other = seeds[random->Below(seeds.size())];
        const size_t from = other.empty() ? 0 : random->Below(other.size());
        input->resize(at);
        input->insert(input->end(), other.begin() + static_cast<ptrdiff_t>(from), other.end());
        break;
      }
    }
  }
  if (input->size() > kSizeMax) input->resize(kSizeMax);
}

int WriteCorpus(const std::string& folder, const std::vector<Bytes>& seeds) {
  Status status = MakeDirectories(folder);
  for (size_t i = 0; i < seeds.size() && status.ok(); ++i) {
    status = ReplaceFile(fmt::format("{}/seed-{}", folder, i), seeds[i]);
  }
  if (!status.ok()) fmt::print(stderr, "{}\n", status.ToString());
  return status.ok() ? 0 : 1;
}

// In a buffer of exactly the input's size: a sanitizer sees every byte read beyond it.
void RunOnce(Bytes input) {
  input.shrink_to_fit();
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

}  // namespace
}  // namespace snapstore

int main(int argc, char** argv) {
  using namespace snapstore;
  const std::vector<Bytes> seeds = FuzzSeeds();
  if (argc == 3 && std::string(argv[1]) == "--corpus") return WriteCorpus(argv[2], seeds);
  const uint64_t seed = argc == 2 ? std::strtoull(argv[1], nullptr, 0) : std::random_device()();
  fmt::print("seed {}\n", seed);
  std::fflush(stdout);
  SplitMix64 random(seed);
  for (const Bytes& input : seeds) RunOnce(input);
  RunOnce({});
  uint64_t runs = 0;
  const auto end = std::chrono::steady_clock::now() + kDuration;
  while (std::chrono::steady_clock::now() < end) {
    Bytes input = seeds[random.Below(seeds.size())];
    Mutate(&random, seeds, &input);
    RunOnce(std::move(input));
    ++runs;
  }
  fmt::print("{} runs\n", runs);
  return 0;
}
