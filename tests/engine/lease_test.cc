#include "engine/lease.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "base/clock.h"
#include "uploader/memory_store.h"

namespace snapstore {
namespace {

// A writer and a store whose clocks go as the test says.
class LeaseTest : public testing::Test {
 protected:
  LeaseTest() : store_(NewMemoryStore([this] { return store_now_.load(); })) {
    const LeaseOptions options{.life = std::chrono::seconds(1000),
                               .margin = std::chrono::seconds(100),
                               .clock = [this] { return own_now_.load(); }};
    auto lease = WriterLease::Take(store_.get(), Sealer::Plain(), options);
    EXPECT_TRUE(lease.ok());
    lease_ = std::move(*lease);
  }

  // Seconds that the writer and the store saw pass.
  void Pass(int64_t own, int64_t store) {
    own_now_ += own * kNanosPerSecond;
    store_now_ += store * kNanosPerSecond;
  }
  bool CoversAPutNow() {
    const ObjectKey key("snapshots/" + std::to_string(store_now_));
    EXPECT_TRUE(store_->PutIfAbsent(key, {}).ok());
    return lease_->Covered(key).value();
  }

  std::atomic<int64_t> own_now_ = 0;
  std::atomic<int64_t> store_now_ = int64_t{1'000'000} * kNanosPerSecond;
  const std::unique_ptr<ObjectStore> store_;
  std::unique_ptr<WriterLease> lease_;
};

TEST_F(LeaseTest, CoversWhatIsPutBeforeItEnds) {
  Pass(999, 999);
  EXPECT_TRUE(CoversAPutNow());
  Pass(0, 2);
  EXPECT_FALSE(CoversAPutNow());
  EXPECT_FALSE(lease_->Covered(ObjectKey("snapshots/never-put")).value());
}

TEST_F(LeaseTest, RenewalsCoverAsLongAsTheyFollowOneAnother) {
  for (int i = 0; i < 5; ++i) {
    Pass(950, 950);
    ASSERT_TRUE(lease_->Ensure().ok());
    EXPECT_TRUE(CoversAPutNow());
  }
}

TEST_F(LeaseTest, ARenewalDoesNotHideAGapThatOnlyTheStoreSaw) {
  Pass(950, 5000);
  ASSERT_TRUE(lease_->Ensure().ok()) << "by its own clock all is well";
  EXPECT_FALSE(CoversAPutNow());
  Pass(950, 950);
  ASSERT_TRUE(lease_->Ensure().ok());
  EXPECT_FALSE(CoversAPutNow());
}

TEST_F(LeaseTest, ALeaseThatAPruneTookAwayCoversNothing) {
  LeaseFolder folder = ListLeases(*store_).value();
  for (const ObjectKey& key : folder.writers.at(lease_->writer()).keys) {
    ASSERT_TRUE(store_->Delete(key).ok());
  }
  Pass(950, 950);
  ASSERT_TRUE(lease_->Ensure().ok());
  EXPECT_FALSE(CoversAPutNow());
}

}  // namespace
}  // namespace snapstore
