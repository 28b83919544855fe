#include "base/check.h"
#include "engine/segment.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  std::vector<Bytes> seeds;
  for (const size_t packs : {0, 1, 7}) {
    SegmentBuilder builder;
    for (size_t p = 0; p < packs; ++p) {
      std::vector<PackChunk> chunks(1 + p * 5);
      for (size_t i = 0; i < chunks.size(); ++i) {
        chunks[i] = {.id = {.length = 1000},
                     .frame_offset = 16,
                     .frame_length = 200,
                     .chunk_in_frame = static_cast<uint16_t>(i)};
      }
      builder.Add(p % 2 == 0 ? PackKind::kData : PackKind::kMeta, PackId(), chunks);
    }
    seeds.push_back(std::move(builder).Finish(Sealer::Plain()));
  }
  return seeds;
}

}  // namespace snapstore

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snapstore;
  const ByteSpan bytes(data, size);
  const Status status =
      ParseSegment(Sealer::Plain(), Sha256::Of(bytes), bytes, [](const SegmentPack& pack) {
        for (const PackChunk& chunk : pack.chunks) SNAP_CHECK(chunk.id.length > 0);
        return Status();
      });
  (void)status;
  return 0;
}
