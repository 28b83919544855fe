#include <gmock/gmock.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "index/chunk_index.h"
#include "tests/base/temp_folder.h"
#include "tests/index/index_testlib.h"

namespace snapstore {
namespace {

using test::IdsOf;
using test::LocationOf;
using test::NumberedChunk;
using test::NumberedChunks;
using test::NumberedDigest;

constexpr size_t kMemory = 8 << 20;

std::vector<std::string> BaseTables(const std::string& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("base-")) paths.push_back(entry.path());
  }
  return paths;
}

class ChunkLoadTest : public testing::Test {
 protected:
  ChunkLoadTest() { Open(kMemory); }

  void Open(size_t memory_bytes) {
    index_.reset();
    auto index = ChunkIndex::Open({folder_.path(), memory_bytes});
    ASSERT_TRUE(index.ok()) << index.status().ToString();
    index_ = std::move(index).value();
  }

  std::unique_ptr<ChunkLoad> Start() {
    auto load = index_->StartLoad();
    EXPECT_TRUE(load.ok()) << load.status().ToString();
    return std::move(load).value();
  }

  static void Add(ChunkSink& sink, uint64_t pack, size_t count, bool published = false) {
    const Status added = sink.AddPack(NumberedDigest(pack), NumberedChunks(pack, count), published);
    ASSERT_TRUE(added.ok()) << added.ToString();
  }

  // Packs [first, first + count) by a load of their own.
  void Load(uint64_t first, uint64_t count, size_t chunks) {
    const auto load = Start();
    for (uint64_t pack = first; pack < first + count; ++pack) Add(*load, pack, chunks);
    const Status committed = load->Commit({});
    ASSERT_TRUE(committed.ok()) << committed.ToString();
  }

  void ExpectPack(uint64_t pack, size_t count, bool expected) {
    const auto chunks = NumberedChunks(pack, count);
    std::vector<std::optional<ChunkLocation>> found;
    const Status status = index_->FindMany(IdsOf(chunks), &found);
    ASSERT_TRUE(status.ok()) << status.ToString();
    for (size_t n = 0; n < count; ++n) {
      ASSERT_EQ(found[n].has_value(), expected) << pack << ", " << n;
      if (expected) {
        ASSERT_TRUE(*found[n] == LocationOf(pack, chunks[n])) << pack << ", " << n;
      }
    }
    EXPECT_EQ(index_->HasPack(NumberedDigest(pack)).value(), expected);
  }

  bool Published(uint64_t pack) {
    bool answer = false;
    EXPECT_TRUE(index_
                    ->ForEachPack([&](const PackId& id, bool published) {
                      if (id == NumberedDigest(pack)) answer = published;
                      return Status();
                    })
                    .ok());
    return answer;
  }

  TempFolder folder_;
  std::unique_ptr<ChunkIndex> index_;
};

TEST_F(ChunkLoadTest, IsInvisibleUntilCommitted) {
  Add(*index_, 0, 100);
  {
    const auto load = Start();
    Add(*load, 1, 100);
    ASSERT_TRUE(load->AddSegment(NumberedDigest(50)).ok());
    EXPECT_TRUE(load->HasPack(NumberedDigest(0)).value());
    EXPECT_TRUE(load->HasPack(NumberedDigest(1)).value());
    ExpectPack(1, 100, false);
    EXPECT_TRUE(index_->StartLoad().status().Is(StatusCode::kConflict));
  }
  ExpectPack(1, 100, false);
  EXPECT_FALSE(index_->HasSegment(NumberedDigest(50)).value());
  auto load = Start();
  Add(*load, 1, 100);
  ASSERT_TRUE(load->AddSegment(NumberedDigest(50)).ok());
  ASSERT_TRUE(load->Commit({}).ok());
  EXPECT_FALSE(load->Commit({}).ok());
  load.reset();
  for (int round = 0; round < 2; ++round) {
    ExpectPack(0, 100, true);
    ExpectPack(1, 100, true);
    ExpectPack(2, 100, false);
    EXPECT_TRUE(index_->HasSegment(NumberedDigest(50)).value());
    EXPECT_EQ(index_->ApproximateChunkCount(), 200u);
    if (round == 0) Open(kMemory);
  }
  EXPECT_EQ(BaseTables(folder_.path()).size(), 1u);
}

TEST_F(ChunkLoadTest, EmptyLoadMovesWhatWasAdded) {
  Load(0, 0, 0);
  ExpectPack(0, 10, false);
  for (uint64_t pack = 0; pack < 5; ++pack) Add(*index_, pack, 300);
  Load(0, 0, 0);
  for (uint64_t pack = 0; pack < 5; ++pack) ExpectPack(pack, 300, true);
  EXPECT_EQ(index_->ApproximateChunkCount(), 1500u);
  // Pack numbers go on, nothing of the emptied family comes back.
  Add(*index_, 5, 300);
  Open(kMemory);
  for (uint64_t pack = 0; pack < 6; ++pack) ExpectPack(pack, 300, true);
}

TEST_F(ChunkLoadTest, KnownPacksStayAndPublishedIsKept) {
  Add(*index_, 0, 10, true);
  Add(*index_, 1, 10);
  Add(*index_, 2, 10);
  const auto load = Start();
  // Other content under a known name must not get in.
  ASSERT_TRUE(load->AddPack(NumberedDigest(0), NumberedChunks(9, 10), false).ok());
  Add(*load, 3, 10);
  Add(*load, 4, 10, true);
  const PackId unknown[] = {NumberedDigest(3), NumberedDigest(99)};
  EXPECT_TRUE(load->MarkPublished(unknown).Is(StatusCode::kNotFound));
  const PackId one[] = {NumberedDigest(1)};
  ASSERT_TRUE(load->MarkPublished(one).ok());
  // Meanwhile, past the load.
  const PackId two[] = {NumberedDigest(2)};
  ASSERT_TRUE(index_->MarkPublished(two).ok());
  Add(*index_, 3, 10, true);
  ASSERT_TRUE(load->Commit({}).ok());
  const std::pair<uint64_t, bool> expected[] = {
      {0, true}, {1, true}, {2, true}, {3, true}, {4, true}};
  for (const auto& [pack, published] : expected) {
    ExpectPack(pack, 10, true);
    EXPECT_EQ(Published(pack), published) << pack;
  }
  ExpectPack(9, 10, false);
}

// All chunks that ever were, by a plain map, against loads, single packs and reopening in any
// order; ids come from so few that most repeat, and half of them share their first bytes.
TEST_F(ChunkLoadTest, AgreesWithAMapOverRandomHistories) {
  uint64_t seed = 0;
  SecureRandom({reinterpret_cast<uint8_t*>(&seed), sizeof(seed)});
  SCOPED_TRACE("seed " + std::to_string(seed));
  SplitMix64 random(seed);
  constexpr uint64_t kIds = 6000;
  const auto id_of = [](uint64_t n) {
    ChunkId id = NumberedChunk(n / 2);  // pairs differ in length only
    if (n % 4 < 2) std::fill_n(id.hash.begin(), 1 + n % 8, uint8_t{0xee});
    id.length += n % 2;
    return id;
  };
  std::map<ChunkId, ChunkLocation> expected;
  uint64_t packs = 0;
  const auto add = [&](ChunkSink& sink, std::map<ChunkId, ChunkLocation>* into) {
    std::vector<PackChunk> chunks(random.Below(500));
    const PackId pack = NumberedDigest(packs++);
    for (size_t n = 0; n < chunks.size(); ++n) {
      chunks[n] = {id_of(random.Below(kIds)), static_cast<uint32_t>(random.Below(1u << 31)),
                   static_cast<uint32_t>(n), static_cast<uint16_t>(random.Below(60'000))};
      (*into)[chunks[n].id] = {pack, chunks[n].frame_offset, chunks[n].frame_length,
                               chunks[n].chunk_in_frame};
    }
    ASSERT_TRUE(sink.AddPack(pack, chunks, false).ok());
  };
  std::vector<ChunkId> ids;
  for (uint64_t n = 0; n < kIds; ++n) ids.push_back(id_of(n));
  for (int round = 0; round < 25; ++round) {
    const uint64_t action = random.Below(4);
    if (action == 0) {
      Open(kMemory << random.Below(3));
    } else if (action == 1) {
      for (uint64_t n = random.Below(4); n > 0; --n) add(*index_, &expected);
    } else {
      std::map<ChunkId, ChunkLocation> loaded;
      const auto load = Start();
      for (uint64_t n = random.Below(12); n > 0; --n) add(*load, &loaded);
      if (random.Below(2) == 0) add(*index_, &expected);  // the load wins: it comes in at its end
      if (action == 3) {
        const Status committed = load->Commit({});
        ASSERT_TRUE(committed.ok()) << committed.ToString();
        loaded.merge(expected);
        expected = std::move(loaded);
      }
    }
    std::vector<std::optional<ChunkLocation>> found;
    ASSERT_TRUE(index_->FindMany(ids, &found).ok());
    for (uint64_t n = 0; n < kIds; ++n) {
      const auto it = expected.find(ids[n]);
      ASSERT_EQ(found[n].has_value(), it != expected.end()) << "round " << round << ", id " << n;
      if (it != expected.end()) {
        ASSERT_TRUE(*found[n] == it->second) << "round " << round << ", id " << n;
      }
    }
  }
}

TEST_F(ChunkLoadTest, SortsInPassesWhatMemoryCannotHoldAtOnce) {
  // All in one of the spool's parts, several times what the sort may take.
  constexpr uint64_t kPacks = 20;
  constexpr size_t kChunks = 10'000;
  const auto chunks_of = [](uint64_t pack) {
    auto chunks = NumberedChunks(pack, kChunks);
    for (PackChunk& chunk : chunks) chunk.id.hash[0] = 0x5a;
    return chunks;
  };
  const auto load = Start();
  for (uint64_t pack = 0; pack < kPacks; ++pack) {
    ASSERT_TRUE(load->AddPack(NumberedDigest(pack), chunks_of(pack), false).ok());
  }
  ASSERT_TRUE(load->Commit({}).ok());
  EXPECT_EQ(index_->ApproximateChunkCount(), kPacks * kChunks);
  for (uint64_t pack = 0; pack < kPacks; ++pack) {
    const auto chunks = chunks_of(pack);
    std::vector<std::optional<ChunkLocation>> found;
    ASSERT_TRUE(index_->FindMany(IdsOf(chunks), &found).ok());
    for (size_t n = 0; n < kChunks; ++n) {
      ASSERT_TRUE(found[n].has_value() && *found[n] == LocationOf(pack, chunks[n]));
    }
  }
}

TEST_F(ChunkLoadTest, LookUpsDuringLoadsNeverMissWhatWasThere) {
  constexpr size_t kChunks = 500;
  Add(*index_, 0, kChunks);
  Add(*index_, 1, kChunks);
  std::atomic<bool> done = false;
  std::atomic<int> rounds = 0;
  std::thread reader([&] {
    while (!done) {
      ExpectPack(0, kChunks, true);
      ExpectPack(1, kChunks, true);
      ++rounds;
    }
  });
  for (uint64_t load = 0; load < 6; ++load) {
    Load(10 + load, 1, kChunks);
    Add(*index_, 20 + load, kChunks);
  }
  while (rounds < 2) std::this_thread::yield();
  done = true;
  reader.join();
  for (uint64_t load = 0; load < 6; ++load) {
    ExpectPack(10 + load, kChunks, true);
    ExpectPack(20 + load, kChunks, true);
  }
}

TEST_F(ChunkLoadTest, DamagedTableIsCorruptionAndDestroyHeals) {
  Load(0, 3, 5000);
  const std::string path = BaseTables(folder_.path()).at(0);
  const uint64_t size = std::filesystem::file_size(path);
  const auto open = [this] { return ChunkIndex::Open({folder_.path(), kMemory}).status(); };
  const auto flip = [&path](uint64_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
  };
  index_.reset();
  for (const uint64_t offset : {0u, 8u, 4096u, 5000u}) {  // magic, count, directory
    flip(offset);
    EXPECT_EQ(open().code(), StatusCode::kCorruption) << offset;
    flip(offset);
    EXPECT_TRUE(open().ok());
  }
  // A record's location is guarded by itself.
  flip(size - 6);
  Open(kMemory);
  std::vector<std::optional<ChunkLocation>> found;
  Status status;
  for (uint64_t pack = 0; pack < 3 && status.ok(); ++pack) {
    status = index_->FindMany(IdsOf(NumberedChunks(pack, 5000)), &found);
  }
  EXPECT_TRUE(status.Is(StatusCode::kCorruption)) << status.ToString();
  EXPECT_TRUE(Start()->Commit({}).Is(StatusCode::kCorruption));
  index_.reset();
  std::filesystem::resize_file(path, size - 1);
  EXPECT_TRUE(open().Is(StatusCode::kCorruption));
  std::filesystem::remove(path);
  EXPECT_TRUE(open().Is(StatusCode::kCorruption));
  ASSERT_TRUE(ChunkIndex::Destroy(folder_.path()).ok());
  EXPECT_TRUE(open().ok());
}

TEST_F(ChunkLoadTest, ReportsProgressAndStopsWhenTold) {
  Add(*index_, 0, 1000);
  auto load = Start();
  Add(*load, 1, 1000);
  int calls = 0;
  EXPECT_TRUE(load->Commit([&calls](uint64_t done, uint64_t total) {
                    EXPECT_LE(done, total);
                    return ++calls == 5 ? Status::Cancelled("enough") : Status();
                  })
                  .Is(StatusCode::kCancelled));
  load.reset();
  EXPECT_EQ(calls, 5);
  EXPECT_TRUE(BaseTables(folder_.path()).empty());
  ExpectPack(0, 1000, true);
  ExpectPack(1, 1000, false);
  uint64_t last = 0;
  load = Start();
  Add(*load, 1, 1000);
  ASSERT_TRUE(load->Commit([&last](uint64_t done, uint64_t) {
                    last = done;
                    return Status();
                  })
                  .ok());
  EXPECT_EQ(last, 2000u);
  ExpectPack(1, 1000, true);
}

TEST_F(ChunkLoadTest, PaysWhenItBringsMuch) {
  EXPECT_FALSE(index_->LoadPays(0));
  EXPECT_FALSE(index_->LoadPays(10'000));
  EXPECT_TRUE(index_->LoadPays(10'000'000));
}

}  // namespace
}  // namespace snapstore
