// The objects behind claims: docs/format.md, "Claims".
//
//   claims/<name>/<epoch>-<id>        a claim
//   claims/<name>/<epoch>-<id>-base   what its holder goes by
//
// Ids are random, so no put ever meets another's object: who is the last one is told by listings
// alone, on stores without conditional puts as well.
//
// Thread safety: free functions.
#ifndef SNAPSTORE_ENGINE_CLAIM_H_
#define SNAPSTORE_ENGINE_CLAIM_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
#include "engine/format.pb.h"
#include "engine/sealer.h"
#include "uploader/object_store.h"

namespace snapstore {

inline constexpr std::string_view kClaimPrefix = "claims/";
inline constexpr size_t kClaimBytesMax = 16 << 20;

// The name of one claim object, taken apart.
struct ClaimName {
  std::string folder;  // 32 hex digits that stand for what is claimed
  uint64_t epoch = 0;
  std::string id;
  bool base = false;
  int64_t modified_ns = 0;  // by the store's clock

  ObjectKey key() const;
};

// What stands for `name` in keys: it tells nothing to who does not know the repository's secret.
std::string ClaimFolder(const HashSecret& secret, std::string_view name);
// Visits the claims in `folder`, or all if it is empty. Other names are passed over.
Status ListClaims(ObjectStore& store, std::string_view folder,
                  const std::function<void(ClaimName)>& visit);

Bytes EncodeClaim(const Sealer& sealer, const format::Claim& claim);
// Corruption: damaged, or another object's.
Result<format::Claim> DecodeClaim(const Sealer& sealer, const ClaimName& name, ByteSpan bytes);
// What nobody needs any more: claims lower than one that has a base which was put before
// `before_ns`, by the store's clock.
Result<std::vector<ObjectKey>> SupersededClaims(ObjectStore& store, int64_t before_ns);
// NotFound: it is gone.
Result<format::Claim> ReadClaim(ObjectStore& store, const Sealer& sealer, const ClaimName& name);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_CLAIM_H_
