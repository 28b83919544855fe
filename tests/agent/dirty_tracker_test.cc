// Tracking of written pages, against comparisons of all memory.
#include "agent/dirty_tracker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <random>
#include <thread>

#include "agent/checkpoint_reader.h"
#include "agent/checkpointer.h"
#include "agent/hidden_pages.h"
#include "agent/process_tree.h"
#include "agent/remote_userfaultfd.h"
#include "base/file.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "snapstore/maintain.h"
#include "snapstore/repository.h"
#include "tests/agent/agent_fixture.h"

namespace snapstore::agent {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// A page's address and what it holds, in short.
using PageHashes = std::map<uint64_t, size_t>;

size_t HashOf(ByteSpan page) { return std::hash<std::string_view>()(AsText(page)); }

// What a process holds at these addresses now, by other means than the tracker's.
PageHashes HashesInProcess(pid_t pid, const Pagemap& map) {
  PageHashes hashes;
  const UniqueFd memory(open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDONLY | O_CLOEXEC));
  Bytes bytes;
  for (const PageRun& run : map.runs) {
    bytes.resize(run.bytes);
    const auto got = PreadFull(memory.get(), bytes, run.address, "memory");
    EXPECT_TRUE(got.ok() && *got == run.bytes) << fmt::format("{:x} of {}", run.address, pid);
    for (uint64_t at = 0; at < run.bytes; at += kPageBytes) {
      hashes[run.address + at] = HashOf(ByteSpan(bytes).subspan(at, kPageBytes));
    }
  }
  return hashes;
}

Result<UniqueFd> TakeRemoteUserfaultfd(pid_t pid) {
  UniqueFd taken;
  SNAP_RETURN_IF_ERROR(
      MakeRemoteUserfaultfd(pid, [&](UniqueFd userfaultfd) { taken = std::move(userfaultfd); }));
  return taken;
}

class DirtyTrackerTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    auto tracker = DirtyTracker::Create();
    if (!tracker.ok()) GTEST_SKIP() << tracker.status().message();
    tracker_ = std::move(*tracker);
    auto arena = Arena::Create(2ull << 30);
    ASSERT_TRUE(arena.ok());
    arena_ = std::move(*arena);
    ASSERT_TRUE(arena_->Prepare(256 << 20).ok());
    std::filesystem::create_directory(Path("criu"));
  }
  void TearDown() override {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    cell_.reset();
    CriuFixture::TearDown();
  }

  void StartCell(std::vector<std::string> argv) {
    CellOptions options = Options(std::move(argv));
    // Else the kernel writes the number of the CPU there whenever a thread has got another one,
    // also while CRIU works in it, after it has taken the page.
    options.environment.emplace_back("GLIBC_TUNABLES=glibc.pthread.rseq=0");
    auto cell = Cell::Create(options);
    ASSERT_TRUE(cell.ok()) << cell.status().ToString();
    cell_ = std::move(*cell);
    ASSERT_TRUE(cell_->StartApplication().ok());
  }

  // Runs `body` in a process of its own, which ends with the test at the latest.
  void StartChild(const std::function<void()>& body) {
    child_ = fork();
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      body();
      _exit(9);
    }
    ASSERT_GT(child_, 0);
  }
  void StartWriter(const char* mode, const char* argument = nullptr) {
    const std::string output = Path("app.log");
    StartChild([&] {
      const int fd = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      dup2(fd, 1);
      execl(MEMORY_WRITER, MEMORY_WRITER, mode, argument, nullptr);
    });
    ASSERT_TRUE(WaitForLines(1));
  }
  bool WaitForLines(size_t count) {
    return Eventually([&] { return Lines(Path("app.log")).size() >= count; });
  }
  size_t Descriptors() const {
    const std::filesystem::directory_iterator entries(fmt::format("/proc/{}/fd", child_));
    return static_cast<size_t>(std::distance(begin(entries), end(entries)));
  }
  bool IsRunning() const { return waitpid(child_, nullptr, WNOHANG) == 0; }

  std::unique_ptr<DirtyTracker> tracker_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<Cell> cell_;
  pid_t child_ = -1;
};

// Checkpoints of an application, of which the test keeps what each page was.
class TrackedChain : public DirtyTrackerTest {
 protected:
  enum class Way { kWhole, kLetGo, kHidden };

  // One dump; adopted only if it is to be committed.
  void Dump(Way way, bool commit) {
    arena_->Clear();
    const auto pids = DescendantsOf(cell_->init_pid());
    ASSERT_TRUE(pids.ok());
    tracker_->Attach(*pids);
    CapturePlan plan;
    if (way == Way::kLetGo) plan.let_go = tracker_->LetGo().pagemaps;
    CriuFilter filter(CriuFilter::FindLibrary(), Path("criu"));
    const PagesByProcess known = way == Way::kHidden ? tracker_->Known() : PagesByProcess();
    ASSERT_TRUE(filter.Prepare(known).ok());
    plan.environment = filter.Environment();
    std::map<std::string, PageHashes> truth;
    PagesByMap unchanged;
    plan.complete = [&](std::vector<ArenaFile>* files) -> Status {
      Status complete = tracker_->Complete(files, arena_.get());
      if (complete.ok()) complete = AddHidden(filter, files, &unchanged);
      truth = ReadAll(*files);
      return complete;
    };
    auto dumped = criu_->Dump(
        cell_.get(), Path("criu"), arena_.get(), [] { return Status::Ok(); }, &plan);
    // CRIU does not like processes that end while it looks at them.
    if (!dumped.ok()) {
      EXPECT_FALSE(cell_->WaitForExit(milliseconds(0)).has_value());
      EXPECT_LE(++failed_, 6) << dumped.status().ToString();
      return;
    }
    PagesByMap placed;
    const auto sources = ImageSources(dumped->files, unchanged, &placed);
    ASSERT_TRUE(sources.ok()) << sources.status().ToString();
    if (!plan.let_go.empty()) ++let_go_;
    if (!known.empty()) ++hidden_;
    std::map<std::string, PageHashes> content;
    for (const MemorySource& source : *sources) AddContent(source, &content);
    for (const auto& [name, hashes] : truth) Compare(name, hashes, content[name]);
    if (!commit) return;
    tracker_->Committed(placed);
    parent_ = std::move(content);
  }

  // `unchanged`: what the parent has.
  Status AddHidden(const CriuFilter& filter, std::vector<ArenaFile>* files, PagesByMap* unchanged) {
    *unchanged = tracker_->Unchanged();
    const auto hidden = filter.Hidden();
    EXPECT_TRUE(hidden.ok() && hidden->has_value()) << "the filter took no effect";
    PagesByMap passed_over;
    const Status added = AddHiddenPages(**hidden, arena_.get(), files, &passed_over);
    for (const auto& [name, pages] : passed_over) {
      EXPECT_TRUE(pages.Subtract((*unchanged)[name]).empty()) << name;
      (*unchanged)[name] = pages;
    }
    return added;
  }

  std::map<std::string, PageHashes> ReadAll(const std::vector<ArenaFile>& files) {
    std::map<std::string, PageHashes> all;
    const auto pids = DescendantsOf(cell_->init_pid());
    for (const ArenaFile& file : files) {
      for (const pid_t pid : *pids) {
        if (file.name != fmt::format("pagemap-{}.img", InnerPid(pid))) continue;
        const auto map = Pagemap::Parse(Flatten(file));
        EXPECT_TRUE(map.ok() && map->ascending);
        if (map.ok()) all[file.name] = HashesInProcess(pid, *map);
      }
    }
    return all;
  }

  // What the engine would make of `source` on top of the parent.
  void AddContent(const MemorySource& source, std::map<std::string, PageHashes>* content) {
    if (!source.name.starts_with(kMemoryFolder)) return;
    const std::string rest = source.name.substr(std::string_view(kMemoryFolder).size());
    const size_t slash = rest.find('/');
    const std::string name = rest.substr(0, slash);
    const uint64_t window = std::stoull(rest.substr(slash + 1), nullptr, 16);
    for (const MemorySource::Extent& extent : source.extents) {
      for (uint64_t at = 0; at < extent.bytes.size(); at += kPageBytes) {
        (*content)[name][window + extent.offset + at] =
            HashOf(extent.bytes.subspan(at, kPageBytes));
      }
      for (uint64_t at = 0; at < extent.unchanged; at += kPageBytes) {
        const uint64_t address = window + extent.offset + at;
        const auto page = parent_[name].find(address);
        ASSERT_NE(page, parent_[name].end()) << fmt::format("{:x} is not in the parent", address);
        (*content)[name][address] = page->second;
        ++unchanged_;
      }
    }
  }

  void Compare(const std::string& name, const PageHashes& truth, const PageHashes& content) {
    EXPECT_EQ(truth.size(), content.size()) << name;
    size_t wrong = 0;
    for (const auto& [address, hash] : truth) {
      const auto page = content.find(address);
      if (page != content.end() && page->second == hash) continue;
      if (wrong++ == 0)
        ADD_FAILURE() << fmt::format("{}: page {:x} is not what it was", name, address);
    }
    EXPECT_EQ(wrong, 0u) << name;
  }

  std::map<std::string, PageHashes> parent_;
  size_t unchanged_ = 0;
  int failed_ = 0;
  int let_go_ = 0;
  int hidden_ = 0;
};

TEST_F(TrackedChain, NoWrittenPageIsMissedWhateverTheApplicationDoesToItsMemory) {
  const uint64_t seed = std::random_device()() % 1'000'000;
  SCOPED_TRACE(fmt::format("seed {}", seed));
  SplitMix64 random(seed);
  StartCell({MEMORY_WRITER, "churn", fmt::format("{}", seed)});
  ASSERT_TRUE(Eventually([&] {
    const auto pids = DescendantsOf(cell_->init_pid());
    return pids.ok() && DumpBytesEstimate(*pids) > (40ull << 20);
  }));
  constexpr Way kWays[] = {Way::kWhole, Way::kLetGo, Way::kHidden, Way::kHidden};
  for (int round = 0; round < 20 && !HasFailure(); ++round) {
    SCOPED_TRACE(fmt::format("round {}", round));
    Dump(kWays[random.Below(4)], /*commit=*/round == 0 || random.Below(4) != 0);
    std::this_thread::sleep_for(milliseconds(random.Below(60)));
  }
  EXPECT_GT(unchanged_, 10'000u) << "nothing was gained";
  EXPECT_GT(let_go_, 0);
  EXPECT_GT(hidden_, 0);
}

TEST_F(TrackedChain, WithAnotherParentNothingIsTakenForUnchanged) {
  StartCell({MEMORY_WRITER, "quiet", "16"});
  ASSERT_TRUE(WaitForLines(1));
  Dump(Way::kLetGo, true);
  Dump(Way::kLetGo, true);
  EXPECT_GT(std::exchange(unchanged_, 0), 4000u);
  Dump(Way::kHidden, true);
  EXPECT_GT(std::exchange(unchanged_, 0), 4000u);
  tracker_->Forget();
  EXPECT_TRUE(tracker_->LetGo().pagemaps.empty());
  EXPECT_TRUE(tracker_->Known().empty());
  Dump(Way::kHidden, true);
  EXPECT_EQ(unchanged_, 0u);
}

TEST_F(DirtyTrackerTest, WrittenBytesAreKnownWhileTheApplicationRuns) {
  StartWriter("quiet", "32");
  const std::vector<pid_t> pids{child_};
  EXPECT_FALSE(tracker_->DirtyBytes(pids).has_value());
  tracker_->Attach(pids);
  // Of a process that runs a scan is not exact, but this one waits for us.
  std::vector<ArenaFile> none;
  ASSERT_TRUE(tracker_->Complete(&none, arena_.get()).ok());
  AddressSet all;
  all.Append(0, uint64_t{1} << 47);
  tracker_->Committed({{fmt::format("pagemap-{}.img", InnerPid(child_)), all}});
  auto dirty = tracker_->DirtyBytes(pids);
  ASSERT_TRUE(dirty.has_value());
  EXPECT_LT(*dirty, 512u << 10) << "data of libraries are not tracked";
  for (size_t round = 1; round <= 2; ++round) {
    kill(child_, SIGUSR1);
    ASSERT_TRUE(WaitForLines(1 + round));
    const auto now = tracker_->DirtyBytes(pids);
    ASSERT_TRUE(now.has_value());
    EXPECT_GE(*now, *dirty + (1u << 20) - (64u << 10)) << "256 pages were written";
    EXPECT_LT(*now, *dirty + (3u << 20));
    // A checkpoint that is not committed loses nothing.
    ASSERT_TRUE(tracker_->Complete(&none, arena_.get()).ok());
    EXPECT_GE(*tracker_->DirtyBytes(pids), *now);
  }
}

TEST_F(DirtyTrackerTest, AProcessThatIsBorrowedFromNoticesNothing) {
  StartWriter("calls");
  const size_t before = Descriptors();
  for (int i = 0; i < 200; ++i) {
    const auto fd = TakeRemoteUserfaultfd(child_);
    // At a bad moment it is left alone.
    ASSERT_TRUE(fd.ok() || fd.status().Is(StatusCode::kConflict)) << fd.status().ToString();
    ASSERT_TRUE(IsRunning()) << "a system call returned what it must not, round " << i;
    std::this_thread::sleep_for(std::chrono::microseconds(300 + i * 11));
  }
  EXPECT_EQ(Descriptors(), before);
}

TEST_F(DirtyTrackerTest, WhoeverBorrowsMayBeKilledAtAnyMoment) {
  StartWriter("calls");
  for (int i = 0; i < 60; ++i) {
    const pid_t borrower = fork();
    if (borrower == 0) {
      while (true) (void)TakeRemoteUserfaultfd(child_);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(500 + i * 97));
    kill(borrower, SIGKILL);
    ASSERT_EQ(waitpid(borrower, nullptr, 0), borrower);
    ASSERT_TRUE(IsRunning()) << "a system call returned what it must not, round " << i;
  }
  // The last one's helper may still be at work.
  EXPECT_TRUE(Eventually([&] { return TakeRemoteUserfaultfd(child_).ok(); }));
  std::this_thread::sleep_for(milliseconds(20));
  EXPECT_TRUE(IsRunning());
}

TEST_F(DirtyTrackerTest, AStoppedProcessIsLeftStopped) {
  StartWriter("quiet", "8");
  kill(child_, SIGSTOP);
  auto state = [&] {
    const std::string stat = Read(fmt::format("/proc/{}/stat", child_));
    return stat.substr(stat.rfind(')') + 2, 1);
  };
  ASSERT_TRUE(Eventually([&] { return state() == "T"; }));
  const auto fd = TakeRemoteUserfaultfd(child_);
  EXPECT_TRUE(fd.ok() || fd.status().Is(StatusCode::kConflict)) << fd.status().ToString();
  EXPECT_TRUE(Eventually([&] { return state() == "T"; })) << state();
  kill(child_, SIGCONT);
  kill(child_, SIGUSR1);
  EXPECT_TRUE(WaitForLines(2));
}

TEST_F(DirtyTrackerTest, AProcessThatIsTracedOrGoneIsRefused) {
  StartChild([] {
    ptrace(PTRACE_TRACEME);
    raise(SIGSTOP);
  });
  int status = 0;
  ASSERT_EQ(waitpid(child_, &status, WUNTRACED), child_);
  EXPECT_EQ(TakeRemoteUserfaultfd(child_).status().code(), StatusCode::kConflict);
  kill(child_, SIGKILL);
  ASSERT_EQ(waitpid(child_, nullptr, 0), child_);
  const auto gone = TakeRemoteUserfaultfd(std::exchange(child_, -1));
  EXPECT_EQ(gone.status().code(), StatusCode::kNotFound) << gone.status().ToString();
}

TEST_F(DirtyTrackerTest, AProcessUnderSeccompIsLeftAlone) {
  StartChild([] {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    while (true) {
    }
  });
  ASSERT_TRUE(Eventually([&] { return HasSeccompFilter(child_); }));
  EXPECT_EQ(TakeRemoteUserfaultfd(child_).status().code(), StatusCode::kUnsupported);
  EXPECT_TRUE(IsRunning());
}

// With a repository.
class TrackedCheckpoints : public DirtyTrackerTest {
 protected:
  void SetUp() override {
    DirtyTrackerTest::SetUp();
    if (IsSkipped()) return;
    RepositoryOptions options;
    options.location = Path("repo");
    options.cache_dir = Path("cache");
    options.memory_limit = 128 << 20;
    ASSERT_TRUE(Repository::Init(options).ok());
    auto repository = Repository::Open(options);
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

  void MakeCheckpointer(uint64_t store_beforehand_min) {
    checkpointer_.reset();
    Checkpointer::Options options{.config = *config_,
                                  .directory = Path("criu"),
                                  .log_path = Path("app.log"),
                                  .arena_limit = 1ull << 30,
                                  .store_beforehand_min = store_beforehand_min,
                                  .filter_library = filter_library_};
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
  tracker_->Attach(*pids);
  ASSERT_TRUE(tracker_->WatchedAnew().empty()) << "less than what is worth it";
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

}  // namespace
}  // namespace snapstore::agent
