#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/random.h"
#include "tests/engine/fixture.h"
#include "tests/engine/format_fixture.h"

namespace snapstore {
namespace {

constexpr uint64_t kBlock = 4096;

class Diff : public EngineFixture {
 protected:
  std::map<std::string, DiffEntry> Between(const std::string& before, const std::string& after) {
    std::map<std::string, DiffEntry> entries;
    std::string last;
    const auto summary = DiffSnapshots(
        repository(), before, after,
        [&](const DiffEntry& entry) {
          entries[entry.path] = entry;
          return Status();
        },
        nullptr);
    EXPECT_TRUE(summary.ok()) << summary.status().ToString();
    if (summary.ok()) summary_ = *summary;
    return entries;
  }
  std::string SnapshotImage(const Bytes& image, const std::string& parent = "auto") {
    SnapshotRequest request;
    request.images.push_back({.name = "image",
                              .size = image.size(),
                              .extents = {{0, image}},
                              .profile = Profile::kAligned});
    request.parent = parent;
    return Snapshot(request);
  }

  DiffSummary summary_;
};

TEST_F(Diff, SnapshotsOfTheSameTreeDoNotDiffer) {
  WriteSource("a", "one");
  WriteSource("b/c", std::string(100000, 'x'));
  const std::string first = Snapshot();
  const std::string second = Snapshot();
  const std::string unrelated = Snapshot("none");
  EXPECT_TRUE(Between(first, second).empty());
  EXPECT_TRUE(Between(first, unrelated).empty());
  EXPECT_TRUE(Between(first, first).empty());
  EXPECT_EQ(summary_.changed + summary_.added + summary_.removed + summary_.bytes_changed, 0u);
}

TEST_F(Diff, NamesEachKindOfChange) {
  WriteSource("content", "before");
  WriteSource("mode", "same");
  WriteSource("xattr", "same");
  WriteSource("removed", "gone");
  WriteSource("type", "a file");
  WriteSource("touched", "same");
  ASSERT_EQ(::symlink("content", source("link").c_str()), 0);
  const std::string before = Snapshot();
  WriteSource("content", "after and longer");
  WriteSource("added/new", "12345");
  std::filesystem::remove(source("removed"));
  std::filesystem::remove(source("type"));
  std::filesystem::create_directory(source("type"));
  std::filesystem::remove(source("link"));
  ASSERT_EQ(::symlink("mode", source("link").c_str()), 0);
  ASSERT_EQ(::chmod(source("mode").c_str(), 0700), 0);
  const bool have_xattrs = ::setxattr(source("xattr").c_str(), "user.k", "v", 1, 0) == 0;
  const auto touched = std::filesystem::last_write_time(source("touched"));
  std::filesystem::last_write_time(source("touched"), touched + std::chrono::seconds(5));
  const std::string after = Snapshot();

  const auto entries = Between(before, after);
  using Change = DiffEntry::Change;
  const std::map<std::string, Change> expected{
      {"content", Change::kContent}, {"mode", Change::kMetadata},    {"removed", Change::kRemoved},
      {"type", Change::kType},       {"touched", Change::kMetadata}, {"link", Change::kMetadata},
      {"added", Change::kAdded},     {"added/new", Change::kAdded}};
  for (const auto& [name, change] : expected) {
    ASSERT_TRUE(entries.contains(SourceEntry(name))) << name;
    EXPECT_EQ(entries.at(SourceEntry(name)).change, change) << name;
  }
  if (have_xattrs) {
    EXPECT_EQ(entries.at(SourceEntry("xattr")).change, Change::kMetadata);
  }
  const DiffEntry& content = entries.at(SourceEntry("content"));
  EXPECT_EQ(content.size_before, 6u);
  EXPECT_EQ(content.size_after, 16u);
  EXPECT_EQ(content.ranges, (std::vector<ByteRange>{{0, 16}}));
  EXPECT_EQ(summary_.added, 2u);
  EXPECT_EQ(summary_.removed, 1u);
  EXPECT_EQ(summary_.bytes_changed, 16u + 5u);
  // Nothing else is named: the folder that holds them only has another time.
  EXPECT_EQ(summary_.changed, entries.size() - 3);
  EXPECT_EQ(entries.size(), expected.size() + (have_xattrs ? 1 : 0));

  const auto back = Between(after, before);
  EXPECT_EQ(back.size(), entries.size());
  EXPECT_EQ(back.at(SourceEntry("removed")).change, Change::kAdded);
}

TEST_F(Diff, InodeAndTimeOfChangeAloneAreNoChange) {
  WriteSource("file", "same");
  const auto time = std::filesystem::last_write_time(source("file"));
  const auto folder_time = std::filesystem::last_write_time(source());
  const std::string before = Snapshot();
  std::filesystem::rename(source("file"), source("old"));
  WriteSource("file", "same");
  std::filesystem::remove(source("old"));
  std::filesystem::last_write_time(source("file"), time);
  std::filesystem::last_write_time(source(), folder_time);
  EXPECT_TRUE(Between(before, Snapshot()).empty());
}

TEST_F(Diff, EveryNameOfAChangedFileIsNamed) {
  WriteSource("a", "before");
  WriteSource("z", "same");
  ASSERT_EQ(::link(source("a").c_str(), source("b").c_str()), 0);
  ASSERT_EQ(::link(source("z").c_str(), source("y").c_str()), 0);
  const std::string first = Snapshot();
  WriteSource("a", "after!");
  const std::string second = Snapshot();
  auto entries = Between(first, second);
  EXPECT_EQ(entries.at(SourceEntry("a")).change, DiffEntry::Change::kContent);
  EXPECT_EQ(entries.at(SourceEntry("b")).change, DiffEntry::Change::kContent);
  EXPECT_EQ(entries.at(SourceEntry("b")).ranges, (std::vector<ByteRange>{{0, 6}}));
  EXPECT_EQ(summary_.bytes_changed, 6u);
  EXPECT_FALSE(entries.contains(SourceEntry("y")));
  // The content moves to the name that is left; it does not change.
  std::filesystem::remove(source("a"));
  entries = Between(second, Snapshot());
  EXPECT_EQ(entries.at(SourceEntry("a")).change, DiffEntry::Change::kRemoved);
  EXPECT_EQ(entries.at(SourceEntry("b")).change, DiffEntry::Change::kMetadata);
}

// Blocks of `after` that differ, merged.
std::vector<ByteRange> BruteForce(const Bytes& before, const Bytes& after) {
  std::vector<ByteRange> ranges;
  for (uint64_t at = 0; at < after.size(); at += kBlock) {
    const uint64_t end = std::min<uint64_t>(at + kBlock, after.size());
    const bool same =
        end <= before.size() && std::equal(after.begin() + static_cast<ptrdiff_t>(at),
                                           after.begin() + static_cast<ptrdiff_t>(end),
                                           before.begin() + static_cast<ptrdiff_t>(at));
    if (same) continue;
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == at) {
      ranges.back().length += end - at;
    } else {
      ranges.push_back({at, end - at});
    }
  }
  return ranges;
}

TEST_F(Diff, RangesOfImagesEqualABlockCompare) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  for (int round = 0; round < 12; ++round) {
    Bytes before(kBlock * (1 + random.Below(400)));
    for (uint64_t at = 0; at < before.size(); at += kBlock) {
      const uint64_t kind = random.Below(4);  // a hole, a repeated block, or one of its own
      if (kind == 1) std::fill_n(before.begin() + static_cast<ptrdiff_t>(at), kBlock, 7);
      if (kind > 1) StoreLe<uint64_t>(before.data() + at, random.Next());
    }
    Bytes after = before;
    for (uint64_t edits = random.Below(30); edits > 0; --edits) {
      const uint64_t at = random.Below(after.size() / kBlock) * kBlock;
      const uint64_t blocks = std::min(1 + random.Below(5), (after.size() - at) / kBlock);
      const auto begin = after.begin() + static_cast<ptrdiff_t>(at);
      const uint64_t kind = random.Below(3);
      if (kind == 0) std::fill_n(begin, blocks * kBlock, 0);
      if (kind == 1) std::fill_n(begin, blocks * kBlock, 7);
      if (kind == 2) StoreLe<uint64_t>(after.data() + at, random.Next());
    }
    const uint64_t resize = random.Below(3);
    if (resize == 1) after.resize(after.size() + kBlock * (1 + random.Below(9)), 9);
    if (resize == 2) after.resize(kBlock * (1 + random.Below(after.size() / kBlock)));
    const std::string first = SnapshotImage(before);
    const std::string second = SnapshotImage(after, random.Below(2) == 0 ? "auto" : "none");
    const auto entries = Between(first, second);
    const std::vector<ByteRange> expected = BruteForce(before, after);
    if (expected.empty() && before.size() == after.size()) {
      // An image's time is that of its snapshot.
      EXPECT_EQ(entries.at("image").change, DiffEntry::Change::kMetadata);
    } else {
      ASSERT_TRUE(entries.contains("image"));
      EXPECT_EQ(entries.at("image").change, DiffEntry::Change::kContent);
      ASSERT_EQ(entries.at("image").ranges, expected) << "round " << round;
    }
  }
}

TEST_F(Diff, RangesOfFilesCoverEveryDifferentByte) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  std::string text(1 << 20, '\0');
  for (char& c : text) c = static_cast<char>(random.Next());
  WriteSource("file", text);
  const std::string before = Snapshot();
  std::string edited = text;
  for (int i = 0; i < 5; ++i) edited[random.Below(edited.size())] ^= 1;
  edited.resize(edited.size() - random.Below(1000));
  WriteSource("file", edited);
  const DiffEntry entry = Between(before, Snapshot()).at(SourceEntry("file"));
  uint64_t covered = 0;
  uint64_t next = 0;
  for (const ByteRange& range : entry.ranges) {
    EXPECT_EQ(edited.compare(next, range.offset - next, text, next, range.offset - next), 0);
    EXPECT_GE(range.offset, next);
    next = range.offset + range.length;
    covered += range.length;
  }
  EXPECT_EQ(edited.compare(next, edited.size() - next, text, next, edited.size() - next), 0);
  EXPECT_LT(covered, edited.size() / 2);
  EXPECT_EQ(summary_.bytes_changed, covered);
}

TEST_F(Diff, ReadsMetadataOnlyAndOnlyWhatDiffers) {
  SplitMix64 random(11);
  Bytes image(120000 * kBlock / 4);
  for (uint64_t at = 0; at < image.size(); at += kBlock) {
    StoreLe<uint64_t>(image.data() + at, random.Next());
  }
  const std::string before = SnapshotImage(image);
  image[image.size() / 2] ^= 1;
  const std::string after = SnapshotImage(image);
  uint64_t metadata = 0;
  for (const auto& [key, bytes] : Objects()) {
    if (key.starts_with("data/")) Remove(key);
    if (key.starts_with("meta/")) metadata += bytes.size();
  }
  Reopen(nullptr);
  const auto entries = Between(before, after);
  ASSERT_TRUE(entries.contains("image"));
  EXPECT_EQ(entries.at("image").ranges,
            (std::vector<ByteRange>{{image.size() / 2 / kBlock * kBlock, kBlock}}));
  EXPECT_LT(repository().fetcher().bytes_fetched(), metadata);
}

TEST_F(Diff, UnknownSnapshotIsNotFound) {
  WriteSource("a", "b");
  const std::string id = Snapshot();
  const auto visit = [](const DiffEntry&) { return Status(); };
  EXPECT_TRUE(DiffSnapshots(repository(), id, std::string(64, '0'), visit, nullptr)
                  .status()
                  .Is(StatusCode::kNotFound));
  EXPECT_TRUE(DiffSnapshots(repository(), "xyz", id, visit, nullptr)
                  .status()
                  .Is(StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace snapstore
