// Applications that run before their memory has arrived, with real processes and CRIU.
#include "agent/lazy_restore.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <future>
#include <map>
#include <mutex>

#include "agent/criu_driver.h"
#include "base/file.h"
#include "tests/agent/agent_fixture.h"
#include "tests/agent/send_descriptor.h"
#include "tests/base/temp_folder.h"

namespace snapstore::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

// Of the first process in a cell.
constexpr int kInnerPid = 2;
// What one touch brings at most; longer reads are those that fill in the rest.
constexpr size_t kTouchBytesMax = 16 << 10;

// Images and pages from captured memory. The rest is filled in only when allowed.
class CapturedImages : public ImageSource, public LazyMemory {
 public:
  explicit CapturedImages(const std::vector<ArenaFile>& files) {
    for (const ArenaFile& file : files) {
      Bytes& bytes = images_[file.name];
      for (const auto& part : file.parts) bytes.insert(bytes.end(), part.begin(), part.end());
    }
    // As CheckpointReader does, wherever the stack pointer happens to be.
    Bytes& pagemap = images_[fmt::format("pagemap-{}.img", kInnerPid)];
    const auto map = Pagemap::Parse(pagemap);
    const auto areas = ParseMappings(images_[fmt::format("mm-{}.img", kInnerPid)]);
    if (map.ok() && areas.ok()) pagemap = WithLazyOf(*map, *areas).ToImage();
  }
  const Bytes& Get(const std::string& name) { return images_[name]; }

  bool Has(const std::string& name) const override { return images_.contains(name); }
  Status WriteTo(const std::string& name, int fd) override {
    for (const auto& [map_name, image] : images_) {
      if (!map_name.starts_with("pagemap-")) continue;
      const auto map = Pagemap::Parse(image);
      if (!map.ok()) return map.status();
      if (fmt::format("pages-{}.img", map->pages_id) != name) continue;
      uint64_t at = 0;
      for (const PageRun& run : map->runs) {
        const ByteSpan bytes = ByteSpan(images_.at(name)).subspan(at, run.bytes);
        at += run.bytes;
        if (run.lazy) continue;
        if (Status status = WriteFull(fd, bytes, name); !status.ok()) return status;
      }
      return Status::Ok();
    }
    return WriteFull(fd, images_.at(name), name);
  }

  std::vector<PageRun> LazyRuns(int pid) const override {
    const auto found = images_.find(fmt::format("pagemap-{}.img", pid));
    if (found == images_.end()) return {};
    auto map = Pagemap::Parse(found->second);
    std::erase_if(map->runs, [](const PageRun& run) { return !run.lazy; });
    return map->runs;
  }
  Status VisitTouched(int pid, uint64_t touched, uint64_t, uint64_t,
                      const MemoryVisitor& visit) override {
    return VisitLazy(pid, touched, kPageBytes, visit);
  }
  Status VisitLazy(int pid, uint64_t address, uint64_t length,
                   const MemoryVisitor& visit) override {
    if (length > kTouchBytesMax) {
      std::unique_lock lock(mutex_);
      ++waiting_;
      allowed_.wait(lock, [this] { return may_fill_; });
    }
    if (fails_) return Status::Corruption("the store has gone bad");
    const auto map = Pagemap::Parse(images_.at(fmt::format("pagemap-{}.img", pid)));
    const Bytes& pages = images_.at(fmt::format("pages-{}.img", map->pages_id));
    uint64_t at = 0;
    for (const PageRun& run : map->runs) {
      if (address >= run.address && address + length <= run.address + run.bytes) {
        return visit(
            {address, length, ByteSpan(pages).subspan(at + address - run.address, length)});
      }
      at += run.bytes;
    }
    return Status::Internal("not within one run");
  }
  // Whether somebody wants more than a touch.
  bool FillWaits() {
    const std::lock_guard lock(mutex_);
    return waiting_ > 0;
  }

  void AllowFill() {
    const std::lock_guard lock(mutex_);
    may_fill_ = true;
    allowed_.notify_all();
  }
  void Fail() { fails_ = true; }

 private:
  std::map<std::string, Bytes> images_;
  std::atomic<bool> fails_ = false;
  std::mutex mutex_;
  std::condition_variable allowed_;
  bool may_fill_ = false;
  int waiting_ = 0;
};

// Marks every page of several mappings. When `go` appears, it does to them what programs do to
// memory, looks at everything, and writes what it found.
constexpr const char* kApplication = R"(
import ctypes, mmap, os, sys, time
folder = sys.argv[1]
PAGE, MIB = 4096, 1 << 20

def mapping(mib):
    m = mmap.mmap(-1, mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(mib * MIB // PAGE):
        m[page * PAGE:page * PAGE + 8] = (page + 1).to_bytes(8, "little")
    return m

def wrong(m, begin, end):
    return sum(1 for page in range(begin, end)
               if int.from_bytes(m[page * PAGE:page * PAGE + 8], "little") != page + 1)

def wait(name):
    while not os.path.exists(f"{folder}/{name}"):
        time.sleep(0.005)

def say(name, text):
    with open(f"{folder}/{name}.new", "w") as f:
        f.write(text)
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}")

heap, moved, gone, dropped = mapping(16), mapping(4), mapping(4), mapping(4)
# Neighbours in one run of pages, but not in one mapping.
parted = mapping(4)
libc = ctypes.CDLL(None)
for part in range(0, 1024, 2):
    libc.mprotect(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(parted)) + part * PAGE),
                  ctypes.c_size_t(PAGE), mmap.PROT_READ)
say("ready", "")
wait("go")
found = [f"touched {wrong(heap, 1000, 1010)}"]
child = os.fork()
if child == 0:
    os._exit(wrong(heap, 2000, 2100) + (7 if heap[3000 * PAGE] != 3001 % 256 else 0))
found.append(f"child {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
stays = os.fork()
if stays == 0:
    wait("again")
    say("stayed", f"stayed {wrong(heap, 0, 4096)}")
    os._exit(0)
gone.close()
moved.resize(64 * MIB)
found.append(f"moved {wrong(moved, 0, 1024)} {sum(moved[5 * MIB:6 * MIB])}")
dropped.madvise(mmap.MADV_DONTNEED, MIB, MIB)
found.append(f"dropped {sum(dropped[MIB:2 * MIB])} {wrong(dropped, 0, 256)}")
fresh = mmap.mmap(-1, 4 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
found.append(f"fresh {sum(fresh[:MIB])}")
say("found", ", ".join(found))
wait("again")
os.waitpid(stays, 0)
say("whole", f"{wrong(heap, 0, 4096)} {wrong(moved, 0, 1024)} {sum(dropped[MIB:2 * MIB])}"
             f" {wrong(dropped, 0, 256)} {wrong(dropped, 512, 1024)} {wrong(parted, 0, 1024)}")
wait("never")
)";

// One page of this process, whose content is a page of fives.
class OnePage : public LazyMemory {
 public:
  OnePage() {
    void* const page =
        mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page_ = static_cast<uint8_t*>(page);
    userfaultfd_.Reset(
        static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
    uffdio_api api{};
    api.api = UFFD_API;
    uffdio_register registered{};
    registered.range = {reinterpret_cast<uint64_t>(page), kPageBytes};
    registered.mode = UFFDIO_REGISTER_MODE_MISSING;
    good_ = ioctl(userfaultfd_.get(), UFFDIO_API, &api) == 0 &&
            ioctl(userfaultfd_.get(), UFFDIO_REGISTER, &registered) == 0;
  }
  ~OnePage() override { munmap(page_, kPageBytes); }
  bool good() const { return good_; }
  const uint8_t* page() const { return page_; }

  // As CRIU's restore does.
  bool HandOver(const std::string& directory) {
    const UniqueFd connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (directory + "/lazy-pages.socket").copy(address.sun_path, sizeof(address.sun_path) - 1);
    const int32_t pid = getpid();
    if (connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        send(connection.get(), &pid, sizeof(pid), 0) != sizeof(pid)) {
      return false;
    }
    const bool sent = SendDescriptor(connection.get(), userfaultfd_.get());
    userfaultfd_.Reset();
    return sent;
  }

  std::vector<PageRun> LazyRuns(int) const override {
    return {{reinterpret_cast<uint64_t>(page_), kPageBytes, true}};
  }
  Status VisitLazy(int, uint64_t address, uint64_t length, const MemoryVisitor& visit) override {
    const Bytes bytes(length, 5);
    return visit({address, length, bytes});
  }
  Status VisitTouched(int pid, uint64_t touched, uint64_t, uint64_t,
                      const MemoryVisitor& visit) override {
    return VisitLazy(pid, touched, kPageBytes, visit);
  }

 private:
  uint8_t* page_ = nullptr;
  UniqueFd userfaultfd_;
  bool good_ = false;
};

TEST(LazyRestoreEndTest, IsNotReachedBeforeAllThatCriuSaidIsHeard) {
  const TempFolder folder;
  const pid_t cell = fork();
  if (cell == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (true) pause();
  }
  for (int round = 0; round < 100; ++round) {
    const auto memory = std::make_shared<OnePage>();
    if (!memory->good()) break;
    auto lazy = LazyRestore::Create(folder.path(), cell, memory);
    ASSERT_TRUE(lazy.ok()) << lazy.status().ToString();
    (*lazy)->FillBeforehand();
    ASSERT_TRUE(memory->HandOver(folder.path()));
    ASSERT_TRUE((*lazy)->FinishBeforehand().ok());
    ASSERT_EQ((*lazy)->progress().bytes, kPageBytes) << "round " << round;
    ASSERT_EQ(memory->page()[round], 5);
  }
  kill(cell, SIGKILL);
  waitpid(cell, nullptr, 0);
}

class LazyRestoreTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    auto arena = Arena::Create(256 << 20);
    ASSERT_TRUE(arena.ok());
    arena_ = std::move(*arena);
    std::filesystem::create_directory(Path("criu"));
    script_ = Write("application.py", kApplication);
    DumpApplication();
  }
  void TearDown() override {
    if (images_ != nullptr) images_->AllowFill();
    // In this order: no page is to become zero.
    cell_.reset();
    lazy_.reset();
    CriuFixture::TearDown();
  }

  void DumpApplication() {
    auto cell = Cell::Create(Options({"python3", script_, directory_}));
    ASSERT_TRUE(cell.ok()) << cell.status().ToString();
    ASSERT_TRUE((*cell)->StartApplication().ok());
    ASSERT_TRUE(Eventually([&] { return Exists("ready"); }));
    auto dumped = criu_->Dump(cell->get(), Path("criu"), arena_.get(), [] { return Status::Ok(); });
    ASSERT_TRUE(dumped.ok()) << dumped.status().ToString();
    images_ = std::make_shared<CapturedImages>(dumped->files);
    arena_->Clear();
    ASSERT_FALSE(images_->LazyRuns(kInnerPid).empty());
  }

  void PrepareRestore() {
    auto cell = Cell::Create(Options({"true"}));
    ASSERT_TRUE(cell.ok());
    cell_ = std::move(*cell);
    auto lazy = LazyRestore::Create(Path("criu"), cell_->init_pid(), images_);
    ASSERT_TRUE(lazy.ok()) << lazy.status().ToString();
    lazy_ = std::move(*lazy);
  }

  Status RunCriu(std::function<Status()> before_resume = nullptr) {
    return criu_->Restore(cell_.get(), Path("criu"), images_.get(), images_->Get("pstree.img"),
                          {.lazy = true, .before_resume = std::move(before_resume)});
  }

  void Restore() {
    ASSERT_NO_FATAL_FAILURE(PrepareRestore());
    const Status restored = RunCriu();
    ASSERT_TRUE(restored.ok()) << restored.ToString();
  }

  // With all memory first.
  Status RestoreWhole() {
    lazy_->FillBeforehand();
    return RunCriu([this] { return lazy_->FinishBeforehand(); });
  }

  bool Exists(const std::string& name) { return std::filesystem::exists(Path(name)); }

  std::unique_ptr<Arena> arena_;
  std::shared_ptr<CapturedImages> images_;
  std::string script_;
  std::unique_ptr<LazyRestore> lazy_;
  std::unique_ptr<Cell> cell_;
};

TEST_F(LazyRestoreTest, MemoryThatIsStillMissingCanBeUsedMovedDroppedAndForked) {
  Restore();
  lazy_->Fill();
  EXPECT_GE(lazy_->progress().bytes, 28u << 20);
  Write("go", "");
  ASSERT_TRUE(Eventually([&] { return Exists("found"); }));
  EXPECT_EQ(Read(Path("found")), "touched 0, child 0, moved 0 0, dropped 0 0, fresh 0");
  const LazyProgress before = lazy_->progress();
  EXPECT_FALSE(before.done);
  EXPECT_TRUE(before.status.ok()) << before.status.ToString();
  EXPECT_GT(before.missing_bytes, 10u << 20) << "most of it was never touched";
  EXPECT_GT(before.touched, 10u);

  images_->AllowFill();
  pollfd event{lazy_->event_fd(), POLLIN, 0};
  ASSERT_EQ(poll(&event, 1, 60'000), 1);
  EXPECT_TRUE(lazy_->progress().done) << lazy_->progress().status.ToString();
  EXPECT_EQ(lazy_->progress().missing_bytes, 0u);
  lazy_.reset();
  Write("again", "");
  ASSERT_TRUE(Eventually([&] { return Exists("whole"); }));
  EXPECT_EQ(Read(Path("stayed")), "stayed 0") << "a forked child has memory of its own";
  EXPECT_EQ(Read(Path("whole")), "0 0 0 0 0 0");
  EXPECT_FALSE(cell_->WaitForExit(milliseconds(20)).has_value());
  auto again = criu_->Dump(cell_.get(), Path("criu"), arena_.get(), [] { return Status::Ok(); });
  EXPECT_TRUE(again.ok()) << again.status().ToString();
}

TEST_F(LazyRestoreTest, AnApplicationThatEndsWithoutItsMemoryIsNotWaitedFor) {
  Restore();
  Write("go", "");
  ASSERT_TRUE(Eventually([&] { return Exists("found"); }));
  cell_->Kill();
  lazy_->Fill();
  images_->AllowFill();
  ASSERT_TRUE(Eventually([&] { return lazy_->progress().done; }));
}

TEST_F(LazyRestoreTest, WhenAPageCannotBeHadTheCellIsEndedAndNoZerosAreSeen) {
  Restore();
  lazy_->Fill();
  images_->Fail();
  Write("go", "");
  pollfd event{lazy_->event_fd(), POLLIN, 0};
  ASSERT_EQ(poll(&event, 1, 60'000), 1);
  EXPECT_THAT(lazy_->progress().status.message(), HasSubstr("the store has gone bad"));
  EXPECT_TRUE(cell_->WaitForExit(seconds(10)).has_value());
  EXPECT_FALSE(Exists("found"));
}

TEST_F(LazyRestoreTest, AFailureWhileCriuIsAtWorkFailsTheRestore) {
  images_->Fail();
  ASSERT_NO_FATAL_FAILURE(PrepareRestore());
  (void)RunCriu();
  Write("go", "");
  EXPECT_TRUE(cell_->WaitForExit(seconds(10)).has_value());
  EXPECT_FALSE(lazy_->progress().status.ok());
  EXPECT_FALSE(Exists("found"));
}

TEST_F(LazyRestoreTest, WithAllMemoryFirstNothingRunsBefore) {
  ASSERT_NO_FATAL_FAILURE(PrepareRestore());
  Write("go", "");
  auto restored = std::async(std::launch::async, [this] { return RestoreWhole(); });
  ASSERT_TRUE(Eventually([&] { return images_->FillWaits(); }));
  EXPECT_EQ(restored.wait_for(milliseconds(500)), std::future_status::timeout);
  EXPECT_FALSE(Exists("found"));
  EXPECT_FALSE(lazy_->progress().done);
  images_->AllowFill();
  const Status status = restored.get();
  ASSERT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(lazy_->progress().done);
  EXPECT_EQ(lazy_->progress().missing_bytes, 0u);
  lazy_.reset();
  Write("again", "");
  ASSERT_TRUE(Eventually([&] { return Exists("whole"); }));
  EXPECT_EQ(Read(Path("found")), "touched 0, child 0, moved 0 0, dropped 0 0, fresh 0");
  EXPECT_EQ(Read(Path("whole")), "0 0 0 0 0 0");
}

TEST_F(LazyRestoreTest, WithAllMemoryFirstAFailureFailsTheRestoreAndNothingRuns) {
  ASSERT_NO_FATAL_FAILURE(PrepareRestore());
  Write("go", "");
  images_->Fail();
  images_->AllowFill();
  EXPECT_FALSE(RestoreWhole().ok());
  EXPECT_THAT(lazy_->progress().status.message(), HasSubstr("the store has gone bad"));
  EXPECT_TRUE(cell_->WaitForExit(seconds(10)).has_value());
  EXPECT_FALSE(Exists("found"));
}

TEST_F(LazyRestoreTest, WithoutItsAgentTheCellEnds) {
  Restore();
  auto guard = LazyGuard::Start(cell_->init_pid());
  ASSERT_TRUE(guard.ok()) << guard.status().ToString();
  (*guard)->Release();
  EXPECT_FALSE(cell_->WaitForExit(milliseconds(50)).has_value());
  // As when the agent is killed: the guard's socket closes.
  lazy_.reset();
  EXPECT_TRUE(cell_->WaitForExit(seconds(10)).has_value());
  EXPECT_FALSE(Exists("found"));
}

}  // namespace
}  // namespace snapstore::agent
