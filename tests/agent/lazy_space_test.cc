// Pages put into memory of this process: mapped bit by bit, or dropped meanwhile.
#include "agent/lazy_space.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "agent/criu_image.h"
#include "base/random.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kSpacePages = 16;
constexpr uint64_t kManyPages = 16384;
constexpr uint64_t kPagesAtOnce = 4;
constexpr int kSpacePid = 7;

class LazySpaceTest : public ::testing::Test {
 protected:
  explicit LazySpaceTest(uint64_t pages = kSpacePages, uint64_t features = 0)
      : pages_(pages), features_(features) {}
  void SetUp() override {
    UniqueFd fd(
        static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
    if (!fd.valid()) GTEST_SKIP() << "the kernel does not grant userfaultfd(2)";
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = features_;
    ASSERT_EQ(ioctl(fd.get(), UFFDIO_API, &api), 0);
    fd_ = fd.get();
    memory_ = mmap(nullptr, pages_ * kPageBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory_, MAP_FAILED);
    base_ = reinterpret_cast<uint64_t>(memory_);
    LazyRanges missing;
    missing.Add(base_, pages_ * kPageBytes, base_);
    space_ = std::make_unique<LazySpace>(kSpacePid, std::move(fd), std::move(missing));
  }
  void TearDown() override {
    space_.reset();
    if (memory_ != MAP_FAILED) munmap(memory_, pages_ * kPageBytes);
  }

  // As a restore maps it: from then on pages can be put there.
  void Map(uint64_t first, uint64_t pages) const {
    uffdio_register request{};
    request.range = {base_ + first * kPageBytes, pages * kPageBytes};
    request.mode = UFFDIO_REGISTER_MODE_MISSING;
    ASSERT_EQ(ioctl(fd_, UFFDIO_REGISTER, &request), 0);
  }
  Status Place(LazySpace::IfUnmapped if_unmapped, ByteSpan bytes) const {
    return space_->Place({base_, pages_ * kPageBytes, base_}, bytes, if_unmapped);
  }
  uint8_t At(uint64_t page) const { return static_cast<uint8_t*>(memory_)[page * kPageBytes]; }

  const uint64_t pages_;
  const uint64_t features_;
  const Bytes bytes_ = Bytes(pages_ * kPageBytes, 5);
  int fd_ = -1;
  void* memory_ = MAP_FAILED;
  uint64_t base_ = 0;
  std::unique_ptr<LazySpace> space_;
};

class LazySpaceDropTest : public LazySpaceTest {
 protected:
  LazySpaceDropTest() : LazySpaceTest(kManyPages, UFFD_FEATURE_EVENT_REMOVE) {}

  // What LazyRestore does about what the process does.
  void Watch(const std::atomic<bool>& done) const {
    pollfd news{fd_, POLLIN, 0};
    while (!done) {
      if (poll(&news, 1, /*timeout=*/10) <= 0) continue;
      const auto read = space_->ReadNews();
      ASSERT_TRUE(read.ok()) << read.status().ToString();
      for (const uint64_t address : read->touched) {
        const auto piece = space_->MissingAround(address, kPageBytes);
        const Status status = piece ? space_->Place(*piece, ByteSpan(bytes_).first(piece->bytes),
                                                    LazySpace::IfUnmapped::kLeave)
                                    : space_->PlaceZeros(address);
        ASSERT_TRUE(status.ok()) << status.ToString();
      }
    }
  }
  void FillIn() {
    while (const auto piece = space_->NextToFill(kPagesAtOnce * kPageBytes)) {
      at_ = (piece->address - base_) / kPageBytes;
      const Status status =
          space_->Place(*piece, ByteSpan(bytes_).first(piece->bytes), LazySpace::IfUnmapped::kWait);
      space_->Filled();
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
    --filling_;
  }

  std::atomic<uint64_t> at_ = 0;  // page
  std::atomic<int> filling_ = 8;
};

TEST_F(LazySpaceDropTest, WhatIsDroppedWhileSeveralFillInDoesNotComeBack) {
  Map(0, kManyPages);
  std::atomic<bool> done = false;
  std::thread watcher([&] { Watch(done); });
  std::vector<std::thread> threads;
  for (int i = filling_; i > 0; --i) threads.emplace_back([&] { FillIn(); });
  std::vector<bool> dropped(kManyPages);
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  SplitMix64 random(seed);
  while (filling_ > 0) {
    const uint64_t page = std::min(at_ + random.Below(2 * kPagesAtOnce), kManyPages - 1);
    dropped[page] = true;
    void* const at = static_cast<uint8_t*>(memory_) + page * kPageBytes;
    EXPECT_EQ(madvise(at, kPageBytes, MADV_DONTNEED), 0);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(space_->missing_bytes(), 0u);
  uint64_t wrong = 0;
  for (uint64_t page = 0; page < kManyPages; ++page) wrong += At(page) != (dropped[page] ? 0 : 5);
  EXPECT_EQ(wrong, 0u);
  done = true;
  watcher.join();
}

TEST_F(LazySpaceTest, ATouchedPageDoesNotWaitForNeighboursThatAreNotMapped) {
  Map(8, 4);
  ASSERT_TRUE(Place(LazySpace::IfUnmapped::kLeave, bytes_).ok());
  EXPECT_EQ(space_->missing_bytes(), 12 * kPageBytes);
  for (uint64_t page = 8; page < 12; ++page) EXPECT_EQ(At(page), 5);
}

TEST_F(LazySpaceTest, WhoeverFillsInWaitsForTheMapping) {
  Map(4, 2);
  std::atomic<bool> done = false;
  std::thread filler([&] {
    EXPECT_TRUE(Place(LazySpace::IfUnmapped::kWait, bytes_).ok());
    done = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(done);
  Map(0, 4);
  Map(6, 10);
  filler.join();
  EXPECT_EQ(space_->missing_bytes(), 0u);
  for (uint64_t page = 0; page < kSpacePages; ++page) EXPECT_EQ(At(page), 5);
}

TEST_F(LazySpaceTest, WhatIsNotMappedWhenAllIsIsAnError) {
  Map(0, 15);
  space_->Settle();
  EXPECT_EQ(Place(LazySpace::IfUnmapped::kWait, bytes_).error_number(), ENOENT);
  EXPECT_EQ(space_->missing_bytes(), kPageBytes);
}

TEST_F(LazySpaceTest, ZerosNeedNoBytes) {
  Map(0, kSpacePages);
  ASSERT_TRUE(Place(LazySpace::IfUnmapped::kWait, {}).ok());
  EXPECT_EQ(space_->missing_bytes(), 0u);
  for (uint64_t page = 0; page < kSpacePages; ++page) EXPECT_EQ(At(page), 0);
}

TEST_F(LazySpaceTest, PartsOfPagesAreRefused) {
  Map(0, kSpacePages);
  const Status status =
      space_->Place({base_ + 100, kPageBytes, base_ + 100}, bytes_, LazySpace::IfUnmapped::kWait);
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
}

}  // namespace
}  // namespace snapstore::agent
