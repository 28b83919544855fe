#include "base/check.h"
#include "engine/run_list.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  RunLeafBuilder builder;
  ChunkRef ref{{.length = 4096}, 3, 16, 5000, 0};
  builder.AddHole(100000);
  for (int i = 0; i < 60; ++i) {
    if (i % 3 != 0) ++ref.chunk_in_frame;
    ref.id.hash[0] = static_cast<uint8_t>(i / 2);
    if (i % 10 == 0) ref.frame_offset += 5000;
    if (i % 17 == 0) builder.AddHole(4096);
    builder.AddChunk(ref);
    if (i % 7 == 0) builder.AddChunk(ref);
  }
  Bytes seed;
  ByteWriter(&seed).U64(builder.span());
  const Bytes leaf = builder.Take();
  seed.insert(seed.end(), leaf.begin(), leaf.end());
  return {seed};
}

}  // namespace snapstore

// The first eight bytes are the span.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snapstore;
  ByteReader reader(ByteSpan(data, size));
  const uint64_t span = reader.U64();
  const ByteSpan leaf = reader.Raw(reader.remaining());
  constexpr uint64_t kBegin = 1000;
  std::vector<Run> runs;
  if (!ParseRunLeaf(leaf, kBegin, span, nullptr, &runs).ok()) return 0;
  uint64_t at = kBegin;
  for (const Run& run : runs) {
    SNAP_CHECK(run.offset == at && run.length > 0);
    SNAP_CHECK(run.hole || run.length == run.count * run.chunk.id.length);
    at += run.length;
  }
  SNAP_CHECK(at == kBegin + span);
  // What was understood is encoded and understood again. Repetitions are left out: a builder
  // takes them one by one.
  RunLeafBuilder builder;
  for (const Run& run : runs) {
    if (run.count > 1) return 0;
    run.hole ? builder.AddHole(run.length) : builder.AddChunk(run.chunk);
  }
  std::vector<Run> again;
  SNAP_CHECK(ParseRunLeaf(builder.Take(), kBegin, span, nullptr, &again).ok());
  return 0;
}
