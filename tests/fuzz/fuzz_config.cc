#include "base/check.h"
#include "base/sha256.h"
#include "engine/config.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  Bytes config = RepositoryConfig().Encode(Sealer::Plain());
  config.erase(config.end() - 65, config.end());  // the line of the digest, which the target writes
  // An encrypted one: 200 bytes of secrets, nonce and tag.
  const std::string sealed = R"({"encryption":"xaes-256-gcm","format":"snapstore","id":")" +
                             std::string(32, '0') + R"(","sealed":")" + std::string(480, '0') +
                             R"(","version":2})" + "\n";
  return {config, Bytes(sealed.begin(), sealed.end())};
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
  if (config->encrypted) {
    // Nobody can make up secrets that open.
    const Sealer sealer(config->id, Secret(std::string(32, 'k')));
    SNAP_CHECK(!RepositoryConfig(*config).OpenSecrets(sealer).ok());
    return 0;
  }
  const auto again = RepositoryConfig::Decode(config->Encode(Sealer::Plain()));
  SNAP_CHECK(again.ok() && again->id == config->id &&
             again->hash_secret.bytes == config->hash_secret.bytes &&
             again->chunker_seed == config->chunker_seed);
  return 0;
}
