#include <xxhash.h>

#include <algorithm>

#include "base/check.h"
#include "engine/frame.h"
#include "engine/pack.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  std::vector<Bytes> seeds;
  for (const size_t frames : {1, 3, 20}) {
    PackBuilder builder(&Sealer::Plain(), PackKind::kData);
    for (size_t f = 0; f < frames; ++f) {
      std::vector<ChunkId> chunks(1 + f % 4);
      for (ChunkId& id : chunks) id.length = 100;
      builder.Append(Bytes(50 + f, 'x'), chunks);
    }
    seeds.push_back(std::move(builder).Seal().bytes);
  }
  return seeds;
}

}  // namespace snapstore

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snapstore;
  const uint64_t kHeaderBytes = PackHeaderBytes(Sealer::Plain());
  // The footer begins where the trailer says, if that can be; its checksum is made right.
  Bytes pack(data, data + size);
  if (size >= kHeaderBytes + kPackTrailerBytes) {
    uint8_t* const trailer = pack.data() + size - kPackTrailerBytes;
    const uint64_t room = size - kHeaderBytes - kPackTrailerBytes;
    const uint64_t length = LoadLe<uint32_t>(trailer + 12) % (room + 1);
    const uint64_t offset = size - kPackTrailerBytes - length;
    StoreLe<uint64_t>(trailer, XXH3_64bits(pack.data() + offset, length));
    StoreLe<uint32_t>(trailer + 8, static_cast<uint32_t>(offset));
    StoreLe<uint32_t>(trailer + 12, static_cast<uint32_t>(length));
    const ByteSpan magic = AsBytes("PACKTAIL");
    std::copy(magic.begin(), magic.end(), trailer + 24);
  }
  const auto footer = ParsePack(Sealer::Plain(), pack);
  if (!footer.ok()) return 0;
  for (const PackChunk& chunk : footer->chunks) {
    SNAP_CHECK(chunk.frame_offset >= kHeaderBytes && chunk.frame_length > kFrameHeaderBytes &&
               uint64_t{chunk.frame_offset} + chunk.frame_length <= size);
    SNAP_CHECK(chunk.id.length > 0 && chunk.id.length <= kChunkBytesMax);
  }
  return 0;
}
