#include "base/check.h"
#include "engine/manifest.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  format::Manifest manifest;
  std::vector<Bytes> seeds{EncodeManifest(Sealer::Plain(), manifest)};
  manifest.set_nonce("nonce");
  manifest.set_host("host");
  manifest.add_paths("/data");
  format::Tag* const tag = manifest.add_tags();
  tag->set_key("k");
  tag->set_value("\xff");
  manifest.mutable_statistics()->set_bytes_total(12345);
  manifest.set_pack_table_tail(std::string(64, 'p'));
  format::PackTableLeaf* const leaf = manifest.add_pack_table();
  leaf->set_hash(std::string(16, 'h'));
  leaf->set_pack(std::string(32, 'p'));
  leaf->set_length(8192);
  manifest.mutable_tree()->set_depth(1);
  manifest.mutable_tree()->set_nodes("nodes");
  manifest.mutable_tree()->set_span(7);
  seeds.push_back(EncodeManifest(Sealer::Plain(), manifest));
  return seeds;
}

}  // namespace snapstore

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snapstore;
  const ByteSpan bytes(data, size);
  const Digest id = Sha256::Of(bytes);
  const auto manifest = DecodeManifest(Sealer::Plain(), id, bytes);
  if (manifest.ok()) SNAP_CHECK(InfoFromManifest(id, *manifest).id == id.ToHex());
  return 0;
}
