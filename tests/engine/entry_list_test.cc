#include "engine/entry_list.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/engine/format_fixture.h"

namespace snapstore {
namespace {

struct PathLess {
  bool operator()(const std::string& a, const std::string& b) const {
    return ComparePaths(a, b) < 0;
  }
};
using Paths = std::set<std::string, PathLess>;

Paths RandomPaths(SplitMix64* random, size_t count) {
  Paths paths;
  while (paths.size() < count) {
    std::string path;
    for (uint64_t depth = 1 + random->Below(4); depth > 0; --depth) {
      if (!path.empty()) path += '/';
      for (uint64_t n = 1 + random->Below(8); n > 0; --n) {
        path += static_cast<char>(1 + random->Below(255));
      }
      if (path.back() == '/' || path.back() == '.') path.back() = 'x';
    }
    bool valid = path.front() != '/' && path.find("//") == std::string::npos;
    for (const char* bad : {"./", "../"}) {
      valid = valid && !path.starts_with(bad) && path.find("/" + std::string(bad)) == path.npos;
    }
    if (valid) paths.insert(path);
  }
  return paths;
}

format::Entry MakeEntry(const std::string& path, SplitMix64* random) {
  Entry entry;
  entry.path = path;
  entry.type = static_cast<EntryType>(1 + random->Below(7));
  entry.mode = static_cast<uint32_t>(random->Below(010000));
  entry.mtime_ns = static_cast<int64_t>(random->Next());
  entry.inode = random->Next();
  if (random->Below(3) == 0) entry.xattrs["user.\xff"] = std::string(1, '\0');
  if (entry.type == EntryType::kSymlink) entry.symlink_target = "../\xfe";
  format::Entry proto;
  EntryToProto(entry, &proto);
  return proto;
}

std::vector<format::Entry> MakeEntries(SplitMix64* random, size_t count) {
  std::vector<format::Entry> entries;
  for (const std::string& path : RandomPaths(random, count)) {
    entries.push_back(MakeEntry(path, random));
  }
  return entries;
}

format::StreamRoot Write(Bench* bench, const std::vector<format::Entry>& entries) {
  EntryListWriter writer(&bench->writer(), &bench->secret());
  for (const format::Entry& entry : entries) {
    const Status status = writer.Add(entry, nullptr);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  format::StreamRoot root;
  EXPECT_TRUE(writer.Finish(&root).ok());
  bench->Flush();
  return root;
}

TEST(EntryList, DirectoryIsFollowedByAllBelowIt) {
  EXPECT_LT(ComparePaths("a", "a/b"), 0);
  EXPECT_LT(ComparePaths("a/b", "a-b"), 0);    // though '-' < '/'
  EXPECT_LT(ComparePaths("a/z/z", "a b"), 0);  // though ' ' < '/'
  EXPECT_LT(ComparePaths("a", "\xff"), 0);
  EXPECT_LT(ComparePaths("a\x7f", "a\x80"), 0);
  EXPECT_EQ(ComparePaths("a/b", "a/b"), 0);
  EXPECT_TRUE(PathIsWithin("a/b", "a"));
  EXPECT_TRUE(PathIsWithin("a", "a"));
  EXPECT_TRUE(PathIsWithin("a", ""));
  EXPECT_FALSE(PathIsWithin("a-b", "a"));
}

TEST(EntryList, ComesBackAsItWentIn) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  for (const size_t count : {0, 1, 20, 20000}) {
    Bench bench;
    const std::vector<format::Entry> entries = MakeEntries(&random, count);
    const format::StreamRoot root = Write(&bench, entries);
    EXPECT_EQ(root.span(), count);
    EntryListReader reader(&bench.nodes(), root);
    for (const format::Entry& entry : entries) {
      const auto got = reader.Next();
      ASSERT_TRUE(got.ok()) << got.status().ToString();
      ASSERT_NE(*got, nullptr);
      ASSERT_EQ((*got)->SerializeAsString(), entry.SerializeAsString());
      Entry copy = EntryFromProto(**got);
      format::Entry again;
      EntryToProto(copy, &again);
      ASSERT_EQ(again.SerializeAsString(), entry.SerializeAsString());
    }
    const auto end = reader.Next();
    ASSERT_TRUE(end.ok());
    EXPECT_EQ(*end, nullptr);
  }
}

TEST(EntryList, SmallEditRewritesFewNodes) {
  const uint64_t seed = TestSeed();
  SNAP_TRACE_SEED(seed);
  SplitMix64 random(seed);
  Bench bench;
  std::vector<format::Entry> entries = MakeEntries(&random, 50000);
  Write(&bench, entries);
  const uint64_t nodes = bench.index().ApproximateChunkCount();
  ASSERT_GT(nodes, 100u);
  entries[random.Below(entries.size())].set_mode(0123);
  entries.erase(entries.begin() + static_cast<ptrdiff_t>(random.Below(entries.size())));
  Write(&bench, entries);
  EXPECT_LE(bench.index().ApproximateChunkCount() - nodes, 10u);
}

TEST(EntryList, WaitsForContentThatHasNoPlaceYet) {
  SplitMix64 random(5);
  Bench bench;
  EntryListWriter writer(&bench.writer(), &bench.secret());
  std::vector<Bytes> contents;
  for (int i = 0; i < 200; ++i) {
    contents.push_back(RandomBytes(&random, 1 + random.Below(3000)));
    auto runs = std::make_unique<RunListWriter>(&bench.writer(), &bench.secret());
    ASSERT_TRUE(runs->AddChunk(bench.Put(PackKind::kData, contents.back())).ok());
    ASSERT_TRUE(runs->AddHole(100).ok());
    format::Entry entry;
    entry.set_path("f" + std::to_string(1000 + i));
    entry.set_type(static_cast<uint32_t>(EntryType::kFile));
    entry.set_size(runs->size());
    ASSERT_TRUE(writer.Add(std::move(entry), std::move(runs)).ok());
  }
  format::StreamRoot root;
  ASSERT_TRUE(writer.Finish(&root).ok());
  bench.Flush();
  EntryListReader reader(&bench.nodes(), root);
  for (const Bytes& content : contents) {
    const auto entry = reader.Next();
    ASSERT_TRUE(entry.ok() && *entry != nullptr) << entry.status().ToString();
    EXPECT_EQ((*entry)->content().chunks(), 1u);
    RunListReader runs(&bench.nodes(), (*entry)->content().runs());
    const auto run = runs.Next();
    ASSERT_TRUE(run.ok() && *run != nullptr);
    const auto stored = bench.nodes().Resolve((*run)->chunk);
    ASSERT_TRUE(stored.ok());
    Bytes bytes;
    ASSERT_TRUE(bench.fetcher().Read(PackKind::kData, *stored, &bytes).ok());
    EXPECT_EQ(bytes, content);
  }
}

TEST(EntryList, EntryTooLargeForALeafIsRefusedAndTheRestGoesOn) {
  Bench bench;
  EntryListWriter writer(&bench.writer(), &bench.secret());
  Entry entry;
  entry.path = "a";
  entry.xattrs["user.large"] = std::string(kEntryBytesMax, 'x');
  format::Entry proto;
  EntryToProto(entry, &proto);
  EXPECT_TRUE(writer.Add(proto, nullptr).Is(StatusCode::kInvalidArgument));
  entry.path = "b";
  entry.xattrs["user.large"].resize(kEntryBytesMax - 200);
  proto.Clear();
  EntryToProto(entry, &proto);
  ASSERT_TRUE(writer.Add(proto, nullptr).ok());
  format::StreamRoot root;
  ASSERT_TRUE(writer.Finish(&root).ok());
  bench.Flush();
  EntryListReader reader(&bench.nodes(), root);
  const auto got = reader.Next();
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_EQ((*got)->path(), "b");
}

Bytes LeafOf(const std::vector<format::Entry>& entries) {
  Bytes leaf;
  ByteWriter writer(&leaf);
  for (const format::Entry& entry : entries) {
    const std::string record = entry.SerializeAsString();
    writer.Varint(record.size());
    writer.Raw(AsBytes(record));
  }
  return leaf;
}

TEST(EntryLeaf, DamageIsCorruptionOrHarmless) {
  SplitMix64 random(6);
  const std::vector<format::Entry> entries = MakeEntries(&random, 6);
  const Bytes leaf = LeafOf(entries);
  std::vector<format::Entry> parsed;
  ASSERT_TRUE(ParseEntryLeaf(leaf, entries.size(), &parsed).ok());
  ForEachDamage(leaf, [&](const Bytes& damaged) {
    const Status status = ParseEntryLeaf(damaged, entries.size(), &parsed);
    if (damaged.size() < leaf.size()) {
      EXPECT_TRUE(status.Is(StatusCode::kCorruption));
    }
    if (status.ok()) {
      EXPECT_EQ(parsed.size(), entries.size());
    }
  });
}

TEST(EntryLeaf, PathsThatLeadElsewhereAreRefused) {
  for (const std::string path :
       {"", "/", "/etc", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a/../../b"}) {
    format::Entry entry;
    entry.set_path(path);
    entry.set_type(2);
    std::vector<format::Entry> parsed;
    EXPECT_TRUE(ParseEntryLeaf(LeafOf({entry}), 1, &parsed).Is(StatusCode::kCorruption)) << path;
  }
  format::Entry entry;
  entry.set_path(std::string("a\0b", 3));
  entry.set_type(2);
  std::vector<format::Entry> parsed;
  EXPECT_TRUE(ParseEntryLeaf(LeafOf({entry}), 1, &parsed).Is(StatusCode::kCorruption));
}

}  // namespace
}  // namespace snapstore
