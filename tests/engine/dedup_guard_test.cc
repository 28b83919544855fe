#include "engine/dedup_guard.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>

#include "uploader/memory_store.h"

namespace snapstore {
namespace {

constexpr uint64_t kSeed = 17;

class DedupGuardTest : public testing::Test {
 protected:
  PackId AnyId() {
    PackId id;
    for (uint8_t& byte : id.bytes) byte = static_cast<uint8_t>(random_());
    return id;
  }
  void PutPacks(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const PackKind kind = i % 4 == 0 ? PackKind::kMeta : PackKind::kData;
      const PackId id = AnyId();
      ASSERT_TRUE(store_->PutIfAbsent(PackKey(kind, id), {}).ok());
      packs_[id] = kind;
    }
  }
  void ExpectFindsAll(DedupGuard* guard) {
    for (const auto& [id, kind] : packs_) {
      const PackKind other = kind == PackKind::kData ? PackKind::kMeta : PackKind::kData;
      EXPECT_TRUE(guard->MayReferTo(kind, id).value());
      EXPECT_TRUE(guard->MayReferTo(other, id).value());
    }
  }

  const std::unique_ptr<ObjectStore> store_ = NewMemoryStore();
  std::map<PackId, PackKind> packs_;
  std::mt19937_64 random_{kSeed};
};

TEST_F(DedupGuardTest, KnowsWhatIsThereAndWhatIsNot) {
  PutPacks(2000);
  DedupGuard guard(store_.get(), {});
  ExpectFindsAll(&guard);
  for (int i = 0; i < 200; ++i) EXPECT_FALSE(guard.MayReferTo(PackKind::kData, AnyId()).value());
}

TEST_F(DedupGuardTest, KnowsItInARepositoryOfMorePacksThanItHolds) {
  PutPacks(2000);
  for (const size_t held_max : {size_t{1}, size_t{100}, size_t{1500}}) {
    DedupGuard guard(store_.get(), {}, held_max);
    ExpectFindsAll(&guard);
    for (int i = 0; i < 200; ++i) EXPECT_FALSE(guard.MayReferTo(PackKind::kMeta, AnyId()).value());
  }
}

TEST_F(DedupGuardTest, CondemnedOnesDoNotCountAndOwnOnesDo) {
  PutPacks(10);
  const PackId condemned = packs_.begin()->first;
  DedupGuard guard(store_.get(), {condemned});
  EXPECT_FALSE(guard.MayReferTo(packs_.begin()->second, condemned).value());
  const PackId own = AnyId();
  EXPECT_FALSE(guard.MayReferTo(PackKind::kData, own).value());
  guard.OnStored(own);
  EXPECT_TRUE(guard.MayReferTo(PackKind::kData, own).value());
}

}  // namespace
}  // namespace snapstore
