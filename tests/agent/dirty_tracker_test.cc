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

#include "agent/hidden_pages.h"
#include "agent/process_tree.h"
#include "agent/remote_userfaultfd.h"
#include "base/random.h"
#include "base/status_macros.h"
#include "tests/agent/tracking_fixture.h"

namespace snapstore::agent {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

Result<UniqueFd> TakeRemoteUserfaultfd(pid_t pid) {
  UniqueFd taken;
  SNAP_RETURN_IF_ERROR(
      MakeRemoteUserfaultfd(pid, [&](UniqueFd userfaultfd) { taken = std::move(userfaultfd); }));
  return taken;
}

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
    Status added = AddHiddenPages(**hidden, arena_.get(), files, &passed_over);
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

}  // namespace
}  // namespace snapstore::agent
