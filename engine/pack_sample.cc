#include "engine/pack_sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/bytes.h"
#include "base/random.h"

namespace snapstore {

Status ValidateSample(const CheckSample& sample) {
  if (!(sample.percent >= 0 && sample.percent <= 100)) {
    return Status::InvalidArgument("the share of packs to read must be between 0 and 100 percent");
  }
  const bool whole = sample.part == 0 && sample.parts == 0;
  if (!whole && (sample.part == 0 || sample.part > sample.parts)) {
    return Status::InvalidArgument("a part of the packs must be one of 1/N to N/N");
  }
  return {};
}

std::vector<size_t> ChoosePacks(std::span<const PackPlace> packs, const CheckSample& sample,
                                uint64_t seed) {
  std::vector<size_t> order(packs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // Names are hashes: their first bytes spread evenly, and a pack stays in its part for ever.
  if (sample.parts != 0) {
    std::erase_if(order, [&](size_t pack) {
      return LoadLe<uint64_t>(packs[pack].id.bytes.data()) % sample.parts != sample.part - 1;
    });
  }
  SplitMix64 random(seed);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.Below(i)]);
  if (sample.bytes != 0) {
    uint64_t bytes = 0;
    size_t count = 0;
    while (count < order.size() && bytes < sample.bytes) bytes += packs[order[count++]].size;
    order.resize(count);
  }
  const double share = std::clamp(sample.percent, 0.0, 100.0) / 100;
  order.resize(std::min(order.size(),
                        static_cast<size_t>(std::ceil(share * static_cast<double>(order.size())))));
  return order;
}

}  // namespace snapstore
