#include "index/chunk_index.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "tests/base/temp_folder.h"
#include "tests/index/index_testlib.h"

namespace snapstore {
namespace {

using test::IdsOf;
using test::LocationOf;
using test::NumberedChunk;
using test::NumberedChunks;
using test::NumberedDigest;
using testing::HasSubstr;

class ChunkIndexTest : public testing::Test {
 protected:
  std::string path() const { return folder_.path() + "/index"; }

  std::unique_ptr<ChunkIndex> Open() {
    auto index = ChunkIndex::Open({path(), 16 << 20});
    EXPECT_TRUE(index.ok()) << index.status().ToString();
    return index.ok() ? std::move(index).value() : nullptr;
  }

  static void Add(ChunkIndex& index, uint64_t pack, size_t count, bool published = false) {
    const Status added =
        index.AddPack(NumberedDigest(pack), NumberedChunks(pack, count), published);
    ASSERT_TRUE(added.ok()) << added.ToString();
  }

  static std::map<PackId, bool> Packs(ChunkIndex& index) {
    std::map<PackId, bool> packs;
    EXPECT_TRUE(index
                    .ForEachPack([&packs](const PackId& pack, bool published) {
                      packs.emplace(pack, published);
                      return Status::Ok();
                    })
                    .ok());
    return packs;
  }

  static void ExpectFound(ChunkIndex& index, uint64_t pack, size_t count) {
    for (const PackChunk& chunk : NumberedChunks(pack, count)) {
      const auto found = index.Find(chunk.id);
      ASSERT_TRUE(found.ok()) << found.status().ToString();
      ASSERT_TRUE(found->has_value());
      ASSERT_TRUE(**found == LocationOf(pack, chunk));
    }
  }

  TempFolder folder_;
};

TEST_F(ChunkIndexTest, FindsWhatWasAddedAndNothingElse) {
  const auto index = Open();
  Add(*index, 0, 500);
  Add(*index, 1, 500);
  ExpectFound(*index, 0, 500);
  ExpectFound(*index, 1, 500);
  EXPECT_FALSE(index->Find(NumberedChunk(1000)).value().has_value());
  // The length is part of the id.
  ChunkId other = NumberedChunk(3);
  ++other.length;
  EXPECT_FALSE(index->Find(other).value().has_value());
  EXPECT_TRUE(index->HasPack(NumberedDigest(1)).value());
  EXPECT_FALSE(index->HasPack(NumberedDigest(2)).value());
}

TEST_F(ChunkIndexTest, FindManyAnswersInOrderWithRepeatsAndMisses) {
  const auto index = Open();
  Add(*index, 0, 2000);
  const auto chunks = NumberedChunks(0, 2000);
  std::vector<ChunkId> ids;
  for (size_t n = 0; n < 3000; ++n) ids.push_back(NumberedChunk(n * 7 % 4000));
  ids.push_back(ids.front());
  std::vector<std::optional<ChunkLocation>> found(5);  // stale content must go
  ASSERT_TRUE(index->FindMany(ids, &found).ok());
  ASSERT_EQ(found.size(), ids.size());
  for (size_t n = 0; n < 3000; ++n) {
    const size_t number = n * 7 % 4000;
    ASSERT_EQ(found[n].has_value(), number < 2000) << n;
    if (found[n].has_value()) {
      ASSERT_TRUE(*found[n] == LocationOf(0, chunks[number]));
    }
  }
  EXPECT_TRUE(found.back() == found.front());
  ASSERT_TRUE(index->FindMany({}, &found).ok());
  EXPECT_TRUE(found.empty());
}

TEST_F(ChunkIndexTest, PersistsOverReopen) {
  {
    const auto index = Open();
    Add(*index, 0, 300, true);
    Add(*index, 1, 300);
    ASSERT_TRUE(index->AddSegment(NumberedDigest(90)).ok());
  }
  const auto index = Open();
  ExpectFound(*index, 0, 300);
  ExpectFound(*index, 1, 300);
  EXPECT_EQ(Packs(*index),
            (std::map<PackId, bool>{{NumberedDigest(0), true}, {NumberedDigest(1), false}}));
  EXPECT_TRUE(index->HasSegment(NumberedDigest(90)).value());
  // Pack numbers go on, old chunks keep their pack.
  Add(*index, 2, 300);
  ExpectFound(*index, 2, 300);
  ExpectFound(*index, 0, 300);
}

TEST_F(ChunkIndexTest, ClosingLeavesNoLongLogToRead) {
  Add(*Open(), 0, 20'000);
  uint64_t log_bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path())) {
    if (entry.path().extension() == ".log") log_bytes += entry.file_size();
  }
  EXPECT_LT(log_bytes, 256u << 10);
  ExpectFound(*Open(), 0, 20'000);
}

TEST_F(ChunkIndexTest, AnotherStatesFilterIsNotBelieved) {
  constexpr size_t kChunks = 15'000;
  const std::string filter = path() + "/filter";
  const std::string older = path() + "/older";
  for (uint64_t pack = 0; pack < 2; ++pack) Add(*Open(), pack, kChunks);
  ASSERT_TRUE(std::filesystem::exists(filter));
  std::filesystem::copy_file(filter, older);
  ExpectFound(*Open(), 1, kChunks);
  {
    const auto index = Open();
    EXPECT_FALSE(std::filesystem::exists(filter)) << "it would outlive a kill";
    Add(*index, 2, kChunks);
  }
  const auto replace_and_look = [&](const std::function<void()>& replace) {
    replace();
    const auto index = Open();
    for (uint64_t pack = 0; pack < 3; ++pack) ExpectFound(*index, pack, kChunks);
    EXPECT_FALSE(index->Find(NumberedChunk(3 * kChunks)).value().has_value());
  };
  replace_and_look([] {});
  replace_and_look([&] { std::filesystem::remove(filter); });
  replace_and_look([&] {
    std::filesystem::copy_file(older, filter, std::filesystem::copy_options::overwrite_existing);
  });
  replace_and_look([&] { std::filesystem::resize_file(filter, 1000); });
  replace_and_look([&] {
    std::fstream file(filter, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(70'000);
    file << std::string(200'000, '\0');
  });
}

TEST_F(ChunkIndexTest, LaterLocationWins) {
  const auto index = Open();
  Add(*index, 0, 100);
  auto moved = NumberedChunks(0, 100);
  for (PackChunk& chunk : moved) chunk.frame_offset += 1;
  ASSERT_TRUE(index->AddPack(NumberedDigest(7), moved, false).ok());
  for (const PackChunk& chunk : moved) {
    ASSERT_TRUE(**index->Find(chunk.id) == LocationOf(7, chunk));
  }
  EXPECT_TRUE(index->HasPack(NumberedDigest(0)).value());
}

TEST_F(ChunkIndexTest, KnownPackIsLeftAsItIs) {
  const auto index = Open();
  Add(*index, 0, 10, true);
  Add(*index, 1, 10);
  ASSERT_TRUE(index->AddPack(NumberedDigest(0), NumberedChunks(5, 10), false).ok());
  EXPECT_FALSE(index->Find(NumberedChunk(50)).value().has_value());
  EXPECT_TRUE(Packs(*index).at(NumberedDigest(0)));
  ExpectFound(*index, 0, 10);
}

TEST_F(ChunkIndexTest, PacksBecomePublishedTogetherOrNotAtAll) {
  const auto index = Open();
  for (uint64_t pack = 0; pack < 3; ++pack) Add(*index, pack, 10);
  const PackId unknown[] = {NumberedDigest(0), NumberedDigest(99)};
  EXPECT_TRUE(index->MarkPublished(unknown).Is(StatusCode::kNotFound));
  EXPECT_FALSE(Packs(*index).at(NumberedDigest(0)));
  const PackId two[] = {NumberedDigest(0), NumberedDigest(2)};
  ASSERT_TRUE(index->MarkPublished(two).ok());
  EXPECT_EQ(Packs(*index),
            (std::map<PackId, bool>{
                {NumberedDigest(0), true}, {NumberedDigest(1), false}, {NumberedDigest(2), true}}));
  ExpectFound(*index, 2, 10);
}

TEST_F(ChunkIndexTest, SegmentsAreKeptOnceAndVisited) {
  const auto index = Open();
  EXPECT_FALSE(index->HasSegment(NumberedDigest(1)).value());
  for (const uint64_t n : {1, 2, 1}) ASSERT_TRUE(index->AddSegment(NumberedDigest(n)).ok());
  EXPECT_TRUE(index->HasSegment(NumberedDigest(1)).value());
  std::set<Digest> segments;
  int visits = 0;
  ASSERT_TRUE(index
                  ->ForEachSegment([&](const Digest& segment) {
                    segments.insert(segment);
                    ++visits;
                    return Status::Ok();
                  })
                  .ok());
  EXPECT_EQ(visits, 2);
  EXPECT_EQ(segments, (std::set<Digest>{NumberedDigest(1), NumberedDigest(2)}));
}

TEST_F(ChunkIndexTest, VisitStopsAtTheFirstError) {
  const auto index = Open();
  for (uint64_t pack = 0; pack < 3; ++pack) {
    Add(*index, pack, 1);
    ASSERT_TRUE(index->AddSegment(NumberedDigest(pack)).ok());
  }
  int visits = 0;
  const auto fail = [&visits] {
    ++visits;
    return Status::Cancelled("enough");
  };
  EXPECT_TRUE(
      index->ForEachPack([&](const PackId&, bool) { return fail(); }).Is(StatusCode::kCancelled));
  EXPECT_TRUE(
      index->ForEachSegment([&](const Digest&) { return fail(); }).Is(StatusCode::kCancelled));
  EXPECT_EQ(visits, 2);
}

TEST_F(ChunkIndexTest, ForgetsPacksAndSegmentsThatAreDropped) {
  auto index = Open();
  Add(*index, 1, 100);
  Add(*index, 2, 100);
  ASSERT_TRUE(index->AddSegment(NumberedDigest(7)).ok());
  ASSERT_TRUE(index->AddSegment(NumberedDigest(8)).ok());
  ExpectFound(*index, 1, 100);  // into the cache of names
  const std::vector<PackId> gone = {NumberedDigest(1), NumberedDigest(99)};
  ASSERT_TRUE(index->DropPacks(gone).ok());
  ASSERT_TRUE(index->DropSegments(std::vector<Digest>{NumberedDigest(7)}).ok());
  for (int round = 0; round < 2; ++round) {
    for (const PackChunk& chunk : NumberedChunks(1, 100)) {
      EXPECT_FALSE(index->Find(chunk.id)->has_value());
    }
    ExpectFound(*index, 2, 100);
    EXPECT_EQ(Packs(*index).size(), 1u);
    EXPECT_FALSE(*index->HasPack(NumberedDigest(1)));
    EXPECT_FALSE(*index->HasSegment(NumberedDigest(7)));
    EXPECT_TRUE(*index->HasSegment(NumberedDigest(8)));
    index.reset();
    index = Open();
  }
  Add(*index, 1, 100);
  ExpectFound(*index, 1, 100);
}

TEST_F(ChunkIndexTest, ADroppedPackUncoversWhatALoadBroughtBefore) {
  auto index = Open();
  auto load = index->StartLoad();
  ASSERT_TRUE(load.ok());
  ASSERT_TRUE((*load)->AddPack(NumberedDigest(1), NumberedChunks(1, 50), true).ok());
  ASSERT_TRUE((*load)->Commit(nullptr).ok());
  ASSERT_TRUE(index->AddPack(NumberedDigest(2), NumberedChunks(1, 50), true).ok());
  ASSERT_TRUE(index->DropPacks(std::vector<PackId>{NumberedDigest(2)}).ok());
  ExpectFound(*index, 1, 50);
}

TEST_F(ChunkIndexTest, SecondOpenIsAConflictAndHarmless) {
  auto index = Open();
  Add(*index, 0, 10);
  for (int n = 0; n < 2; ++n) {
    const auto second = ChunkIndex::Open({path(), 16 << 20});
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.status().code(), StatusCode::kConflict) << second.status().ToString();
    EXPECT_THAT(second.status().message(), HasSubstr(path()));
  }
  EXPECT_TRUE(ChunkIndex::Destroy(path()).Is(StatusCode::kConflict));
  ExpectFound(*index, 0, 10);
  index.reset();
  index = Open();
  ExpectFound(*index, 0, 10);
}

TEST_F(ChunkIndexTest, DestroyRemovesTheFolderAndSucceedsWithoutOne) {
  Add(*Open(), 0, 10);
  ASSERT_TRUE(ChunkIndex::Destroy(path()).ok());
  EXPECT_FALSE(std::filesystem::exists(path()));
  EXPECT_TRUE(ChunkIndex::Destroy(path()).ok());
  EXPECT_FALSE(Open()->HasPack(NumberedDigest(0)).value());
}

TEST_F(ChunkIndexTest, PathThatIsNoFolderIsRefused) {
  std::ofstream(path()) << "text";
  EXPECT_TRUE(ChunkIndex::Open({path(), 16 << 20}).status().Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(ChunkIndex::Destroy(path()).Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(std::filesystem::exists(path()));
}

// Overwrites files of a closed index whose names start with `prefix`.
void Damage(const std::string& path, const std::string& prefix, const std::string& content) {
  int damaged = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    std::ofstream(entry.path(), std::ios::binary | std::ios::trunc) << content;
    ++damaged;
  }
  ASSERT_GT(damaged, 0);
}

TEST_F(ChunkIndexTest, GarbageIsCorruptionAndDestroyHeals) {
  const std::pair<const char*, const char*> damages[] = {{"CURRENT", "garbage"},
                                                         {"CURRENT", "MANIFEST-999999\n"},
                                                         {"CURRENT", ""},
                                                         {"MANIFEST", "garbage garbage garbage"},
                                                         {"MANIFEST", ""}};
  for (const auto& [file, content] : damages) {
    Add(*Open(), 0, 10);
    Damage(path(), file, content);
    const auto opened = ChunkIndex::Open({path(), 16 << 20});
    ASSERT_FALSE(opened.ok()) << file << ": " << content;
    EXPECT_EQ(opened.status().code(), StatusCode::kCorruption) << opened.status().ToString();
    EXPECT_THAT(opened.status().message(), Not(HasSubstr("\n")));
    ASSERT_TRUE(ChunkIndex::Destroy(path()).ok());
  }
  EXPECT_NE(Open(), nullptr);
}

TEST_F(ChunkIndexTest, ConcurrentAddsAndFindsSeeWholePacks) {
  const auto index = Open();
  constexpr uint64_t kPacks = 60;
  constexpr size_t kChunks = 400;
  std::vector<std::thread> threads;
  for (uint64_t writer = 0; writer < 2; ++writer) {
    threads.emplace_back([&, writer] {
      // Both writers meet at every third pack.
      for (uint64_t pack = 0; pack < kPacks; ++pack) {
        if (pack % 3 == 2 || pack % 3 == writer) Add(*index, pack, kChunks);
      }
    });
  }
  for (uint64_t reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&, reader] {
      SplitMix64 random(reader);
      for (int round = 0; round < 400; ++round) {
        const uint64_t pack = random.Below(kPacks);
        const bool had_pack = index->HasPack(NumberedDigest(pack)).value();
        const auto chunks = NumberedChunks(pack, kChunks);
        const std::vector<ChunkId> ids = IdsOf(chunks);
        std::vector<std::optional<ChunkLocation>> found;
        const Status status = index->FindMany(ids, &found);
        ASSERT_TRUE(status.ok()) << status.ToString();
        for (size_t n = 0; n < kChunks; ++n) {
          ASSERT_TRUE(!had_pack || found[n].has_value());
          if (found[n].has_value()) {
            ASSERT_TRUE(*found[n] == LocationOf(pack, chunks[n]));
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Packs(*index).size(), kPacks);
  for (uint64_t pack = 0; pack < kPacks; ++pack) ExpectFound(*index, pack, kChunks);
}

}  // namespace
}  // namespace snapstore
