// Inputs and drivers shared by the chunker's tests.
#ifndef SNAPSTORE_TESTS_CHUNKER_CHUNKER_TESTLIB_H_
#define SNAPSTORE_TESTS_CHUNKER_CHUNKER_TESTLIB_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "chunker/chunker.h"

namespace snapstore::test {

inline Bytes RandomBytes(uint64_t seed, size_t size) {
  SplitMix64 generator(seed);
  Bytes bytes((size + 7) / 8 * 8);
  for (size_t at = 0; at < bytes.size(); at += 8) StoreLe(bytes.data() + at, generator.Next());
  bytes.resize(size);
  return bytes;
}

// Words of a few letters, much repetition: nothing like random bytes.
inline Bytes TextBytes(uint64_t seed, size_t size) {
  SplitMix64 generator(seed);
  Bytes bytes;
  while (bytes.size() < size) {
    for (uint64_t n = 1 + generator.Below(9); n > 0; --n) {
      bytes.push_back(static_cast<uint8_t>('a' + generator.Below(6) * generator.Below(5)));
    }
    bytes.push_back(generator.Below(12) == 0 ? '\n' : ' ');
  }
  bytes.resize(size);
  return bytes;
}

inline Bytes PeriodicBytes(uint64_t seed, size_t period, size_t size) {
  const Bytes unit = RandomBytes(seed, period);
  Bytes bytes(size);
  for (size_t at = 0; at < size; ++at) bytes[at] = unit[at % period];
  return bytes;
}

struct NamedInput {
  std::string name;
  Bytes bytes;
};

// Random, structured and adversarial streams of about `size` bytes.
inline std::vector<NamedInput> Inputs(uint64_t seed, size_t size) {
  std::vector<NamedInput> inputs;
  inputs.push_back({"random", RandomBytes(seed, size)});
  inputs.push_back({"text", TextBytes(seed, size)});
  inputs.push_back({"zero", Bytes(size)});
  inputs.push_back({"ones", Bytes(size, 0xff)});
  // The one constant byte whose window is a candidate everywhere: (x+1)^5 * 0xbd == 0xfb.
  inputs.push_back({"constant candidate", Bytes(size, 0xbd)});
  for (size_t period = 1; period <= 64; ++period) {
    inputs.push_back({"period " + std::to_string(period), PeriodicBytes(seed, period, size)});
  }
  Bytes sparse(size);
  SplitMix64 generator(seed);
  for (size_t n = 0; n < size / 100; ++n) {
    sparse[generator.Below(size)] = static_cast<uint8_t>(generator.Next());
  }
  inputs.push_back({"sparse", std::move(sparse)});
  return inputs;
}

// Ends of all chunks of a stream that is there as a whole.
inline std::vector<size_t> Cuts(const Chunker& chunker, ByteSpan stream) {
  std::vector<size_t> ends;
  size_t at = 0;
  while (at < stream.size()) {
    const size_t length = chunker.NextCut(stream.subspan(at), true);
    if (length == 0 || length > stream.size() - at) {
      ADD_FAILURE() << "cut of " << length << " bytes at " << at << " of " << stream.size();
      return ends;
    }
    at += length;
    ends.push_back(at);
  }
  return ends;
}

inline std::unique_ptr<Chunker> MakeChunker(const ChunkerParams& params) {
  auto chunker = Chunker::Create(params);
  EXPECT_TRUE(chunker.ok()) << chunker.status().ToString();
  return std::move(chunker).value();
}

// A fresh seed per run; the message replays it.
inline uint64_t TestSeed() {
  uint64_t seed;
  if (const char* fixed = std::getenv("SNAPSTORE_TEST_SEED"); fixed != nullptr) {
    seed = std::strtoull(fixed, nullptr, 10);
  } else {
    Bytes bytes(sizeof(seed));
    SecureRandom(bytes);
    seed = LoadLe<uint64_t>(bytes.data());
  }
  std::printf("SNAPSTORE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace snapstore::test

#endif  // SNAPSTORE_TESTS_CHUNKER_CHUNKER_TESTLIB_H_
