#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "base/random.h"
#include "snapstore/inspect.h"
#include "snapstore/reader.h"
#include "tests/engine/fixture.h"

namespace snapstore {
namespace {

constexpr uint32_t kUnit = 64 << 10;

// A volume in memory, of which some units are named.
class MemoryVolume : public VolumeReader {
 public:
  MemoryVolume(std::string bytes, std::vector<uint64_t> units)
      : bytes_(std::move(bytes)), units_(std::move(units)) {}

  Status NextPart(uint64_t offset, uint64_t* begin, uint64_t* end) override {
    *begin = *end = bytes_.size();
    if (lie_.has_value()) {
      *begin = lie_->offset;
      *end = lie_->offset + lie_->length;
      return {};
    }
    const auto found = std::lower_bound(units_.begin(), units_.end(), offset / kUnit);
    if (found == units_.end()) return {};
    *begin = *found * kUnit;
    *end = std::min<uint64_t>(bytes_.size(), *begin + kUnit);
    return {};
  }

  Status ReadAt(uint64_t offset, std::span<uint8_t> out) override {
    const int now = ++at_once_;
    int before = at_once_most_;
    while (now > before && !at_once_most_.compare_exchange_weak(before, now)) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --at_once_;
    if (fail_at_.has_value() && offset == *fail_at_) return Status::Io("unit is gone");
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(asked_.insert(offset).second) << offset;
    EXPECT_EQ(offset / kUnit, (offset + out.size() - 1) / kUnit);
    EXPECT_TRUE(std::binary_search(units_.begin(), units_.end(), offset / kUnit)) << offset;
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }

  std::optional<ByteRange> lie_;
  std::optional<uint64_t> fail_at_;
  std::atomic<int> at_once_ = 0;
  std::atomic<int> at_once_most_ = 0;
  std::set<uint64_t> asked_;

 private:
  std::mutex mutex_;
  const std::string bytes_;
  const std::vector<uint64_t> units_;
};

// One that names only what is behind `known`.
class GrownVolume : public VolumeReader {
 public:
  GrownVolume(std::string bytes, uint64_t known) : bytes_(std::move(bytes)), known_(known) {}
  Status NextPart(uint64_t offset, uint64_t* begin, uint64_t* end) override {
    *begin = std::min<uint64_t>(std::max(offset, known_), bytes_.size());
    *end = bytes_.size();
    return {};
  }
  Status ReadAt(uint64_t offset, std::span<uint8_t> out) override {
    EXPECT_GE(offset, known_);
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }

 private:
  const std::string bytes_;
  const uint64_t known_;
};

class VolumeSourceTest : public EngineFixture {
 protected:
  static SnapshotRequest RequestOf(VolumeReader* volume, uint64_t size, const std::string& parent) {
    SnapshotRequest request;
    request.parent = parent;
    request.volumes.push_back({.name = "volumes/vol-1",
                               .size = size,
                               .reader = volume,
                               .rest_unchanged = parent != "none",
                               .read_bytes = kUnit});
    return request;
  }

  std::string Content(const std::string& id) {
    const auto reader = SnapshotReader::Open(repository(), id);
    EXPECT_TRUE(reader.ok()) << reader.status().ToString();
    const auto content = (*reader)->OpenContent("volumes/vol-1");
    EXPECT_TRUE(content.ok()) << content.status().ToString();
    std::string out((*content)->size(), '\0');
    const Status read = (*content)->ReadAt(0, {reinterpret_cast<uint8_t*>(out.data()), out.size()});
    EXPECT_TRUE(read.ok()) << read.ToString();
    return out;
  }

  static std::vector<uint64_t> UnitsWithData(const std::string& bytes) {
    std::vector<uint64_t> units;
    for (uint64_t at = 0; at < bytes.size(); at += kUnit) {
      if (bytes.find_first_not_of('\0', at) < at + kUnit) units.push_back(at / kUnit);
    }
    return units;
  }
};

TEST_F(VolumeSourceTest, NamedPartsAreReadAndTheRestIsHoles) {
  std::string bytes(16 * kMiB + 4096, '\0');
  for (const size_t at : {0, 3, 4, 77, 100, 255, 256}) {
    const size_t length = std::min<size_t>(kUnit, bytes.size() - at * kUnit);
    bytes.replace(at * kUnit, length, RandomBytes(length, at));
  }
  MemoryVolume volume(bytes, UnitsWithData(bytes));
  const auto taken = TakeSnapshot(repository(), RequestOf(&volume, bytes.size(), "none"), nullptr);
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_TRUE(Content(taken->info.id) == bytes);
  EXPECT_EQ(taken->info.bytes_read, 6 * kUnit + 4096u);
  EXPECT_EQ(taken->info.bytes_total, bytes.size());
  EXPECT_EQ(taken->info.paths, std::vector<std::string>{"volumes/vol-1"});
  EXPECT_EQ(Describe(Check({.read_data = true})), "");

  // Cut as the same bytes in a file are.
  WriteSource("volume.img", bytes);
  SnapshotRequest file;
  file.paths = {source("volume.img")};
  file.profile = Profile::kAligned;
  file.parent = "none";
  const auto same = TakeSnapshot(repository(), file, nullptr);
  ASSERT_TRUE(same.ok());
  EXPECT_EQ(same->info.chunks_new, 0u);
  EXPECT_EQ(same->info.chunks_total, taken->info.chunks_total);
}

TEST_F(VolumeSourceTest, ManyReadsAreUnderWayAtOnce) {
  const std::string bytes = RandomBytes(8 * kMiB, 1);
  MemoryVolume volume(bytes, UnitsWithData(bytes));
  SnapshotRequest request = RequestOf(&volume, bytes.size(), "none");
  request.volumes[0].reads = 5;
  ASSERT_TRUE(TakeSnapshot(repository(), request, nullptr).ok());
  EXPECT_GT(volume.at_once_most_, 1);
  EXPECT_LE(volume.at_once_most_, 5);
}

// Parts end inside the parent's chunks, lie next to each other, in holes, and become holes.
TEST_F(VolumeSourceTest, TheRestIsTakenOverFromTheParent) {
  std::string bytes = RandomBytes(12 * kMiB, 2);
  bytes.replace(5 * kMiB, 2 * kMiB, std::string(2 * kMiB, '\0'));
  bytes.replace(kMiB + 4096, 8192, std::string(8192, '\0'));
  MemoryVolume whole(bytes, UnitsWithData(bytes));
  auto taken = TakeSnapshot(repository(), RequestOf(&whole, bytes.size(), "none"), nullptr);
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  const std::string first = taken->info.id;
  SplitMix64 random(3);
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(round);
    std::set<uint64_t> units;
    for (uint64_t i = random.Below(20); i > 0; --i)
      units.insert(random.Below(bytes.size() / kUnit));
    for (const uint64_t unit : units) {
      const bool zeros = random.Below(4) == 0;
      const uint64_t from = random.Below(kUnit / 2);
      const uint64_t length = zeros ? kUnit - from : random.Below(kUnit - from);
      bytes.replace(unit * kUnit + from, length,
                    zeros ? std::string(length, '\0') : RandomBytes(length, random.Next()));
    }
    MemoryVolume changed(bytes, {units.begin(), units.end()});
    taken = TakeSnapshot(repository(), RequestOf(&changed, bytes.size(), taken->info.id), nullptr);
    ASSERT_TRUE(taken.ok()) << taken.status().ToString();
    EXPECT_EQ(taken->info.bytes_read, units.size() * kUnit);
    EXPECT_TRUE(Content(taken->info.id) == bytes);
  }
  EXPECT_EQ(Describe(Check({.read_data = true})), "");
  const auto ignore = [](const DiffEntry&) { return Status(); };
  EXPECT_TRUE(DiffSnapshots(repository(), first, taken->info.id, ignore, nullptr).ok());
}

TEST_F(VolumeSourceTest, NothingChangedReadsNothing) {
  const std::string bytes = RandomBytes(kMiB, 4);
  MemoryVolume whole(bytes, UnitsWithData(bytes));
  const auto first = TakeSnapshot(repository(), RequestOf(&whole, bytes.size(), "none"), nullptr);
  ASSERT_TRUE(first.ok());
  MemoryVolume none(bytes, {});
  const auto second =
      TakeSnapshot(repository(), RequestOf(&none, bytes.size(), first->info.id), nullptr);
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  EXPECT_EQ(second->info.bytes_read, 0u);
  EXPECT_TRUE(Content(second->info.id) == bytes);
}

TEST_F(VolumeSourceTest, AVolumeWithoutDataIsOneHole) {
  MemoryVolume volume(std::string(kMiB, '\0'), {});
  const auto taken = TakeSnapshot(repository(), RequestOf(&volume, kMiB, "none"), nullptr);
  ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  EXPECT_TRUE(Content(taken->info.id) == std::string(kMiB, '\0'));
  EXPECT_EQ(taken->info.chunks_total, 0u);
}

TEST_F(VolumeSourceTest, AReaderThatFailsLeavesNoSnapshot) {
  const std::string bytes = RandomBytes(20 * kMiB, 5);
  for (const uint64_t unit : {0, 5, 319}) {
    MemoryVolume volume(bytes, UnitsWithData(bytes));
    volume.fail_at_ = unit * kUnit;
    const auto taken =
        TakeSnapshot(repository(), RequestOf(&volume, bytes.size(), "none"), nullptr);
    EXPECT_TRUE(taken.status().Is(StatusCode::kIo));
    EXPECT_NE(taken.status().message().find("volumes/vol-1: unit is gone"), std::string::npos)
        << taken.status().message();
  }
  EXPECT_TRUE(KeysBelow("snapshots/").empty());
}

TEST_F(VolumeSourceTest, PartsThatCannotBeAreRefused) {
  const std::string bytes = RandomBytes(kMiB, 6);
  for (const ByteRange& lie : {ByteRange{kMiB - kUnit, uint64_t{2} * kUnit}, ByteRange{0, 0}}) {
    MemoryVolume volume(bytes, {});
    volume.lie_ = lie;
    EXPECT_TRUE(TakeSnapshot(repository(), RequestOf(&volume, bytes.size(), "none"), nullptr)
                    .status()
                    .Is(StatusCode::kInvalidArgument));
  }
  MemoryVolume volume(bytes, {0});
  SnapshotRequest request = RequestOf(&volume, bytes.size(), "none");
  request.volumes[0].rest_unchanged = true;
  EXPECT_TRUE(
      TakeSnapshot(repository(), request, nullptr).status().Is(StatusCode::kInvalidArgument));
  request = RequestOf(&volume, bytes.size(), "none");
  request.volumes[0].read_bytes = 2 * kMiB;
  EXPECT_TRUE(
      TakeSnapshot(repository(), request, nullptr).status().Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(KeysBelow("snapshots/").empty());
  const auto whole = TakeSnapshot(repository(), RequestOf(&volume, bytes.size(), "none"), nullptr);
  ASSERT_TRUE(whole.ok());
  EXPECT_TRUE(
      TakeSnapshot(repository(), RequestOf(&volume, 2 * bytes.size(), whole->info.id), nullptr)
          .status()
          .Is(StatusCode::kInvalidArgument));
}

TEST_F(VolumeSourceTest, OfAGrownVolumeOnlyWhatIsNewIsRead) {
  for (const bool single_blocks : {false, true}) {
    std::string bytes;
    std::string parent = "none";
    for (const uint64_t more : {5ul, 4091ul, 3 * kMiB + 1000, 1ul, 300'000ul, 0ul, 9000ul}) {
      const uint64_t known = bytes.size();
      bytes += RandomBytes(more, more);
      GrownVolume volume(bytes, known);
      SnapshotRequest request = RequestOf(&volume, bytes.size(), parent);
      request.volumes[0].single_blocks = single_blocks;
      const auto taken = TakeSnapshot(repository(), request, nullptr);
      ASSERT_TRUE(taken.ok()) << taken.status().ToString();
      EXPECT_EQ(taken->info.bytes_read, more);
      EXPECT_LE(taken->info.bytes_new, more + (64 << 10)) << "and the chunk it was cut in";
      EXPECT_TRUE(Content(taken->info.id) == bytes) << bytes.size();
      parent = taken->info.id;
    }
    // What lies between the parent's end and the first part is nowhere.
    GrownVolume gap(bytes + RandomBytes(9000, 1), bytes.size() + 10);
    EXPECT_TRUE(TakeSnapshot(repository(), RequestOf(&gap, bytes.size() + 9000, parent), nullptr)
                    .status()
                    .Is(StatusCode::kInvalidArgument));
    GrownVolume shrunk(bytes.substr(1), 0);
    EXPECT_TRUE(TakeSnapshot(repository(), RequestOf(&shrunk, bytes.size() - 1, parent), nullptr)
                    .status()
                    .Is(StatusCode::kInvalidArgument));
  }
  EXPECT_EQ(Describe(Check({.read_data = true})), "");
}

}  // namespace
}  // namespace snapstore
