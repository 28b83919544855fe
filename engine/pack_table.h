// PackTable: the packs a snapshot refers to, by ordinal.
//
// References inside a snapshot's metadata name a pack by its place in this table, which the
// manifest carries. A child's table begins with its parent's, so that metadata taken over from the
// parent stays valid bit for bit. docs/format.md, "Pack table".
//
// Thread safety: all calls may run concurrently.
#ifndef SNAPSTORE_ENGINE_PACK_TABLE_H_
#define SNAPSTORE_ENGINE_PACK_TABLE_H_

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "index/chunk_index.h"
#include "snapstore/status.h"

namespace snapstore {

class PackTable {
 public:
  PackTable() = default;
  explicit PackTable(std::vector<PackId> packs);

  // The ordinal of a known pack, added when missing.
  uint32_t OrdinalOf(const PackId& pack);
  // An ordinal for a pack that has no name yet.
  uint32_t Reserve();
  void Name(uint32_t ordinal, const PackId& pack);

  // Corruption for an ordinal outside the table.
  Result<PackId> PackAt(uint32_t ordinal) const;
  size_t size() const;
  std::vector<PackId> Copy() const;

 private:
  mutable std::mutex mutex_;
  std::vector<PackId> packs_;
  std::unordered_map<PackId, uint32_t> ordinals_;
};

}  // namespace snapstore

#endif  // SNAPSTORE_ENGINE_PACK_TABLE_H_
