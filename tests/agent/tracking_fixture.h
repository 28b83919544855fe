// What the tests of tracked memory share: an application in a cell or a child of the test's own,
// and what its pages hold.
#ifndef SNAPSTORE_TESTS_AGENT_TRACKING_FIXTURE_H_
#define SNAPSTORE_TESTS_AGENT_TRACKING_FIXTURE_H_

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/criu_image.h"
#include "agent/dirty_tracker.h"
#include "base/file.h"
#include "tests/agent/agent_fixture.h"

namespace snapstore::agent {

// A page's address and what it holds, in short.
using PageHashes = std::map<uint64_t, size_t>;

inline size_t HashOf(ByteSpan page) { return std::hash<std::string_view>()(AsText(page)); }

// What a process holds at these addresses now, by other means than the tracker's.
inline PageHashes HashesInProcess(pid_t pid, const Pagemap& map) {
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

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TESTS_AGENT_TRACKING_FIXTURE_H_
