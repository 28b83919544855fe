// Which packs a prune deletes and which it rewrites. Pure: no I/O.
#ifndef SNAPSTORE_ENGINE_PRUNE_PLAN_H_
#define SNAPSTORE_ENGINE_PRUNE_PLAN_H_

#include <span>

#include "engine/pack_catalog.h"
#include "snapstore/maintain.h"

namespace snapstore {

// What a plan needs to know beside the packs.
struct PlanInput {
  uint64_t snapshots = 0;
  uint64_t pack_bytes = 1;  // how large packs are written
};

// Whether nobody needs any of it.
inline bool IsDead(const CatalogPack& pack) {
  return pack.live_bytes == 0 && pack.table_bytes != 0;
}

// Sets CatalogPack::rewrite: packs with the largest share of garbage first, until what is left is
// little enough. Condemned packs that are still needed in part always are.
PrunePlan MakePrunePlan(std::span<CatalogPack> packs, const PlanInput& input,
                        const PruneOptions& options);

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PRUNE_PLAN_H_
