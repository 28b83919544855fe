#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "base/unique_fd.h"
#include "tests/base/temp_folder.h"
#include "tests/index/index_testlib.h"

namespace snapstore {
namespace {

constexpr size_t kChunks = 3000;

// Starts the writer, kills it `delay` after its first report and returns how often it reported.
size_t RunWriterAndKill(const std::string& folder, uint64_t load, std::chrono::microseconds delay) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  std::string program = INDEX_CRASH_WRITER, path = folder, count = std::to_string(kChunks);
  std::string load_text = std::to_string(load);
  char* arguments[] = {program.data(), path.data(), count.data(), load_text.data(), nullptr};
  pid_t child = -1;
  const int spawned = posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(spawned, 0);
  if (spawned != 0) return 0;
  writer.Reset();

  char byte;
  size_t reported = read(reader.get(), &byte, 1) == 1 ? 1 : 0;
  std::this_thread::sleep_for(delay);
  kill(child, SIGKILL);
  int wait_status = 0;
  waitpid(child, &wait_status, 0);
  EXPECT_TRUE(WIFSIGNALED(wait_status)) << "the writer ended by itself";
  while (read(reader.get(), &byte, 1) == 1) ++reported;
  return reported;
}

size_t PackCount(ChunkIndex& index) {
  size_t packs = 0;
  EXPECT_TRUE(index
                  .ForEachPack([&packs](const PackId&, bool) {
                    ++packs;
                    return Status::Ok();
                  })
                  .ok());
  return packs;
}

// Packs [0, packs) are in with all chunks, the next `beyond` not at all.
void ExpectPacks(ChunkIndex& index, uint64_t packs, uint64_t beyond) {
  for (uint64_t pack = 0; pack < packs + beyond; ++pack) {
    const bool expected = pack < packs;
    const auto has = index.HasPack(test::NumberedDigest(pack));
    ASSERT_TRUE(has.ok() && *has == expected) << pack;
    const auto chunks = test::NumberedChunks(pack, kChunks);
    const std::vector<ChunkId> ids = test::IdsOf(chunks);
    std::vector<std::optional<ChunkLocation>> found;
    ASSERT_TRUE(index.FindMany(ids, &found).ok());
    for (size_t n = 0; n < chunks.size(); ++n) {
      ASSERT_EQ(found[n].has_value(), expected) << pack << ", " << n;
      if (expected) {
        ASSERT_TRUE(*found[n] == test::LocationOf(pack, chunks[n]));
      }
    }
  }
}

// Kills writers at random moments and passes what they left, and how often they had reported, to
// `check`.
void KillWriters(int rounds, uint64_t load,
                 const std::function<void(ChunkIndex&, size_t reported)>& check) {
  uint64_t seed_bytes = 0;
  SecureRandom({reinterpret_cast<uint8_t*>(&seed_bytes), sizeof(seed_bytes)});
  SplitMix64 random(seed_bytes);
  for (int round = 0; round < rounds; ++round) {
    const TempFolder folder;
    const std::chrono::microseconds delay(random.Below(300'000));
    SCOPED_TRACE("seed " + std::to_string(seed_bytes) + ", killed after " +
                 std::to_string(delay.count()) + " us");
    const size_t reported = RunWriterAndKill(folder.path(), load, delay);
    ASSERT_GT(reported, 0u);
    auto index = ChunkIndex::Open({folder.path(), 8 << 20});
    ASSERT_TRUE(index.ok()) << index.status().ToString();
    check(**index, reported);
    if (testing::Test::HasFatalFailure()) return;
    size_t tables = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      tables += entry.path().filename().string().starts_with("base-") ? 1 : 0;
    }
    EXPECT_EQ(tables, load == 0 ? 0u : 1u);
  }
}

TEST(ChunkIndexCrash, KillDuringAddPackLeavesWholePacksInOrder) {
  KillWriters(8, /*load=*/0, [](ChunkIndex& index, size_t reported) {
    const size_t packs = PackCount(index);
    // The kernel has all that was written; one pack may be in but not yet reported.
    ASSERT_GE(packs, reported);
    ASSERT_LE(packs, reported + 1);
    ExpectPacks(index, packs, 1);
    // And it goes on from there.
    ASSERT_TRUE(
        index.AddPack(test::NumberedDigest(packs), test::NumberedChunks(packs, 10), true).ok());
  });
}

TEST(ChunkIndexCrash, KillDuringLoadLeavesAllOfItOrNothing) {
  constexpr uint64_t kLoad = 5;
  KillWriters(6, kLoad, [](ChunkIndex& index, size_t reported) {
    const size_t packs = PackCount(index);
    // Reports alternate between a load and a pack.
    const auto packs_after = [](size_t reports) { return (reports + 1) / 2 * kLoad + reports / 2; };
    ASSERT_TRUE(packs == packs_after(reported) || packs == packs_after(reported + 1))
        << packs << " packs, " << reported << " reports";
    ExpectPacks(index, packs, kLoad);
    auto load = index.StartLoad();
    ASSERT_TRUE(load.ok());
    ASSERT_TRUE(
        (*load)
            ->AddPack(test::NumberedDigest(packs), test::NumberedChunks(packs, kChunks), true)
            .ok());
    ASSERT_TRUE((*load)->Commit({}).ok());
    ExpectPacks(index, packs + 1, kLoad);
  });
}

}  // namespace
}  // namespace snapstore
