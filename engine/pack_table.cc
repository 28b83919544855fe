#include "engine/pack_table.h"

#include "base/check.h"

namespace snapstore {

PackTable::PackTable(std::vector<PackId> packs) : packs_(std::move(packs)) {
  ordinals_.reserve(packs_.size());
  for (size_t i = 0; i < packs_.size(); ++i) {
    ordinals_.emplace(packs_[i], static_cast<uint32_t>(i));
  }
}

uint32_t PackTable::OrdinalOf(const PackId& pack) {
  std::lock_guard lock(mutex_);
  const auto [it, added] = ordinals_.emplace(pack, static_cast<uint32_t>(packs_.size()));
  if (added) packs_.push_back(pack);
  return it->second;
}

uint32_t PackTable::Reserve() {
  std::lock_guard lock(mutex_);
  packs_.emplace_back();
  return static_cast<uint32_t>(packs_.size() - 1);
}

void PackTable::Name(uint32_t ordinal, const PackId& pack) {
  std::lock_guard lock(mutex_);
  SNAP_CHECK(ordinal < packs_.size() && packs_[ordinal] == PackId());
  packs_[ordinal] = pack;
  ordinals_.emplace(pack, ordinal);
}

Result<PackId> PackTable::PackAt(uint32_t ordinal) const {
  std::lock_guard lock(mutex_);
  if (ordinal >= packs_.size()) return Status::Corruption("reference outside the pack table");
  return packs_[ordinal];
}

size_t PackTable::size() const {
  std::lock_guard lock(mutex_);
  return packs_.size();
}

std::vector<PackId> PackTable::Copy() const {
  std::lock_guard lock(mutex_);
  return packs_;
}

}  // namespace snapstore
