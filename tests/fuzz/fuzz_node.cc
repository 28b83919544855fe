#include "base/check.h"
#include "engine/node_tree.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  std::vector<Bytes> seeds;
  for (const uint32_t children : {1u, 40u}) {
    Bytes& node = seeds.emplace_back();
    uint64_t span = 0;
    Bytes refs;
    for (uint32_t i = 0; i < children; ++i) {
      NodeRef ref;
      ref.chunk = {{.length = 1 + i * 1000}, i, i * 100000, 300 + i, static_cast<uint16_t>(i)};
      ref.span = uint64_t{i} << (i % 40);
      span += ref.span;
      AppendNodeRef(ref, &refs);
    }
    ByteWriter(&node).U64(span);
    node.insert(node.end(), refs.begin(), refs.end());
  }
  return seeds;
}

}  // namespace snapstore

// The first eight bytes are the span.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snapstore;
  ByteReader reader(ByteSpan(data, size));
  const uint64_t span = reader.U64();
  const ByteSpan node = reader.Raw(reader.remaining());
  const auto refs = ParseNode(node, span);
  if (!refs.ok()) return 0;
  uint64_t total = 0;
  for (const NodeRef& ref : *refs) {
    SNAP_CHECK(ref.chunk.id.length > 0 && ref.chunk.id.length <= kChunkBytesMax);
    total += ref.span;
  }
  SNAP_CHECK(total == span);
  return 0;
}
