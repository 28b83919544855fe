#include <xxhash.h>

#include "base/check.h"
#include "engine/format.h"
#include "engine/frame.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  std::vector<Bytes> seeds;
  FrameEncoder encoder;
  for (const size_t chunks : {1, 5, 40}) {
    PlainFrame frame;
    for (size_t i = 0; i < chunks; ++i) {
      frame.data.insert(frame.data.end(), 1 + i * 37 % 500, static_cast<uint8_t>(i * i));
      ChunkId id;
      id.length = static_cast<uint32_t>(1 + i * 37 % 500);
      frame.chunks.push_back(id);
    }
    const ByteSpan stored = encoder.Encode(&frame, /*level=*/3).value();
    seeds.emplace_back(stored.begin(), stored.end());
  }
  return seeds;
}

}  // namespace snapstore

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snapstore;
  // Magic, length and checksum made right: what lies behind them is to be tested.
  Bytes stored(data, data + size);
  if (stored.size() >= kFrameHeaderBytes) {
    StoreLe<uint32_t>(stored.data() + 8, static_cast<uint32_t>(size - kFrameHeaderBytes));
    StoreLe<uint32_t>(stored.data() + 12, 0x4d524653);
    StoreLe<uint64_t>(stored.data() + 16, XXH3_64bits_withSeed(stored.data() + kFrameHeaderBytes,
                                                               size - kFrameHeaderBytes,
                                                               XXH3_64bits(stored.data(), 16)));
  }
  static FrameDecoder decoder(&Sealer::Plain());
  DecodedFrame frame;
  if (!decoder.Decode({}, stored, &frame).ok()) return 0;
  SNAP_CHECK(frame.chunk_count() >= 1 && frame.chunk_count() <= kFrameChunksMax);
  size_t total = 0;
  for (size_t i = 0; i < frame.chunk_count(); ++i) total += frame.chunk(i).size();
  SNAP_CHECK(total == frame.data.size() && total <= kFramePlainMax);
  return 0;
}
