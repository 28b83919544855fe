// Entries by position and by directory.
#include "engine/entry_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "base/random.h"
#include "engine/entry_list.h"
#include "tests/engine/fixture.h"

namespace snapstore {
namespace {

class EntryTreeTest : public EngineFixture {
 protected:
  std::unique_ptr<SnapshotReader> OpenReader(const std::string& id) {
    Result<std::unique_ptr<SnapshotReader>> reader = SnapshotReader::Open(repository(), id);
    EXPECT_TRUE(reader.ok()) << reader.status().ToString();
    return reader.ok() ? std::move(*reader) : nullptr;
  }

  static format::Entry Made(const std::string& path, EntryType type) {
    format::Entry entry;
    entry.set_path(path);
    entry.set_type(static_cast<uint32_t>(type));
    return entry;
  }

  // A tree of random shape below the source, with names that sort unlike their paths.
  void MakeRandomTree(const std::string& top, uint64_t seed, size_t entries) const {
    SplitMix64 random(seed);
    const std::string letters = "ab.-\x01\xff";
    std::vector<std::string> directories = {source(top)};
    std::filesystem::create_directory(directories.front());
    std::set<std::string> paths;
    while (paths.size() < entries) {
      std::string name;
      for (uint64_t left = 1 + random.Below(8); left > 0; --left) name += letters[random.Below(6)];
      const std::string path = directories[random.Below(directories.size())] + "/" + name;
      if (name == "." || name == ".." || !paths.insert(path).second) continue;
      if (random.Below(4) == 0) {
        std::filesystem::create_directory(path);
        directories.push_back(path);
      } else {
        ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
      }
    }
  }

  // Names of children with their positions; `piece` entries a call, as a mount reads directories.
  static std::vector<std::pair<std::string, uint64_t>> Children(const SnapshotReader& reader,
                                                                std::optional<uint64_t> directory,
                                                                size_t piece) {
    std::vector<std::pair<std::string, uint64_t>> out;
    std::optional<uint64_t> after;
    while (true) {
      size_t seen = 0;
      const Status status =
          reader.ForEachChild(directory, after, [&](const PlacedEntry& child) -> Result<bool> {
            if (seen == piece) return false;
            ++seen;
            out.emplace_back(child.entry.path, child.position);
            after = child.position;
            return true;
          });
      EXPECT_TRUE(status.ok()) << status.ToString();
      if (seen < piece) return out;
    }
  }
};

TEST_F(EntryTreeTest, ListsEachDirectoryOfAnyTreeOneLevelAtATime) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    MakeRandomTree("tree" + std::to_string(seed), seed, seed == 1 ? 3 : 2500);
  }
  const std::unique_ptr<SnapshotReader> reader = OpenReader(Snapshot());
  std::vector<Entry> list;
  ASSERT_TRUE(reader
                  ->ForEachEntry("",
                                 [&](const Entry& entry) {
                                   list.push_back(entry);
                                   return Status();
                                 })
                  .ok());
  ASSERT_GT(list.size(), 5000u);
  std::map<std::string, std::vector<std::pair<std::string, uint64_t>>> expected;
  for (uint64_t i = 0; i < list.size(); ++i) {
    const size_t slash = list[i].path.rfind('/');
    expected[slash == std::string::npos ? "" : list[i].path.substr(0, slash)].emplace_back(
        list[i].path, i);
  }
  EXPECT_EQ(Children(*reader, std::nullopt, 1000), expected[""]);
  for (uint64_t i = 0; i < list.size(); ++i) {
    const std::string& path = list[i].path;
    ASSERT_EQ(reader->EntryAt(i)->entry.path, path);
    if (list[i].type != EntryType::kDirectory) continue;
    ASSERT_EQ(Children(*reader, i, 1 + i % 7), expected[path]) << path;
    for (const auto& [child, position] : expected[path]) {
      const Result<PlacedEntry> found = reader->LookupIn(i, child.substr(path.size() + 1));
      ASSERT_TRUE(found.ok()) << found.status().ToString();
      ASSERT_EQ(found->position, position);
    }
    EXPECT_EQ(reader->LookupIn(i, "none").status().code(), StatusCode::kNotFound);
  }
}

TEST_F(EntryTreeTest, RefusesPlacesThatAreNotThere) {
  const std::unique_ptr<SnapshotReader> reader =
      OpenReader(StoreManifest({Made("d", EntryType::kDirectory), Made("d/f", EntryType::kFifo),
                                Made("e", EntryType::kDirectory)}));
  const auto visit = [](const PlacedEntry&) -> Result<bool> { return true; };
  EXPECT_EQ(reader->EntryAt(3).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(reader->LookupIn(1, "x").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(reader->LookupIn(7, "x").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(reader->LookupIn(std::nullopt, "d/f").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(reader->ForEachChild(1, std::nullopt, visit).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(reader->ForEachChild(2, 1, visit).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(reader->ForEachChild(std::nullopt, 9, visit).code(), StatusCode::kInvalidArgument);
}

TEST_F(EntryTreeTest, ReportsEntriesWithoutADirectoryAsDamage) {
  const std::unique_ptr<SnapshotReader> reader = OpenReader(
      StoreManifest({Made("d", EntryType::kDirectory), Made("d/x/f", EntryType::kFifo)}));
  const auto visit = [](const PlacedEntry&) -> Result<bool> { return true; };
  EXPECT_EQ(reader->ForEachChild(0, std::nullopt, visit).code(), StatusCode::kCorruption);
}

TEST_F(EntryTreeTest, KnowsWhereTheContentOfAHardLinkIsAndHowMuchIsData) {
  WriteSource("a", std::string(2 * kMiB, '\0') + RandomBytes(100'000, 1));
  ASSERT_EQ(::link(source("a").c_str(), source("b").c_str()), 0);
  WriteSource("sparse",
              RandomBytes(8 * kMiB, 2) + std::string(900 * kMiB, '\0') + RandomBytes(8 * kMiB, 3));
  WriteSource("dense", RandomBytes(8 * kMiB, 4));
  const std::unique_ptr<SnapshotReader> reader = OpenReader(Snapshot());
  const auto find = [&](const std::string& name) {
    std::optional<uint64_t> at;
    std::string path = SourceEntry(name);
    while (true) {
      const size_t slash = path.find('/');
      Result<PlacedEntry> found = reader->LookupIn(at, path.substr(0, slash));
      EXPECT_TRUE(found.ok()) << found.status().ToString();
      if (slash == std::string::npos) return *found;
      at = found->position;
      path = path.substr(slash + 1);
    }
  };
  const PlacedEntry a = find("a");
  EXPECT_EQ(a.content_position, a.position);
  EXPECT_GE(a.data_bytes, 100'000u);
  EXPECT_LT(a.data_bytes, 110'000u);
  const PlacedEntry b = find("b");
  EXPECT_EQ(b.content_position, a.position);
  EXPECT_EQ(b.data_bytes, a.data_bytes);
  EXPECT_EQ(find("dense").data_bytes, 8 * kMiB);
  const PlacedEntry sparse = find("sparse");
  EXPECT_GE(sparse.data_bytes, 16 * kMiB);
  EXPECT_LT(sparse.data_bytes, 300 * kMiB);
}

}  // namespace
}  // namespace snapstore
