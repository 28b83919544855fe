// Pages put into memory that is mapped bit by bit, here in this process.
#include "agent/lazy_space.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "agent/criu_image.h"

namespace snapstore::agent {
namespace {

constexpr uint64_t kSpacePages = 16;
constexpr int kSpacePid = 7;

class LazySpaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    UniqueFd fd(
        static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
    if (!fd.valid()) GTEST_SKIP() << "the kernel does not grant userfaultfd(2)";
    uffdio_api api{};
    api.api = UFFD_API;
    ASSERT_EQ(ioctl(fd.get(), UFFDIO_API, &api), 0);
    fd_ = fd.get();
    memory_ = mmap(nullptr, kSpacePages * kPageBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory_, MAP_FAILED);
    base_ = reinterpret_cast<uint64_t>(memory_);
    LazyRanges missing;
    missing.Add(base_, kSpacePages * kPageBytes, base_);
    space_ = std::make_unique<LazySpace>(kSpacePid, std::move(fd), std::move(missing));
  }
  void TearDown() override {
    space_.reset();
    if (memory_ != MAP_FAILED) munmap(memory_, kSpacePages * kPageBytes);
  }

  // As a restore maps it: from then on pages can be put there.
  void Map(uint64_t first, uint64_t pages) const {
    uffdio_register request{};
    request.range = {base_ + first * kPageBytes, pages * kPageBytes};
    request.mode = UFFDIO_REGISTER_MODE_MISSING;
    ASSERT_EQ(ioctl(fd_, UFFDIO_REGISTER, &request), 0);
  }
  Status Place(LazySpace::IfUnmapped if_unmapped, ByteSpan bytes) const {
    return space_->Place({base_, kSpacePages * kPageBytes, base_}, bytes, if_unmapped);
  }
  uint8_t At(uint64_t page) const { return static_cast<uint8_t*>(memory_)[page * kPageBytes]; }

  const Bytes bytes_ = Bytes(kSpacePages * kPageBytes, 5);
  int fd_ = -1;
  void* memory_ = MAP_FAILED;
  uint64_t base_ = 0;
  std::unique_ptr<LazySpace> space_;
};

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
