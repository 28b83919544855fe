#include "agent/criu_driver.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/file.h"
#include "tests/agent/agent_fixture.h"
#include "tests/agent/memory_images.h"

namespace snapstore::agent {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class CriuDriverTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    auto arena = Arena::Create(1ull << 30);
    ASSERT_TRUE(arena.ok());
    arena_ = std::move(*arena);
    ASSERT_TRUE(arena_->Prepare(64 << 20).ok());
    std::filesystem::create_directory(Path("criu"));
  }

  std::unique_ptr<Cell> NewCell(std::vector<std::string> argv, bool start = true) {
    auto cell = Cell::Create(Options(std::move(argv)));
    EXPECT_TRUE(cell.ok()) << cell.status().ToString();
    if (!cell.ok()) return nullptr;
    if (start) {
      const Status status = (*cell)->StartApplication();
      EXPECT_TRUE(status.ok()) << status.ToString();
    }
    return std::move(*cell);
  }

  std::unique_ptr<Cell> RestoreInto(MemoryImages* images) {
    auto cell = NewCell({"true"}, /*start=*/false);
    const Status restored =
        criu_->Restore(cell.get(), Path("criu"), images, images->Get("pstree.img"));
    EXPECT_TRUE(restored.ok()) << restored.ToString() << "\n" << Read(Path("criu/restore.log"));
    return restored.ok() ? std::move(cell) : nullptr;
  }

  // A counter that keeps `megabytes` of memory with a pattern and appends its value to a log.
  std::vector<std::string> Counter(int megabytes = 8) {
    const std::string script = Write("counter.py", fmt::format(R"(
import time
memory = bytearray(b"snapstore!" * (({} << 20) // 10))
n = 0
log = open("{}", "a")
while True:
    n += 1
    memory[(n * 4096) % len(memory)] = n % 251
    log.write(f"{{n}}\n")
    log.flush()
    time.sleep(0.01)
)",
                                                               megabytes, Path("log")));
    return {"python3", script};
  }

  bool CounterPasses(int value) {
    return Eventually([&] {
      const auto lines = Lines(Path("log"));
      return !lines.empty() && std::stoi(lines.back()) > value;
    });
  }
  int CounterValue() {
    const auto lines = Lines(Path("log"));
    return lines.empty() ? 0 : std::stoi(lines.back());
  }

  static Status Nothing() { return Status::Ok(); }

  std::unique_ptr<Arena> arena_;
};

TEST_F(CriuDriverTest, CounterRunsOnAfterItsDumpAndGoesOnAfterItsRestore) {
  auto cell = NewCell(Counter());
  ASSERT_TRUE(CounterPasses(5));
  auto dumped = criu_->Dump(cell.get(), Path("criu"), arena_.get(), Nothing);
  ASSERT_TRUE(dumped.ok()) << dumped.status().ToString();
  EXPECT_GT(dumped->stats.frozen_us, 0u);
  const int at_dump = CounterValue();
  EXPECT_TRUE(CounterPasses(at_dump + 5)) << "it must run on";
  cell.reset();

  MemoryImages images(dumped->files);
  std::filesystem::resize_file(Path("log"), 0);
  auto restored = RestoreInto(&images);
  ASSERT_NE(restored, nullptr);
  ASSERT_TRUE(CounterPasses(at_dump));
  EXPECT_LE(std::abs(std::stoi(Lines(Path("log")).front()) - at_dump), 2);
  EXPECT_FALSE(restored->WaitForExit(milliseconds(20)).has_value());
}

TEST_F(CriuDriverTest, ARestoredApplicationCanBeDumpedAndRestoredAgain) {
  auto cell = NewCell(Counter());
  ASSERT_TRUE(CounterPasses(3));
  for (int round = 0; round < 3; ++round) {
    const int before = CounterValue();
    auto dumped = criu_->Dump(cell.get(), Path("criu"), arena_.get(), Nothing);
    ASSERT_TRUE(dumped.ok()) << "round " << round << ": " << dumped.status().ToString();
    MemoryImages images(dumped->files);
    arena_->Clear();
    cell = RestoreInto(&images);
    ASSERT_NE(cell, nullptr) << "round " << round;
    ASSERT_TRUE(CounterPasses(before + 3));
  }
}

TEST_F(CriuDriverTest, MemoryAndFilesAreOfOneInstant) {
  auto cell = NewCell(Counter());
  ASSERT_TRUE(CounterPasses(20));
  std::string log_at_dump;
  auto dumped = criu_->Dump(cell.get(), Path("criu"), arena_.get(), [&] {
    // Long enough for the counter to go on if it could.
    std::this_thread::sleep_for(milliseconds(100));
    log_at_dump = Read(Path("log"));
    return Status::Ok();
  });
  ASSERT_TRUE(dumped.ok()) << dumped.status().ToString();
  EXPECT_GE(dumped->stats.frozen_us, 100'000u);
  EXPECT_TRUE(CounterPasses(CounterValue()));
  cell.reset();

  Write("log", log_at_dump);
  const size_t lines_at_dump = Lines(Path("log")).size();
  MemoryImages images(dumped->files);
  auto restored = RestoreInto(&images);
  ASSERT_NE(restored, nullptr);
  ASSERT_TRUE(CounterPasses(static_cast<int>(lines_at_dump) + 5));
  const auto lines = Lines(Path("log"));
  for (size_t i = 0; i < lines.size(); ++i) {
    ASSERT_EQ(lines[i], std::to_string(i + 1)) << "a line is lost or doubled";
  }
}

TEST_F(CriuDriverTest, APipelineOfProcessesIsResumed) {
  auto cell = NewCell({"sh", "-c",
                       "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done | "
                       "sed -u 's/^/n/' | cat >> " +
                           Path("log")});
  ASSERT_TRUE(Eventually([&] { return Lines(Path("log")).size() > 5; }));
  auto dumped = criu_->Dump(cell.get(), Path("criu"), arena_.get(), Nothing);
  ASSERT_TRUE(dumped.ok()) << dumped.status().ToString();
  cell.reset();
  const size_t before = Lines(Path("log")).size();
  MemoryImages images(dumped->files);
  auto restored = RestoreInto(&images);
  ASSERT_NE(restored, nullptr);
  EXPECT_TRUE(Eventually([&] { return Lines(Path("log")).size() > before + 5; }));
}

TEST_F(CriuDriverTest, TheRestoredApplicationsExitIsReported) {
  auto cell =
      NewCell({"sh", "-c", "while [ ! -e " + Path("go") + " ]; do sleep 0.02; done; exit 9"});
  std::this_thread::sleep_for(milliseconds(100));
  auto dumped = criu_->Dump(cell.get(), Path("criu"), arena_.get(), Nothing);
  ASSERT_TRUE(dumped.ok()) << dumped.status().ToString();
  cell.reset();
  MemoryImages images(dumped->files);
  auto restored = RestoreInto(&images);
  ASSERT_NE(restored, nullptr);
  Write("go", "");
  const auto status = restored->WaitForExit(std::chrono::seconds(10));
  ASSERT_TRUE(status.has_value());
  EXPECT_EQ(DescribeWaitStatus(*status), "exit code 9");
}

TEST_F(CriuDriverTest, AnErrorWhileFrozenFailsTheDumpAndTheApplicationRunsOn) {
  auto cell = NewCell(Counter());
  ASSERT_TRUE(CounterPasses(3));
  auto dumped = criu_->Dump(cell.get(), Path("criu"), arena_.get(), [] {
    return Status::NotFound("external file /x: No such file or directory");
  });
  ASSERT_FALSE(dumped.ok());
  EXPECT_EQ(dumped.status().message(), "external file /x: No such file or directory");
  EXPECT_TRUE(CounterPasses(CounterValue() + 5));
  arena_->Clear();
  EXPECT_TRUE(criu_->Dump(cell.get(), Path("criu"), arena_.get(), Nothing).ok());
}

TEST_F(CriuDriverTest, AnArenaThatIsTooSmallAbortsTheDumpMidwayAndTheApplicationRunsOn) {
  auto small = Arena::Create(8 << 20);
  ASSERT_TRUE(small.ok());
  auto cell = NewCell(Counter(64));
  ASSERT_TRUE(CounterPasses(3));
  auto dumped = criu_->Dump(cell.get(), Path("criu"), small->get(), Nothing);
  ASSERT_FALSE(dumped.ok());
  EXPECT_EQ(dumped.status().code(), StatusCode::kNoSpace);
  EXPECT_THAT(dumped.status().message(), HasSubstr("does not fit"));
  EXPECT_TRUE(CounterPasses(CounterValue() + 5));
  EXPECT_TRUE(criu_->Dump(cell.get(), Path("criu"), arena_.get(), Nothing).ok());
}

TEST_F(CriuDriverTest, WhatCannotBeDumpedIsNamed) {
  const std::string script = Write("outside.py", R"(
import socket, time, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.connect(sys.argv[1])
print("connected", flush=True)
while True: time.sleep(1)
)");
  const std::string path = Path("peer.sock");
  UniqueFd listening(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listening.get(), 1), 0);
  auto cell = NewCell({"python3", script, path});
  UniqueFd peer(accept(listening.get(), nullptr, nullptr));
  ASSERT_TRUE(Eventually([&] { return Read(Path("app.log")) == "connected\n"; }));
  auto dumped = criu_->Dump(cell.get(), Path("criu"), arena_.get(), Nothing);
  ASSERT_FALSE(dumped.ok());
  EXPECT_THAT(dumped.status().message(), HasSubstr("stream unix connection"));
  EXPECT_FALSE(cell->WaitForExit(milliseconds(50)).has_value()) << "it must run on";
}

TEST_F(CriuDriverTest, ADamagedImageFailsTheRestoreWithAReason) {
  auto cell = NewCell(Counter());
  ASSERT_TRUE(CounterPasses(3));
  auto dumped = criu_->Dump(cell.get(), Path("criu"), arena_.get(), Nothing);
  ASSERT_TRUE(dumped.ok());
  cell.reset();
  std::vector<ArenaFile> files = dumped->files;
  std::erase_if(files, [](const ArenaFile& f) { return f.name.starts_with("core-"); });
  MemoryImages images(files);
  auto fresh = NewCell({"true"}, /*start=*/false);
  const Status restored =
      criu_->Restore(fresh.get(), Path("criu"), &images, images.Get("pstree.img"));
  ASSERT_FALSE(restored.ok());
  EXPECT_THAT(restored.message(), HasSubstr("criu restore: "));
}

TEST_F(CriuDriverTest, ReadsAtTheSpeedOfMemoryWhileFrozen) {
  auto cell = NewCell(Counter(256));
  ASSERT_TRUE(CounterPasses(3));
  ASSERT_TRUE(arena_->Prepare(400 << 20).ok());
  auto dumped = criu_->Dump(cell.get(), Path("criu"), arena_.get(), Nothing);
  ASSERT_TRUE(dumped.ok()) << dumped.status().ToString();
  EXPECT_EQ(arena_->grown(), 0u) << "no memory is to be got while frozen";
  RecordProperty("frozen_us_256_mib", static_cast<int>(dumped->stats.frozen_us));
  std::cout << "frozen for 256 MiB: " << dumped->stats.frozen_us / 1000 << " ms\n";
}

}  // namespace
}  // namespace snapstore::agent
