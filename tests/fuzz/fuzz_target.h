// One fuzz target: what libFuzzer calls, and inputs to begin with.
//
// With the preset `fuzz` each target is a libFuzzer program. In every other build fuzz_driver.cc
// mutates the seeds for a second, so that a target cannot rot unnoticed.
#ifndef SNAPSTORE_TESTS_FUZZ_FUZZ_TARGET_H_
#define SNAPSTORE_TESTS_FUZZ_FUZZ_TARGET_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace snapstore {

// Valid inputs, made by the encoders.
std::vector<Bytes> FuzzSeeds();

}  // namespace snapstore

// Returns 0; dies when the decoder breaks a promise.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#endif  // SNAPSTORE_TESTS_FUZZ_FUZZ_TARGET_H_
