// Dumps for which CRIU passes over unchanged pages, against whole ones of the same instant.
#include "agent/criu_filter.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>

#include "agent/checkpoint_image.h"
#include "agent/dirty_tracker.h"
#include "agent/dump_rescue.h"
#include "agent/hidden_pages.h"
#include "agent/process_tree.h"
#include "base/status_macros.h"
#include "tests/agent/restart_fixture.h"
#include "tests/agent/tracking_fixture.h"

namespace snapstore::agent {
namespace {

using PageContents = std::map<uint64_t, std::string>;

struct MemoryOf {
  std::vector<PageRun> runs;
  PageContents pages;
};
using Memory = std::map<std::string, MemoryOf>;  // by page map

// What `source` holds, or takes over from `parent`.
void AddContent(const MemorySource& source, Memory* parent, Memory* memory) {
  if (!source.name.starts_with(kMemoryFolder)) return;
  const std::string rest = source.name.substr(std::string_view(kMemoryFolder).size());
  const size_t slash = rest.find('/');
  const std::string name = rest.substr(0, slash);
  const uint64_t window = std::stoull(rest.substr(slash + 1), nullptr, 16);
  PageContents& pages = (*memory)[name].pages;
  for (const MemorySource::Extent& extent : source.extents) {
    for (uint64_t at = 0; at < extent.bytes.size(); at += kPageBytes) {
      pages[window + extent.offset + at] = AsText(extent.bytes.subspan(at, kPageBytes));
    }
    for (uint64_t at = 0; at < extent.unchanged; at += kPageBytes) {
      const uint64_t address = window + extent.offset + at;
      ASSERT_TRUE((*parent)[name].pages.contains(address)) << fmt::format("{:x}", address);
      pages[address] = (*parent)[name].pages[address];
    }
  }
}

class CriuFilterTest : public DirtyTrackerTest {
 protected:
  void SetUp() override {
    DirtyTrackerTest::SetUp();
    if (IsSkipped()) return;
    // A network of its own: CRIU's tables are seen by all in one.
    network_ = UniqueFd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    ASSERT_EQ(system("ip link set lo up"), 0);
    ASSERT_NO_FATAL_FAILURE(StartCell({MEMORY_ZOO, Path("mapped")}));
    ASSERT_TRUE(WaitForLines(1));
  }
  void TearDown() override {
    cell_.reset();
    if (network_.valid()) setns(network_.get(), CLONE_NEWNET);
    DirtyTrackerTest::TearDown();
  }

  // The tables that CRIU has made in the network of the cell.
  std::string Tables() {
    std::filesystem::create_directory(Path("tables"));
    EXPECT_TRUE(DumpRescue(Path("tables")).Begin(*cell_).ok());
    return Read(Path("tables/locks-before"));
  }

  void Change() {
    kill(DescendantsOf(cell_->init_pid())->front(), SIGUSR1);
    ASSERT_TRUE(WaitForLines(2));
  }

  // With `known` pages passed over as far as they are unchanged. Empty: it failed.
  Memory Dump(const std::string& library, const PagesByProcess& known, Memory* parent) {
    arena_->Clear();
    tracker_->Attach(*DescendantsOf(cell_->init_pid()));
    CriuFilter filter(library, Path("criu"));
    EXPECT_TRUE(filter.Prepare(known).ok());
    CapturePlan plan;
    plan.environment = filter.Environment();
    hidden_.clear();
    std::optional<PagesByProcess> hidden;
    plan.complete = [&](std::vector<ArenaFile>* files) -> Status {
      SNAP_RETURN_IF_ERROR(tracker_->Complete(files, arena_.get()));
      SNAP_ASSIGN_OR_RETURN(hidden, filter.Hidden());
      if (!hidden) return Status::Ok();
      return AddHiddenPages(*hidden, arena_.get(), files, &hidden_);
    };
    auto dumped = criu_->Dump(
        cell_.get(), Path("criu"), arena_.get(),
        [&] {
          tables_ = Tables();
          return Status::Ok();
        },
        &plan);
    EXPECT_TRUE(dumped.ok()) << dumped.status().ToString();
    if (!dumped.ok()) return {};
    took_effect_ = hidden.has_value();
    pages_written_ = dumped->stats.pages_written;
    Memory memory;
    const auto sources = ImageSources(dumped->files, hidden_, &placed_);
    EXPECT_TRUE(sources.ok()) << sources.status().ToString();
    if (!sources.ok()) return {};
    for (const MemorySource& source : *sources) AddContent(source, parent, &memory);
    for (const ArenaFile& file : dumped->files) {
      if (!memory.contains(file.name)) continue;
      const auto map = Pagemap::Parse(Flatten(file));
      EXPECT_TRUE(map.ok() && map->ascending) << file.name;
      if (map.ok()) memory[file.name].runs = map->runs;
    }
    return memory;
  }

  void ExpectSame(const Memory& a, const Memory& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, memory] : a) {
      SCOPED_TRACE(name);
      ASSERT_TRUE(b.contains(name));
      const MemoryOf& other = b.at(name);
      ASSERT_EQ(memory.runs.size(), other.runs.size());
      for (size_t i = 0; i < memory.runs.size(); ++i) {
        ASSERT_EQ(memory.runs[i].address, other.runs[i].address);
        ASSERT_EQ(memory.runs[i].bytes, other.runs[i].bytes);
        ASSERT_EQ(memory.runs[i].lazy, other.runs[i].lazy)
            << fmt::format("{:x}", other.runs[i].address);
      }
      ASSERT_EQ(memory.pages.size(), other.pages.size());
      for (const auto& [address, page] : memory.pages) {
        const auto same = other.pages.find(address);
        ASSERT_TRUE(same != other.pages.end() && same->second == page)
            << fmt::format("{:x}", address);
      }
    }
  }

  UniqueFd network_;  // the test's own
  // Of the last dump:
  PagesByMap hidden_;
  PagesByMap placed_;
  bool took_effect_ = false;
  std::string tables_;  // while frozen
  uint64_t pages_written_ = 0;
};

TEST_F(CriuFilterTest, WithWhatWasHiddenADumpIsTheSameAsAWholeOne) {
  const std::string library = CriuFilter::FindLibrary();
  ASSERT_NE(library, "");
  Memory none;
  Memory first = Dump(library, {}, &none);
  ASSERT_FALSE(first.empty());
  EXPECT_TRUE(took_effect_);
  EXPECT_TRUE(hidden_.empty());
  tracker_->Committed(placed_);
  Change();

  const Memory less = Dump(library, tracker_->Known(), &first);
  ASSERT_FALSE(less.empty());
  const PagesByMap hidden = hidden_;
  const uint64_t written = pages_written_;
  const Memory whole = Dump(library, {}, &none);
  ExpectSame(less, whole);

  ASSERT_EQ(hidden.size(), 1u) << "the child is not tracked";
  const auto& [name, pages] = *hidden.begin();
  EXPECT_GT(pages.bytes(), 24u << 20);
  EXPECT_LE(written + pages.bytes() / kPageBytes, pages_written_);
  EXPECT_TRUE(pages.Subtract(tracker_->Unchanged()[name]).empty());
  AddressSet locked;
  for (const PageRun& run : whole.at(name).runs) {
    if (!run.lazy) locked.Append(run.address, run.address + run.bytes);
  }
  EXPECT_FALSE(pages.Intersect(locked).empty()) << "no memory that must not come later was hidden";
}

TEST_F(CriuFilterTest, ALibraryThatCannotBeLoadedHidesNothing) {
  Memory none;
  ASSERT_FALSE(Dump(CriuFilter::FindLibrary(), {}, &none).empty());
  EXPECT_TRUE(took_effect_);
  tracker_->Committed(placed_);
  const uint64_t written = pages_written_;
  ASSERT_FALSE(Dump(Path("missing.so"), tracker_->Known(), &none).empty());
  EXPECT_FALSE(took_effect_);
  EXPECT_GE(pages_written_ + 100, written);
  EXPECT_FALSE(Dump(Write("damaged.so",
                          "\x7f"
                          "ELF"),
                    tracker_->Known(), &none)
                   .empty());
  EXPECT_FALSE(took_effect_);
}

TEST_F(CriuFilterTest, AListOfKnownPagesThatIsDamagedIsNotBelieved) {
  const std::string library = CriuFilter::FindLibrary();
  Memory none;
  ASSERT_FALSE(Dump(library, {}, &none).empty());
  CriuFilter filter(library, Path("criu"));
  PagesByProcess known;
  known[2].Append(0, uint64_t{1} << 47);
  ASSERT_TRUE(filter.Prepare(known).ok());
  std::filesystem::resize_file(Path("criu/known-pages"), 40);
  CapturePlan plan;
  plan.environment = filter.Environment();
  plan.complete = [](std::vector<ArenaFile>*) { return Status::Ok(); };
  arena_->Clear();
  const auto dumped = criu_->Dump(
      cell_.get(), Path("criu"), arena_.get(), [] { return Status::Ok(); }, &plan);
  ASSERT_TRUE(dumped.ok()) << dumped.status().ToString();
  const auto hidden = filter.Hidden();
  EXPECT_TRUE(hidden.ok() && !hidden->has_value());
}

// From the first process on, since there the kernel has been asked for nothing yet.
TEST_F(CriuFilterTest, MemoryThatNobodyWatchesIsNotHidden) {
  Memory none;
  PagesByProcess known;
  known[cell_->root_pid()].Append(0, uint64_t{1} << 47);
  ASSERT_FALSE(Dump(CriuFilter::FindLibrary(), known, &none).empty());
  EXPECT_TRUE(took_effect_);
  EXPECT_TRUE(hidden_.empty());
}

TEST_F(CriuFilterTest, NoTableIsMadeForAnApplicationWithoutConnections) {
  Memory none;
  ASSERT_FALSE(Dump(CriuFilter::FindLibrary(), {}, &none).empty());
  EXPECT_EQ(tables_, "");
  ASSERT_FALSE(Dump(Path("missing.so"), {}, &none).empty());
  EXPECT_NE(tables_, "");
  EXPECT_EQ(Tables(), "");
}

class FilteredRestoreTest : public RestartFixture {};

TEST_F(FilteredRestoreTest, ACheckpointOfWhichMuchWasHiddenComesBackWholeAndLazily) {
  StartAgent(std::string(MEMORY_ZOO) + " " + Path("mapped"), {LazyChoice::kOff});
  const std::string log = Path("state/app.log");
  size_t lines = 1;
  auto ask = [&](int signal_number) {
    EXPECT_TRUE(Eventually([&] { return Lines(log).size() >= lines; }));
    const auto pids = DescendantsOf(supervisor_->status().pid);
    EXPECT_TRUE(pids.ok() && !pids->empty());
    if (pids.ok() && !pids->empty()) kill(pids->front(), signal_number);
    ++lines;
    EXPECT_TRUE(Eventually([&] { return Lines(log).size() >= lines; }));
    return Lines(log).back();
  };
  ASSERT_TRUE(Eventually([&] { return Lines(log).size() == 1; }));
  ASSERT_TRUE(supervisor_->RequestCheckpoint().status.ok());
  EXPECT_EQ(ask(SIGUSR1), "changed");
  const std::string sum = ask(SIGUSR2);
  ASSERT_EQ(sum.size(), 16u);
  const CheckpointRecord second = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(second.status.ok()) << second.status.ToString();
  EXPECT_LT(second.bytes_read + (16u << 20), second.bytes_captured);
  for (const LazyChoice choice : {LazyChoice::kOff, LazyChoice::kOn}) {
    EndAgent();
    StartAgent("true", {choice});
    EXPECT_EQ(supervisor_->status().restored_from, second.snapshot_id);
    EXPECT_EQ(ask(SIGUSR2), sum);
  }
}

}  // namespace
}  // namespace snapstore::agent
