#include "base/check.h"
#include "engine/entry_list.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  Bytes seed;
  ByteWriter writer(&seed);
  writer.U8(7);
  for (uint32_t type = 1; type <= 7; ++type) {
    Entry entry;
    entry.path = "dir/entry" + std::to_string(type);
    entry.type = static_cast<EntryType>(type);
    entry.mode = 0644;
    entry.mtime_ns = -5;
    entry.xattrs["user.name"] = "value";
    entry.symlink_target = "../target";
    format::Entry proto;
    EntryToProto(entry, &proto);
    if (type == 1) {
      proto.set_size(100);
      proto.mutable_content()->mutable_runs()->set_span(100);
    }
    const std::string record = proto.SerializeAsString();
    writer.Varint(record.size());
    writer.Raw(AsBytes(record));
  }
  return {seed};
}

}  // namespace snapstore

// The first byte is the span.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snapstore;
  ByteReader reader(ByteSpan(data, size));
  const uint64_t span = reader.U8();
  const ByteSpan leaf = reader.Raw(reader.remaining());
  std::vector<format::Entry> entries;
  if (!ParseEntryLeaf(leaf, span, &entries).ok()) return 0;
  SNAP_CHECK(entries.size() == span);
  for (const format::Entry& proto : entries) {
    const Entry entry = EntryFromProto(proto);
    // Whatever is accepted stays below the folder it is restored to.
    SNAP_CHECK(!entry.path.empty() && entry.path.front() != '/');
    SNAP_CHECK(("/" + entry.path + "/").find("/../") == std::string::npos);
  }
  return 0;
}
