// What a bit that flips on its way does: nothing, when it is right the second time.
#include "engine/reread.h"

#include <gtest/gtest.h>

#include <array>

#include "base/sha256.h"
#include "engine/format.h"
#include "uploader/fault_store.h"
#include "uploader/memory_store.h"

namespace snapstore {
namespace {

class RereadTest : public testing::Test {
 protected:
  RereadTest() : bytes_(1000, 7), key_(ManifestKey(Sha256::Of(bytes_))) {
    const std::array<ByteSpan, 1> parts = {bytes_};
    EXPECT_TRUE(store_.PutIfAbsent(key_, parts).ok());
  }

  // One bit of each of the next reads is wrong.
  void Spoil(uint64_t reads) {
    for (uint64_t at = 1; at <= reads; ++at) {
      store_.Add({.kind = FaultKind::kFlipBit, .op = StoreOp::kGet, .at = at});
    }
  }
  // Operations since the object was put.
  uint64_t Reads() const { return store_.operations() - 1; }

  FaultStore store_{NewMemoryStore(), 1};
  const Bytes bytes_;
  const ObjectKey key_;
};

TEST_F(RereadTest, ReadsOnceWhatFitsItsName) {
  EXPECT_EQ(*GetNamed(store_, key_, 1000), bytes_);
  EXPECT_EQ(Reads(), 1);
}

TEST_F(RereadTest, ReadsAgainWhatDoesNotFitItsName) {
  Spoil(1);
  EXPECT_EQ(*GetNamed(store_, key_, 1000), bytes_);
  EXPECT_EQ(Reads(), 2);
}

TEST_F(RereadTest, LeavesWhatIsWrongTwiceToTheCaller) {
  Spoil(2);
  const Result<Bytes> got = GetNamed(store_, key_, 1000);
  ASSERT_TRUE(got.ok());
  EXPECT_NE(*got, bytes_);
  EXPECT_EQ(Reads(), 2);
}

TEST_F(RereadTest, RepeatsOnlyWhatIsDamaged) {
  int calls = 0;
  const auto failing = [&](Status status) {
    return ReadAgainIfDamaged(
        [&]() -> Result<int> { return ++calls == 1 ? Result<int>(status) : Result<int>(calls); });
  };
  EXPECT_EQ(*failing(Status::Corruption("checksum")), 2);
  calls = 0;
  EXPECT_TRUE(failing(Status::NotFound("gone")).status().Is(StatusCode::kNotFound));
}

}  // namespace
}  // namespace snapstore
