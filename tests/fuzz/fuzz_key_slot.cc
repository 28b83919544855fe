#include "base/check.h"
#include "base/sha256.h"
#include "engine/key_slot.h"
#include "tests/fuzz/fuzz_target.h"

namespace snapstore {

std::vector<Bytes> FuzzSeeds() {
  std::vector<Bytes> seeds;
  const Sealer sealer(RepositoryId{1}, Secret(std::string(32, 'm')));
  for (const Credential::Kind kind : {Credential::Kind::kPassword, Credential::Kind::kKeyFile}) {
    const Credential credential{kind, Secret(std::string(32, 'c'))};
    Bytes slot = KeySlot::Make(sealer, credential, {"label", "host", "now"}, {16, 1, 1})->Encode();
    slot.erase(slot.end() - 65, slot.end());  // the line of the digest, which the target writes
    seeds.push_back(std::move(slot));
  }
  return seeds;
}

}  // namespace snapstore

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace snapstore;
  const ByteSpan line(data, size);
  const std::string digest = Sha256::Of(line).ToHex() + "\n";
  Bytes bytes(line.begin(), line.end());
  bytes.insert(bytes.end(), digest.begin(), digest.end());
  const auto slot = KeySlot::Decode(bytes);
  if (!slot.ok()) return 0;
  // What is accepted costs no more than the limit, and comes back as it is.
  if (slot->kind == Credential::Kind::kPassword) {
    SNAP_CHECK(slot->cost.Check().ok() && slot->cost.memory_bytes() <= kScryptMemoryMax);
  }
  const auto again = KeySlot::Decode(slot->Encode());
  SNAP_CHECK(again.ok() && again->repository == slot->repository && again->salt == slot->salt &&
             again->sealed_key == slot->sealed_key && again->sealed_about == slot->sealed_about);
  const Sealer sealer(slot->repository, Secret(std::string(32, 'm')));
  (void)slot->About(sealer);
  return 0;
}
