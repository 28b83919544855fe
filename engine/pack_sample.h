// ChoosePacks: which packs a check reads whole, when it shall not read all.
#ifndef SNAPSTORE_ENGINE_PACK_SAMPLE_H_
#define SNAPSTORE_ENGINE_PACK_SAMPLE_H_

#include <cstddef>
#include <span>
#include <vector>

#include "engine/check_pack.h"
#include "snapstore/inspect.h"
#include "snapstore/status.h"

namespace snapstore {

// InvalidArgument when the sample makes no sense.
Status ValidateSample(const CheckSample& sample);

// Indexes into `packs`, in the order in which they are to be read: random, so that a check that
// runs out of time has read a random part. The same for the same packs, sample and seed.
std::vector<size_t> ChoosePacks(std::span<const PackPlace> packs, const CheckSample& sample,
                                uint64_t seed);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PACK_SAMPLE_H_
