// Ids are no cryptographic hash: whoever knows the secret can make two contents with one id. These
// tests do, and see what becomes of them.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/bytes.h"
#include "engine/content_writer.h"
#include "tests/engine/fixture.h"
#include "uploader/counting_store.h"

namespace snapstore {
namespace {

// Two contents with one id, by XXH3's structure (xxhash.h, XXH3_accumulate_512): in each stripe of
// 64 bytes a lane adds the input word to its neighbour, and to itself the product of both halves of
// (word xor secret). With lower halves that are the secret's, two words of one lane contribute
// nothing but themselves, so what one gains in its upper half the other may lose.
struct Collision {
  std::string one;
  std::string other;
};

Collision Collide(const HashSecret& secret, size_t size, uint64_t seed) {
  constexpr size_t kStripe = 64;
  constexpr size_t kSecretStep = 8;
  Collision out;
  out.one = RandomBytes(size, seed);
  auto* const bytes = reinterpret_cast<uint8_t*>(out.one.data());
  for (size_t stripe = 0; stripe < 2; ++stripe) {
    std::copy_n(secret.bytes.data() + stripe * kSecretStep, 4, bytes + stripe * kStripe);
    StoreLe<uint32_t>(bytes + stripe * kStripe + 4, 1000);
  }
  out.other = out.one;
  auto* const changed = reinterpret_cast<uint8_t*>(out.other.data());
  StoreLe<uint32_t>(changed + 4, 1001);
  StoreLe<uint32_t>(changed + kStripe + 4, 999);
  return out;
}

class ParanoidTest : public EngineFixture {
 protected:
  Result<SnapshotSummary> Take(bool paranoid, bool reread = false) {
    SnapshotRequest request;
    request.paths = {source()};
    request.paranoid = paranoid;
    request.reread = reread;
    observer_ = RecordingObserver();
    return TakeSnapshot(repository(), request, &observer_);
  }
  // That `name` alone was refused, for its content.
  void ExpectRefused(const Result<SnapshotSummary>& taken, const std::string& name) {
    ASSERT_TRUE(taken.ok()) << taken.status().ToString();
    EXPECT_EQ(taken->info.unreadable, 1u);
    ASSERT_EQ(observer_.warnings.size(), 1u);
    EXPECT_EQ(observer_.warnings[0].item, source(name));
    EXPECT_TRUE(observer_.warnings[0].status.Is(StatusCode::kConflict))
        << observer_.warnings[0].status.ToString();
  }
  RecordingObserver observer_;
};

TEST_F(ParanoidTest, CollisionIsOneAndGoesUnnoticedOtherwise) {
  const HashSecret& secret = repository().config().hash_secret;
  const Collision pair = Collide(secret, 3000, 1);
  ASSERT_NE(pair.one, pair.other);
  ASSERT_EQ(ComputeChunkId(secret, AsBytes(pair.one)), ComputeChunkId(secret, AsBytes(pair.other)));
  WriteSource("a", pair.one);
  WriteSource("b", pair.other);
  const auto taken = Take(/*paranoid=*/false);
  ASSERT_TRUE(taken.ok());
  RestoreAll(taken->info.id);
  EXPECT_EQ(ReadFileAt(Restored(source("b"))), pair.one) << "why --paranoid exists";
}

TEST_F(ParanoidTest, CollisionWithinOneSnapshotIsRefused) {
  const Collision pair = Collide(repository().config().hash_secret, 3000, 1);
  WriteSource("a", pair.one);
  WriteSource("b", pair.other);
  WriteSource("c", pair.one);
  const auto taken = Take(/*paranoid=*/true);
  ExpectRefused(taken, "b");
  RestoreAll(taken->info.id);
  EXPECT_EQ(ReadFileAt(Restored(source("a"))), pair.one);
  EXPECT_EQ(ReadFileAt(Restored(source("c"))), pair.one);
  EXPECT_FALSE(std::filesystem::exists(Restored(source("b"))));
}

TEST_F(ParanoidTest, CollisionWithWhatIsStoredIsRefused) {
  const Collision pair = Collide(repository().config().hash_secret, 3000, 1);
  WriteSource("a", pair.one);
  ASSERT_TRUE(Take(/*paranoid=*/true).ok());
  WriteSource("b", pair.other);
  ExpectRefused(Take(/*paranoid=*/true), "b");
}

TEST_F(ParanoidTest, CollisionWithTheParentAtTheSamePlaceIsRefused) {
  const Collision pair = Collide(repository().config().hash_secret, 3000, 1);
  WriteSource("a", pair.one);
  WriteSource("z", "so that something can be read");
  ASSERT_TRUE(Take(/*paranoid=*/true).ok());
  WriteSource("a", pair.other);
  ExpectRefused(Take(/*paranoid=*/true), "a");
}

TEST_F(ParanoidTest, CollisionInsideALargeFileRefusesItAsAWhole) {
  // Process memory is cut into blocks, so the other one's place is known.
  const Collision pair = Collide(repository().config().hash_secret, kBlockBytes, 1);
  std::string image = RandomBytes(300 * kBlockBytes, 9);
  image.replace(170 * kBlockBytes, kBlockBytes, pair.other);
  const std::string last = RandomBytes(kBlockBytes, 10);
  SnapshotRequest request;
  request.paranoid = true;
  request.images.push_back({"a", kBlockBytes, {{0, AsBytes(pair.one)}}});
  request.images.push_back({"b", image.size(), {{0, AsBytes(image)}}});
  request.images.push_back({"c", kBlockBytes, {{0, AsBytes(last)}}});
  const auto taken = TakeSnapshot(repository(), request, &observer_);
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_EQ(taken->info.unreadable, 1u);
  ASSERT_EQ(observer_.warnings.size(), 1u);
  EXPECT_EQ(observer_.warnings[0].item, "/b");
  RestoreAll(taken->info.id);
  EXPECT_EQ(ReadFileAt(target("a")), pair.one);
  EXPECT_EQ(ReadFileAt(target("c")), last);
}

TEST_F(ParanoidTest, EqualBytesAreFoundEqualAndStoredOnce) {
  for (int i = 0; i < 20; ++i) WriteSource("f" + std::to_string(i), RandomBytes(200'000, i % 4));
  const auto first = Take(/*paranoid=*/true);
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_EQ(first->info.unreadable, 0u);
  EXPECT_EQ(first->info.bytes_new, 4 * 200'000u);
  auto counting = std::make_unique<CountingStore>(store_, std::vector<std::string>{"data/"});
  CountingStore* const counts = counting.get();
  Reopen(std::move(counting));
  const auto again = Take(/*paranoid=*/true, /*reread=*/true);
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(again->info.chunks_new, 0u);
  // Compared indeed.
  EXPECT_GE(counts->Counts(StoreOp::kGetRange, "data/").bytes, 800'000u);
  RestoreAll(again->info.id);
  EXPECT_EQ(ScanTree(Restored(source())), ScanTree(source()));
}

TEST_F(ParanoidTest, ChunkThatCannotBeReadIsStoredAgain) {
  WriteSource("a", RandomBytes(3000, 1));
  ASSERT_TRUE(Take(/*paranoid=*/false).ok());
  Remove(KeysBelow("data/").at(0));
  const auto taken = Take(/*paranoid=*/true, /*reread=*/true);
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_EQ(taken->info.unreadable, 0u);
  EXPECT_EQ(taken->info.chunks_new, 1u);
  RestoreAll(taken->info.id);
}

}  // namespace
}  // namespace snapstore
