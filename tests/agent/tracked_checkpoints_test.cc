// Checkpoints of tracked memory in a repository.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <random>

#include "agent/checkpoint_reader.h"
#include "agent/checkpointer.h"
#include "agent/process_tree.h"
#include "agent/restore_attempt.h"
#include "base/file.h"
#include "snapstore/maintain.h"
#include "snapstore/repository.h"
#include "tests/agent/new_repository.h"
#include "tests/agent/tracking_fixture.h"

namespace snapstore::agent {
namespace {

// With a repository.
class TrackedCheckpoints : public DirtyTrackerTest {
 protected:
  void SetUp() override {
    DirtyTrackerTest::SetUp();
    if (IsSkipped()) return;
    auto repository = NewRepository(directory_, 128 << 20);
    ASSERT_TRUE(repository.ok()) << repository.status().ToString();
    repository_ = std::move(*repository);
    auto config = AppConfig::Parse(fmt::format(
        R"({{"name":"heap","runCmd":"true","snapshotDestination":"fs-0123abcd",
            "snapshotScheduler":"0 0 1 1 *","externalFiles":["{}"]}})",
        Write("external", "x")));
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    config_ = std::move(*config);
    MakeCheckpointer(DirtyTracker::kWatchedBytesMin);
  }

  void MakeCheckpointer(uint64_t store_beforehand_min, uint64_t arena_limit = 1ull << 30) {
    checkpointer_.reset();
    Checkpointer::Options options{.config = *config_,
                                  .directory = Path("criu"),
                                  .log_path = Path("app.log"),
                                  .arena_limit = arena_limit,
                                  .store_beforehand_min = store_beforehand_min,
                                  .filter_library = filter_library_,
                                  .spool = {Path("spool"), 0}};
    auto checkpointer = Checkpointer::Create(std::move(options), repository_.get(), criu_.get());
    ASSERT_TRUE(checkpointer.ok()) << checkpointer.status().ToString();
    checkpointer_ = std::move(*checkpointer);
  }

  void LetRunOn() {
    const auto pids = DescendantsOf(cell_->init_pid());
    ASSERT_TRUE(pids.ok());
    ASSERT_TRUE(cell_->SetHeld(false).ok());
    for (const pid_t pid : *pids) kill(pid, SIGCONT);
  }

  CheckpointRecord Take(bool leave_stopped = false) {
    return checkpointer_->Take(cell_.get(), "request", leave_stopped);
  }

  // Compares what a checkpoint holds with the memory of the application, which stands still.
  void ExpectHolds(const std::string& id) {
    auto reader = CheckpointReader::Open(repository_.get(), id);
    ASSERT_TRUE(reader.ok()) << reader.status().ToString();
    const auto pids = DescendantsOf(cell_->init_pid());
    ASSERT_TRUE(pids.ok());
    size_t compared = 0;
    for (const pid_t pid : *pids) {
      const std::string name = fmt::format("pagemap-{}.img", InnerPid(pid));
      if (!(*reader)->Has(name)) continue;
      const auto map = Pagemap::Parse(Image(reader->get(), name));
      ASSERT_TRUE(map.ok()) << map.status().ToString();
      const PageHashes now = HashesInProcess(pid, *map);
      const Bytes pages = Image(reader->get(), PagesImageName(map->pages_id));
      ASSERT_EQ(pages.size(), map->bytes);
      uint64_t offset = 0;
      for (const auto& [address, hash] : now) {
        ASSERT_EQ(HashOf(ByteSpan(pages).subspan(offset, kPageBytes)), hash)
            << fmt::format("{}: {:x}", name, address);
        offset += kPageBytes;
      }
      compared += now.size();
    }
    EXPECT_GT(compared, 1000u);
  }

  Bytes Image(CheckpointReader* reader, const std::string& name) const {
    const std::string path = Path("image");
    const UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const Status written = reader->WriteTo(name, fd.get());
    EXPECT_TRUE(written.ok()) << written.ToString();
    auto bytes = ReadWholeFile(path, 1 << 30);
    return bytes.ok() ? std::move(*bytes) : Bytes();
  }

  size_t Snapshots() {
    const auto all = repository_->ListSnapshots(nullptr, nullptr);
    EXPECT_TRUE(all.ok()) << all.status().ToString();
    return all.ok() ? all->size() : 0;
  }

  std::optional<AppConfig> config_;
  std::string filter_library_ = CriuFilter::FindLibrary();
  std::unique_ptr<Repository> repository_;
  std::unique_ptr<Checkpointer> checkpointer_;
};

// CRIU passes what is unchanged on.
class UnfilteredCheckpoints : public TrackedCheckpoints {
 protected:
  void TakeSome() {
    StartCell({MEMORY_WRITER, "quiet", "64"});
    ASSERT_TRUE(WaitForLines(1));
    CheckpointRecord record;
    for (size_t round = 1; round <= 3; ++round) {
      kill(DescendantsOf(cell_->init_pid())->front(), SIGUSR1);
      ASSERT_TRUE(WaitForLines(1 + round));
      record = Take(/*leave_stopped=*/round == 3);
      ASSERT_TRUE(record.status.ok()) << record.status.ToString();
      EXPECT_TRUE(round == 1 || record.bytes_read < (8u << 20)) << record.bytes_read;
    }
    EXPECT_EQ(record.bytes_grown_frozen, 0u);
    ExpectHolds(record.snapshot_id);
  }
};
class UnloadedFilterCheckpoints : public UnfilteredCheckpoints {
 protected:
  UnloadedFilterCheckpoints() { filter_library_ = Path("missing.so"); }
};

// Hoped for at first, the filter takes no effect: all of it passes by, and does not fit.
TEST_F(UnloadedFilterCheckpoints, WhatCriuPassesOnAllTheSameNeedNotFit) {
  StartCell({MEMORY_WRITER, "quiet", "128"});
  ASSERT_TRUE(WaitForLines(1));
  MakeCheckpointer(16 << 20, 64 << 20);
  const CheckpointRecord first = Take(/*leave_stopped=*/false);
  ASSERT_TRUE(first.status.ok()) << first.status.ToString();
  const CheckpointRecord last = Take(/*leave_stopped=*/true);
  ASSERT_TRUE(last.status.ok()) << last.status.ToString();
  ExpectHolds(last.snapshot_id);
}

class NoFilterCheckpoints : public UnfilteredCheckpoints {
 protected:
  NoFilterCheckpoints() { filter_library_.clear(); }
};

TEST_F(UnloadedFilterCheckpoints, HoldTheSame) { TakeSome(); }

TEST_F(NoFilterCheckpoints, HoldTheSame) { TakeSome(); }

TEST_F(UnfilteredCheckpoints, HoldTheSameWhereTheListsCannotBeWritten) {
  std::filesystem::create_directory(Path("criu/hidden-pages"));
  TakeSome();
}

TEST_F(TrackedCheckpoints, OnlyWhatChangedIsReadAlsoAfterOneThatFailed) {
  StartCell({MEMORY_WRITER, "quiet", "64"});
  ASSERT_TRUE(WaitForLines(1));
  const CheckpointRecord first = Take();
  ASSERT_TRUE(first.status.ok()) << first.status.ToString();
  EXPECT_GT(first.bytes_read, 64u << 20);
  EXPECT_LT(checkpointer_->DirtyBytes(*cell_).value_or(UINT64_MAX), 1u << 20);
  const pid_t application = DescendantsOf(cell_->init_pid())->front();

  kill(application, SIGUSR1);
  ASSERT_TRUE(WaitForLines(2));
  std::filesystem::remove(Path("external"));
  EXPECT_FALSE(Take().status.ok());
  Write("external", "y");
  // Nothing was written since the one that failed.
  const CheckpointRecord second = Take();
  ASSERT_TRUE(second.status.ok()) << second.status.ToString();
  EXPECT_GE(second.bytes_new, 255u * kPageBytes);
  EXPECT_LT(second.bytes_read, 8u << 20);
  EXPECT_EQ(second.parent_id, first.snapshot_id);

  kill(application, SIGUSR1);
  ASSERT_TRUE(WaitForLines(3));
  const CheckpointRecord last = Take(/*leave_stopped=*/true);
  ASSERT_TRUE(last.status.ok()) << last.status.ToString();
  EXPECT_LT(last.bytes_read, 8u << 20);
  EXPECT_EQ(last.bytes_grown_frozen, 0u);
  ExpectHolds(last.snapshot_id);
}

TEST_F(TrackedCheckpoints, OfTheFirstMostIsStoredWhileTheApplicationRuns) {
  StartCell({MEMORY_WRITER, "quiet", "64"});
  ASSERT_TRUE(WaitForLines(1));
  MakeCheckpointer(16 << 20);
  // As an agent that was killed in the middle leaves it.
  const auto pids = DescendantsOf(cell_->init_pid());
  ASSERT_TRUE(pids.ok());
  auto tracker = DirtyTracker::Create(16 << 20);
  ASSERT_TRUE(tracker.ok());
  tracker_ = std::move(*tracker);
  tracker_->Attach(*pids);
  auto left = CopyBeforehand(repository_.get(), "heap", "", tracker_->WatchedAnew());
  ASSERT_TRUE(left.ok()) << left.status().ToString();
  EXPECT_GT(left->info.bytes_read, 60u << 20);
  tracker_.reset();

  const CheckpointRecord first = Take();
  ASSERT_TRUE(first.status.ok()) << first.status.ToString();
  EXPECT_EQ(Snapshots(), 1u);
  EXPECT_EQ(first.parent_id, "");
  EXPECT_GT(first.bytes_read, 60u << 20) << "before";
  EXPECT_EQ(first.bytes_grown_frozen, 0u);
  auto reader = CheckpointReader::Open(repository_.get(), first.snapshot_id);
  ASSERT_TRUE(reader.ok());
  EXPECT_GT((*reader)->memory_bytes(), 64u << 20);
  auto summary = repository_->ListSnapshots(nullptr, nullptr);
  ASSERT_TRUE(summary.ok());
  EXPECT_LT(summary->front().bytes_read, 8u << 20) << "in the freeze";

  const CheckpointRecord last = Take(/*leave_stopped=*/true);
  ASSERT_TRUE(last.status.ok()) << last.status.ToString();
  EXPECT_EQ(last.parent_id, first.snapshot_id);
  EXPECT_LT(last.bytes_read, 8u << 20);
  ExpectHolds(last.snapshot_id);
  EXPECT_EQ(Snapshots(), 2u);
}

TEST_F(TrackedCheckpoints, WhatIsStoredBeforehandIsNotWhatWasWrittenSince) {
  StartCell({MEMORY_WRITER, "churn", fmt::format("{}", std::random_device()() % 1'000'000)});
  ASSERT_TRUE(Eventually([&] {
    const auto pids = DescendantsOf(cell_->init_pid());
    return pids.ok() && DumpBytesEstimate(*pids) > (40ull << 20);
  }));
  for (int round = 0; round < 4; ++round) {
    MakeCheckpointer(4 << 20);
    for (const bool leave_stopped : {false, true}) {
      CheckpointRecord record = Take(leave_stopped);
      // CRIU does not like processes that end while it looks at them.
      for (int attempt = 0; attempt < 5 && !record.status.ok(); ++attempt) {
        record = Take(leave_stopped);
      }
      ASSERT_TRUE(record.status.ok()) << record.status.ToString();
      if (leave_stopped) ExpectHolds(record.snapshot_id);
    }
    LetRunOn();
  }
  EXPECT_EQ(Snapshots(), 8u);
}

TEST_F(TrackedCheckpoints, AddressesWithoutMemoryStayWithoutIt) {
  const std::string script = Write("sparse.py", R"(
import mmap, time
reserved = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
used = bytearray(b"x" * (16 << 20))
print("ready", flush=True)
while True:
    time.sleep(1)
)");
  StartCell({"python3", script});
  ASSERT_TRUE(WaitForLines(1));
  const CheckpointRecord first = Take();
  ASSERT_TRUE(first.status.ok()) << first.status.ToString();
  for (int i = 0; i < 2; ++i) {
    const CheckpointRecord next = Take();
    ASSERT_TRUE(next.status.ok()) << next.status.ToString();
    EXPECT_LT(next.bytes_captured, first.bytes_captured + (8u << 20));
  }
}

TEST_F(TrackedCheckpoints, MemoryThatIsNoLongerNeededForCopiesGoesBack) {
  MakeCheckpointer(/*store_beforehand_min=*/UINT64_MAX);
  StartCell({MEMORY_WRITER, "quiet", "160"});
  ASSERT_TRUE(WaitForLines(1));
  ASSERT_TRUE(Take().status.ok());
  const uint64_t own = PrivateBytes(getpid());
  CheckpointRecord last;
  for (int i = 0; i < 6; ++i) {
    last = Take();
    ASSERT_TRUE(last.status.ok()) << last.status.ToString();
    EXPECT_EQ(last.bytes_grown_frozen, 0u);
  }
  EXPECT_LT(PrivateBytes(getpid()) + (64u << 20), own);
  // All of it is wanted again.
  checkpointer_->set_parent(last.snapshot_id);
  last = Take(/*leave_stopped=*/true);
  ASSERT_TRUE(last.status.ok()) << last.status.ToString();
  EXPECT_EQ(last.bytes_grown_frozen, 0u);
  ExpectHolds(last.snapshot_id);
}

TEST_F(TrackedCheckpoints, TheLastOfAChainHoldsWhatTheApplicationHeld) {
  StartCell({MEMORY_WRITER, "churn", fmt::format("{}", std::random_device()() % 1'000'000)});
  ASSERT_TRUE(Eventually([&] {
    const auto pids = DescendantsOf(cell_->init_pid());
    return pids.ok() && DumpBytesEstimate(*pids) > (40ull << 20);
  }));
  CheckpointRecord record;
  for (int round = 0; round < 6; ++round) {
    record = Take(/*leave_stopped=*/round == 5);
    // CRIU does not like processes that end while it looks at them.
    for (int attempt = 0; attempt < 5 && !record.status.ok(); ++attempt) {
      record = Take(/*leave_stopped=*/round == 5);
    }
    ASSERT_TRUE(record.status.ok()) << record.status.ToString();
  }
  ExpectHolds(record.snapshot_id);
}

TEST_F(TrackedCheckpoints, AParentThatIsGoneIsNotBuiltUpon) {
  StartCell({MEMORY_WRITER, "quiet", "16"});
  ASSERT_TRUE(WaitForLines(1));
  const CheckpointRecord first = Take();
  ASSERT_TRUE(first.status.ok());
  ASSERT_LT(Take().bytes_read, 16u << 20);
  auto snapshots = ListCheckpoints(repository_.get(), "heap");
  ASSERT_TRUE(snapshots.ok());
  std::vector<std::string> ids;
  for (const SnapshotInfo& snapshot : *snapshots) ids.push_back(snapshot.id);
  ASSERT_TRUE(ForgetSnapshots(*repository_, ids, nullptr).ok());
  const CheckpointRecord full = Take(/*leave_stopped=*/true);
  ASSERT_TRUE(full.status.ok()) << full.status.ToString();
  EXPECT_GT(full.bytes_read, 16u << 20);
  ExpectHolds(full.snapshot_id);
}

#if defined(__x86_64__)
TEST_F(TrackedCheckpoints, MemoryCanComeLaterWhereverTheStackPointerIs) {
  StartCell({MEMORY_WRITER, "aligned", "64"});
  ASSERT_TRUE(WaitForLines(1));
  const CheckpointRecord record = Take();
  ASSERT_TRUE(record.status.ok()) << record.status.ToString();
  auto opened = CheckpointReader::Open(repository_.get(), record.snapshot_id);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  const std::shared_ptr<CheckpointReader> reader = std::move(*opened);
  EXPECT_GT(reader->lazy_bytes(), 64u << 20);
  cell_.reset();
  size_t lines = 1;
  for (const LazyChoice choice : {LazyChoice::kOn, LazyChoice::kOff}) {
    auto restored = RestoreApplication(*criu_, Path("criu"), reader, "request", {.lazy = choice},
                                       [&] { return Cell::Create(Options({"true"})); });
    ASSERT_TRUE(restored.ok()) << restored.status().ToString();
    EXPECT_EQ(restored->lazy != nullptr, choice == LazyChoice::kOn);
    kill(DescendantsOf(restored->cell->init_pid())->front(), SIGUSR1);
    ASSERT_TRUE(WaitForLines(++lines));
    EXPECT_EQ(Lines(Path("app.log")).back(), "good");
    restored->cell.reset();
  }
}
#endif

}  // namespace
}  // namespace snapstore::agent
