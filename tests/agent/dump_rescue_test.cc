// CRIU that dies or hangs in the middle of a dump: the application runs on and keeps its
// connections.
#include "agent/dump_rescue.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <cstdlib>
#include <random>

#include "agent/criu_filter.h"
#include "agent/process_tree.h"
#include "base/unique_fd.h"
#include "tests/agent/agent_fixture.h"

namespace snapstore::agent {
namespace {

using std::chrono::milliseconds;

// Counts, and answers every line on a connection with the count.
constexpr const char* kServer = R"(
import socket, sys, threading, time
memory = bytearray(b"0123456789abcdef" * (4 << 20))
n = 0
def serve():
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    open(sys.argv[1] + ".new", "w").write(str(server.getsockname()[1]))
    import os
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    while True:
        peer, _ = server.accept()
        try:
            while peer.recv(100):
                peer.sendall(b"%d\n" % n)
        except OSError:
            pass
threading.Thread(target=serve, daemon=True).start()
while True:
    n += 1
    memory[(n * 4096) % len(memory)] = n % 251
    time.sleep(0.005)
)";

class DumpRescueTest : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    auto arena = Arena::Create(1ull << 30);
    ASSERT_TRUE(arena.ok());
    arena_ = std::move(*arena);
    ASSERT_TRUE(arena_->Prepare(128 << 20).ok());
    std::filesystem::create_directory(Path("criu"));
    StartServer();
    criu_->set_patience({.silence = milliseconds(1500), .end = milliseconds(500)});
  }
  void TearDown() override {
    cell_.reset();
    CriuFixture::TearDown();
  }

  void StartServer() {
    cell_.reset();
    std::filesystem::remove(Path("port"));
    auto cell = Cell::Create(Options({"python3", Write("server.py", kServer), Path("port")}));
    ASSERT_TRUE(cell.ok()) << cell.status().ToString();
    cell_ = std::move(*cell);
    ASSERT_TRUE(cell_->StartApplication().ok());
    ASSERT_TRUE(Eventually([&] { return !Read(Path("port")).empty(); }));
    Connect();
    ASSERT_GE(Ask(), 0);
  }
  void Connect() {
    client_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(Read(Path("port")))));
    ASSERT_EQ(connect(client_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const timeval timeout{10, 0};
    setsockopt(client_.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  }
  // Its count, over the same connection each time; -1 when none comes.
  int Ask() {
    char text[32] = {};
    if (send(client_.get(), "?", 1, MSG_NOSIGNAL) != 1) return -1;
    const ssize_t got = recv(client_.get(), text, sizeof(text) - 1, 0);
    return got > 0 ? std::stoi(text) : -1;
  }
  void ExpectItRunsOn() {
    const int before = Ask();
    ASSERT_GE(before, 0) << "the connection is cut off";
    EXPECT_TRUE(Eventually([&] { return Ask() > before; }));
  }

  // The processes of CRIU: in the cell, but not of the application.
  std::vector<pid_t> Criu() {
    std::vector<pid_t> found;
    const auto descendants = DescendantsOf(getpid());
    for (const pid_t pid : *descendants) {
      const std::string words = Read(fmt::format("/proc/{}/cmdline", pid));
      if (words.find("criu") != std::string::npos && words.find("--stream") != std::string::npos) {
        found.push_back(pid);
      }
    }
    return found;
  }
  void SignalCriu(int number) {
    for (const pid_t pid : Criu()) kill(pid, number);
  }

  // As the agent does it.
  Status Dump(const std::function<Status()>& while_frozen) {
    arena_->Clear();
    CriuFilter filter(CriuFilter::FindLibrary(), Path("criu"));
    EXPECT_TRUE(filter.Prepare({}).ok());
    CapturePlan plan;
    if (filtered_) plan.environment = filter.Environment();
    return criu_->Dump(cell_.get(), Path("criu"), arena_.get(), while_frozen, &plan).status();
  }
  void ExpectTheNextDumpSucceeds() {
    const Status dumped = Dump([] { return Status::Ok(); });
    EXPECT_TRUE(dumped.ok()) << dumped.ToString();
    ExpectItRunsOn();
  }

  std::unique_ptr<Arena> arena_;
  std::unique_ptr<Cell> cell_;
  UniqueFd client_;
  bool filtered_ = true;
};

TEST_F(DumpRescueTest, WhatPeersSendMeanwhileIsNotTakenAndComesLater) {
  for (const bool filtered : {true, false}) {
    filtered_ = filtered;
    int waiting = 0;
    const Status dumped = Dump([&] {
      EXPECT_EQ(send(client_.get(), "?", 1, MSG_NOSIGNAL), 1);
      EXPECT_EQ(ioctl(client_.get(), SIOCOUTQ, &waiting), 0);
      return Status::Ok();
    });
    EXPECT_TRUE(dumped.ok()) << dumped.ToString();
    EXPECT_EQ(waiting, 1) << "the connection was not locked";
    char text[32];
    EXPECT_GT(recv(client_.get(), text, sizeof(text), 0), 0);
    ExpectItRunsOn();
  }
}

TEST_F(DumpRescueTest, AKilledCriuLeavesTheApplicationRunningAndItsNetworkOpen) {
  const Status dumped = Dump([&] {
    SignalCriu(SIGKILL);
    return Status::Ok();
  });
  EXPECT_FALSE(dumped.ok());
  EXPECT_FALSE(DumpRescue(Path("criu")).IsPending());
  // A connection it was reading from may have failed.
  Connect();
  ExpectItRunsOn();
  ExpectTheNextDumpSucceeds();
}

TEST_F(DumpRescueTest, ACriuThatHangsIsKilled) {
  const Status dumped = Dump([&] {
    SignalCriu(SIGSTOP);
    return Status::Ok();
  });
  EXPECT_EQ(dumped.code(), StatusCode::kTimeout) << dumped.ToString();
  ExpectItRunsOn();
  ExpectTheNextDumpSucceeds();
}

TEST_F(DumpRescueTest, ACriuThatFallsSilentIsKilled) {
  std::thread silencer([&] {
    (void)Eventually([&] { return !Criu().empty(); });
    std::this_thread::sleep_for(milliseconds(20));
    SignalCriu(SIGSTOP);
  });
  const Status dumped = Dump([] { return Status::Ok(); });
  silencer.join();
  EXPECT_FALSE(dumped.ok());
  ExpectItRunsOn();
  ExpectTheNextDumpSucceeds();
}

// While CRIU's own code runs in the application, that does not outlive its death; the supervisor
// starts it again then. SNAPSTORE_TEST_KILLS: how often.
TEST_F(DumpRescueTest, CriuMayBeKilledAtAnyMoment) {
  const char* wanted = getenv("SNAPSTORE_TEST_KILLS");
  const int rounds = wanted != nullptr ? std::stoi(wanted) : 8;
  std::mt19937 random(7);
  int killed = 0;
  int died = 0;
  for (int round = 0; round < rounds; ++round) {
    const milliseconds delay(std::uniform_int_distribution(0, 120)(random));
    std::thread killer([&] {
      (void)Eventually([&] { return !Criu().empty(); });
      std::this_thread::sleep_for(delay);
      SignalCriu(SIGKILL);
    });
    const Status dumped = Dump([] { return Status::Ok(); });
    killer.join();
    if (!dumped.ok()) ++killed;
    SCOPED_TRACE(
        fmt::format("round {}, killed after {} ms: {}", round, delay.count(), dumped.ToString()));
    if (const auto ended = cell_->WaitForExit(milliseconds(50))) {
      EXPECT_TRUE(WIFSIGNALED(*ended)) << DescribeWaitStatus(*ended);
      ++died;
      StartServer();
    }
    Connect();
    ExpectItRunsOn();
    if (HasFailure()) return;
  }
  std::cout << killed << " of " << rounds << " were killed in time, " << died
            << " took the application along\n";
  ExpectTheNextDumpSucceeds();
}

}  // namespace
}  // namespace snapstore::agent
