#include "engine/prune_plan.h"

#include <algorithm>
#include <vector>

namespace snapstore {
namespace {

constexpr uint64_t kReadBytes = 4 << 20;  // what one request of a rewrite fetches, about

uint64_t Garbage(const CatalogPack& pack) { return pack.size - pack.live_bytes; }

// Share of garbage of `a` above that of `b`, without rounding.
bool Worse(const CatalogPack* a, const CatalogPack* b) {
  const double share_a = static_cast<double>(Garbage(*a)) / static_cast<double>(a->size);
  const double share_b = static_cast<double>(Garbage(*b)) / static_cast<double>(b->size);
  return share_a != share_b ? share_a > share_b : a->id < b->id;
}

uint64_t UnusedMax(const PruneOptions& options, uint64_t bytes_kept) {
  if (options.max_unused_bytes.has_value()) return *options.max_unused_bytes;
  const double share = std::clamp(options.max_unused_percent, 0.0, 100.0) / 100;
  return static_cast<uint64_t>(share * static_cast<double>(bytes_kept));
}

void Rewrite(CatalogPack* pack, PrunePlan* plan) {
  pack->rewrite = true;
  ++plan->packs_rewrite;
  plan->bytes_rewrite += pack->size;
  plan->bytes_rewrite_live += pack->live_bytes;
}

}  // namespace

PrunePlan MakePrunePlan(std::span<CatalogPack> packs, const PlanInput& input,
                        const PruneOptions& options) {
  PrunePlan plan;
  plan.snapshots = input.snapshots;
  std::vector<CatalogPack*> partly;
  uint64_t unused = 0;
  uint64_t kept = 0;
  for (CatalogPack& pack : packs) {
    ++plan.packs;
    plan.bytes_packs += pack.size;
    plan.bytes_live += pack.live_bytes;
    if (pack.condemned && pack.live_bytes > 0) {
      Rewrite(&pack, &plan);
    } else if (pack.condemned || (IsDead(pack) && !pack.held)) {
      ++plan.packs_delete;
      plan.bytes_delete += pack.size;
    } else {
      kept += pack.size;
      if (pack.held) {
        ++plan.packs_held;
        continue;  // what it will be good for is not known yet
      }
      unused += pack.table_bytes == 0 ? 0 : Garbage(pack);
      if (pack.table_bytes != 0 && Garbage(pack) > 0) partly.push_back(&pack);
    }
  }
  std::sort(partly.begin(), partly.end(), Worse);
  const uint64_t unused_max = UnusedMax(options, kept);
  for (CatalogPack* const pack : partly) {
    if (unused <= unused_max) break;
    if (plan.bytes_rewrite + pack->size > options.max_rewrite_bytes) continue;
    unused -= Garbage(*pack);
    Rewrite(pack, &plan);
  }
  plan.bytes_unused_left = unused;

  plan.bytes_down = plan.bytes_rewrite_live;
  plan.bytes_up = plan.bytes_rewrite_live;
  plan.requests_get = (plan.bytes_down + kReadBytes - 1) / kReadBytes + plan.packs_rewrite;
  plan.requests_put = (plan.bytes_up + input.pack_bytes - 1) / input.pack_bytes;
  plan.requests_delete = plan.packs_delete + plan.packs_rewrite;
  return plan;
}

}  // namespace snapstore
