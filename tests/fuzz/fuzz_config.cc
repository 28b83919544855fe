#include "base/check.h"
#include "base/sha256.h"
#include "engine/config.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  Bytes config = RepositoryConfig().Encode();
  config.erase(config.end() - 65, config.end());  // the line of the digest, which the target writes
  return {config};
}

}  // namespace snapstore

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snapstore;
  const ByteSpan line(data, size);
  const std::string digest = Sha256::Of(line).ToHex() + "\n";
  Bytes bytes(line.begin(), line.end());
  bytes.insert(bytes.end(), digest.begin(), digest.end());
  const auto config = RepositoryConfig::Decode(bytes);
  if (!config.ok()) return 0;
  const auto again = RepositoryConfig::Decode(config->Encode());
  SNAP_CHECK(again.ok() && again->id == config->id &&
             again->hash_secret.bytes == config->hash_secret.bytes &&
             again->chunker_seed == config->chunker_seed);
  return 0;
}
