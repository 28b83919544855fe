// Contents read by many threads at once, through the frames that are kept.
#include "engine/shared_content.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/random.h"
#include "engine/frame_cache.h"
#include "tests/engine/fixture.h"
#include "uploader/counting_store.h"

namespace snapstore {
namespace {

FramePtr FrameOf(size_t bytes) {
  auto frame = std::make_shared<DecodedFrame>();
  frame->data.resize(bytes);
  return frame;
}

FrameKey KeyOf(uint32_t offset) { return {PackId{}, offset}; }

TEST(FrameCacheTest, LoadsAFrameOnceHoweverManyWantIt) {
  FrameCache cache(1 << 20, nullptr);
  std::atomic<int> loads = 0;
  std::vector<std::thread> threads;
  threads.reserve(8);
  std::atomic<int> got = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const Result<FramePtr> frame = cache.Get(KeyOf(1), [&]() -> Result<FramePtr> {
        ++loads;
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        return FrameOf(100);
      });
      if (frame.ok() && (*frame)->data.size() == 100) ++got;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(loads, 1);
  EXPECT_EQ(got, 8);
}

TEST(FrameCacheTest, DropsWhatWasUsedLeastRecently) {
  FrameCache cache(250, nullptr);
  int loads = 0;
  const auto get = [&](uint32_t key) {
    return cache.Get(KeyOf(key), [&]() -> Result<FramePtr> {
      ++loads;
      return FrameOf(100);
    });
  };
  for (const uint32_t key : {1u, 2u, 1u, 3u, 1u}) ASSERT_TRUE(get(key).ok());
  EXPECT_EQ(loads, 3);
  ASSERT_TRUE(get(2).ok());
  EXPECT_EQ(loads, 4);
}

TEST(FrameCacheTest, SharesAFailureButNotACancellation) {
  FrameCache cache(1 << 20, nullptr);
  for (const bool cancelled : {false, true}) {
    const FrameKey key = KeyOf(cancelled ? 1 : 0);
    ASSERT_TRUE(cache.Claim(key));
    EXPECT_FALSE(cache.Claim(key));
    int loads = 0;
    Result<FramePtr> got = Status::Internal("not run");
    std::thread waiter([&] {
      got = cache.Get(key, [&]() -> Result<FramePtr> {
        ++loads;
        return FrameOf(1);
      });
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    cache.Finish(key, cancelled ? Status::Cancelled("stopped") : Status::Io("gone"));
    waiter.join();
    // The waiter may also have come after the failure; then it loads by itself.
    EXPECT_TRUE(got.ok() ? loads == 1 : got.status().Is(StatusCode::kIo) && !cancelled)
        << got.status().ToString();
  }
}

TEST(FrameCacheTest, StopsWaitingWhenCancelled) {
  FrameCache cache(1 << 20, [] { return true; });
  ASSERT_TRUE(cache.Claim(KeyOf(1)));
  const Result<FramePtr> frame =
      cache.Get(KeyOf(1), [&]() -> Result<FramePtr> { return FrameOf(1); });
  EXPECT_EQ(frame.status().code(), StatusCode::kCancelled);
  cache.Finish(KeyOf(1), FrameOf(1));
}

class SharedContentTest : public EngineFixture {
 protected:
  // Opens the file of that name in the newest snapshot, through a store that counts.
  void OpenFile(const std::string& id, const std::string& name) {
    auto counting =
        std::make_unique<CountingStore>(store_, std::vector<std::string>{std::string(kDataPrefix)});
    counts_ = counting.get();
    repository_ = OpenRepository(std::move(counting), "cold");
    Result<std::unique_ptr<SnapshotReader>> reader = SnapshotReader::Open(repository(), id);
    ASSERT_TRUE(reader.ok()) << reader.status().ToString();
    reader_ = std::move(*reader);
    uint64_t position = 0;
    ASSERT_TRUE(reader_
                    ->ForEachEntry("",
                                   [&](const Entry& entry) {
                                     if (entry.path == SourceEntry(name)) found_ = position;
                                     ++position;
                                     return Status();
                                   })
                    .ok());
    Result<std::unique_ptr<SharedContentReader>> file = reader_->OpenShared(found_);
    ASSERT_TRUE(file.ok()) << file.status().ToString();
    file_ = std::move(*file);
  }

  CountingStore* counts_ = nullptr;
  std::unique_ptr<SnapshotReader> reader_;
  std::unique_ptr<SharedContentReader> file_;
  uint64_t found_ = 0;
};

TEST_F(SharedContentTest, GivesManyThreadsTheBytesOfTheFile) {
  std::string content = RandomBytes(5 * kMiB, 1) + std::string(3 * kMiB, '\0') +
                        std::string(kMiB, '\7') + RandomBytes(6 * kMiB + 77, 2);
  WriteSource("file", content);
  OpenFile(Snapshot(), "file");
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      SplitMix64 random(seed);
      std::string got;
      for (int i = 0; i < 150; ++i) {
        const uint64_t offset = random.Below(content.size());
        got.resize(random.Below(std::min<uint64_t>(content.size() - offset, kMiB)) + 1);
        if (seed == 0 && !file_->Prefetch(offset, 3 * kMiB).ok()) ++wrong;
        const Status read =
            file_->ReadAt(offset, {reinterpret_cast<uint8_t*>(got.data()), got.size()});
        if (!read.ok() || got != content.substr(offset, got.size())) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  uint8_t byte = 0;
  EXPECT_EQ(file_->ReadAt(content.size(), {&byte, 1}).code(), StatusCode::kInvalidArgument);
  uint64_t begin = 0;
  uint64_t end = 0;
  ASSERT_TRUE(file_->NextData(6 * kMiB, &begin, &end).ok());
  EXPECT_GT(begin, 7 * kMiB);
  EXPECT_LE(begin, 8 * kMiB);
}

TEST_F(SharedContentTest, ReadsNothingTwiceThatWasReadAhead) {
  const std::string content = RandomBytes(6 * kMiB, 3);
  WriteSource("file", content);
  OpenFile(Snapshot(), "file");
  ASSERT_TRUE(file_->Prefetch(0, content.size() + kMiB).ok());
  const StoreCounts ahead = counts_->Counts(StoreOp::kGetRange, kDataPrefix);
  EXPECT_LE(ahead.requests, 3u);
  EXPECT_GE(ahead.bytes, content.size());
  Bytes piece(64 << 10);
  for (uint64_t offset = 0; offset < content.size(); offset += piece.size()) {
    ASSERT_TRUE(file_->ReadAt(offset, piece).ok());
  }
  EXPECT_EQ(counts_->Counts(StoreOp::kGetRange, kDataPrefix).requests, ahead.requests);
}

TEST_F(SharedContentTest, DamageIsAnErrorOfTheReadThatMeetsIt) {
  const std::string content = RandomBytes(6 * kMiB, 3);
  WriteSource("file", content);
  const std::string id = Snapshot();
  for (const std::string& key : KeysBelow("data/")) FlipByte(key, Objects()[key].size() / 2);
  OpenFile(id, "file");
  ASSERT_TRUE(file_->Prefetch(0, content.size()).ok());
  Bytes piece(64 << 10);
  int failed = 0;
  for (uint64_t offset = 0; offset < content.size(); offset += piece.size()) {
    const Status read = file_->ReadAt(offset, piece);
    if (read.ok()) {
      ASSERT_EQ(AsText(piece), content.substr(offset, piece.size()));
    } else {
      EXPECT_EQ(read.code(), StatusCode::kCorruption) << read.ToString();
      EXPECT_NE(read.message().find(SourceEntry("file")), std::string::npos);
      ++failed;
    }
  }
  EXPECT_GT(failed, 0);
  EXPECT_LT(failed, 24);
}

}  // namespace
}  // namespace snapstore
