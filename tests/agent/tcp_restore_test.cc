// TCP connections of an application that goes on on another "node": network namespaces joined by
// cables, of which the addresses are put on and off like those of a machine.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "agent/checkpoint_reader.h"
#include "agent/control_json.h"
#include "agent/held_connections.h"
#include "agent/process_tree.h"
#include "agent/quiet_connections.h"
#include "agent/tcp_connections.h"
#include "base/unique_fd.h"
#include "tests/agent/restart_fixture.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

// A network namespace, held by a process that only waits.
class Network {
 public:
  Network() {
    pid_ = fork();
    if (pid_ == 0) {
      const bool made = unshare(CLONE_NEWNET) == 0;
      kill(getpid(), SIGSTOP);
      if (made) pause();
      _exit(1);
    }
    int status = 0;
    waitpid(pid_, &status, WUNTRACED);
    fd_.Reset(open(fmt::format("/proc/{}/ns/net", pid_).c_str(), O_RDONLY | O_CLOEXEC));
  }
  ~Network() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }
  // The calling thread, and threads and processes that it makes.
  bool Enter() const { return setns(fd_.get(), CLONE_NEWNET) == 0; }
  bool Run(const std::string& command) const {
    return system(fmt::format("nsenter -t {} -n {}", pid_, command).c_str()) == 0;
  }
  // IP packets that have come, be they dropped or not.
  uint64_t Received() const {
    std::ifstream table(fmt::format("/proc/{}/net/snmp", pid_));
    std::string word;
    uint64_t forwarding = 0;
    uint64_t ttl = 0;
    uint64_t received = 0;
    std::getline(table, word);  // names
    std::getline(table, word);
    std::istringstream(word) >> word >> forwarding >> ttl >> received;
    return received;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd fd_;
};

class TcpRestoreTest : public RestartFixture {
 protected:
  void SetUp() override {
    RestartFixture::SetUp();
    if (IsSkipped()) return;
    home_.Reset(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(client_.Run("ip link set lo up"));
    Join(node1_, "one", "10.77.0.2/24");
    ASSERT_TRUE(client_.Run("ip addr add 10.77.0.1/24 dev one"));
    server_ = "python3 " + Write("server.py", R"(
import socket
server = socket.create_server(("0.0.0.0", 7000))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    count = 0
    try:
        for line in connection.makefile("r"):
            count += 1
            connection.sendall(f"{count} {line}".encode())
    except ConnectionError:
        pass
    print("closed", flush=True)
)");
    // Sends what appears in `say`, and tells what came back.
    client_script_ = Write("client.py", fmt::format(R"(
import os, socket, time
folder = "{}"
connection = socket.create_connection(("10.77.0.2", 7000))
connection.settimeout(30)
lines = connection.makefile("r")
number = 0
while True:
    number += 1
    while not os.path.exists(f"{{folder}}/say{{number}}"):
        time.sleep(0.005)
    try:
        connection.sendall(f"hello{{number}}\n".encode())
        answer = lines.readline() or "closed"
    except OSError as error:
        answer = f"closed: {{error}}"
    with open(f"{{folder}}/new", "w") as f:
        f.write(answer.strip())
    os.rename(f"{{folder}}/new", f"{{folder}}/answer{{number}}")
)",
                                                    directory_));
    ASSERT_TRUE(node1_.Enter());
    StartAgent(server_, {.tcp = TcpChoice::kQuiet});
    ASSERT_TRUE(Eventually([&] { return Read(Path("state/app.log")) == "listening\n"; }));
    client_pid_ = fork();
    if (client_pid_ == 0) {
      (void)client_.Enter();
      execlp("python3", "python3", client_script_.c_str(), nullptr);
      _exit(127);
    }
    ASSERT_EQ(Say(1), "1 hello1");
  }
  void TearDown() override {
    RestartFixture::TearDown();
    if (client_pid_ > 0) {
      kill(client_pid_, SIGKILL);
      waitpid(client_pid_, nullptr, 0);
    }
    if (home_.valid()) (void)setns(home_.get(), CLONE_NEWNET);
  }

  // A cable between a node and the client's namespace, in which its name is `name`. The node's end
  // has the same hardware address whichever node it is, as one network interface has that is moved.
  void Join(const Network& node, const std::string& name, const std::string& address) {
    ASSERT_TRUE(node.Run("ip link set lo up"));
    ASSERT_TRUE(
        node.Run(fmt::format("ip link add eth0 address 02:00:00:00:00:02 type veth peer "
                             "name {} netns {}",
                             name, client_.pid())));
    ASSERT_TRUE(node.Run(fmt::format("ip addr add {} dev eth0", address)));
    ASSERT_TRUE(node.Run("ip link set eth0 up"));
    ASSERT_TRUE(client_.Run(fmt::format("ip link set {} address 02:00:00:00:00:01", name)));
    if (name != "one") return;
    ASSERT_TRUE(client_.Run("ip link set one up"));
  }
  // The second node's cable carries what the first one's did.
  void Plug() {
    ASSERT_TRUE(client_.Run("ip addr add 10.77.0.1/24 dev two"));
    ASSERT_TRUE(client_.Run("ip link set two up"));
  }
  void Unplug() {
    ASSERT_TRUE(client_.Run("ip link set one down"));
    ASSERT_TRUE(client_.Run("ip addr del 10.77.0.1/24 dev one"));
  }

  void Tell(int number) { Write(fmt::format("say{}", number), ""); }
  std::string Say(int number) {
    Tell(number);
    return Answer(number);
  }
  std::string Answer(int number) {
    const std::string path = Path(fmt::format("answer{}", number));
    const auto there = [&] { return std::filesystem::exists(path); };
    EXPECT_TRUE(Eventually(there) || Eventually(there));
    return Read(path);
  }

  const Network client_;
  const Network node1_;
  const Network node2_;
  UniqueFd home_;
  std::string server_;
  std::string client_script_;
  pid_t client_pid_ = -1;
};

TEST_F(TcpRestoreTest, AConnectionGoesOnOnANodeWithTheSameAddress) {
  StopAgent();
  // The old node, which still has the address, answers nothing: it is sent again until it arrives
  // at the other node.
  const uint64_t before = node1_.Received();
  Tell(2);
  ASSERT_TRUE(Eventually([&] { return node1_.Received() >= before + 2; }));
  EXPECT_FALSE(std::filesystem::exists(Path("answer2"))) << Read(Path("answer2"));
  Unplug();
  Join(node2_, "two", "10.77.0.2/24");
  ASSERT_TRUE(node2_.Enter());
  StartAgent(server_, {.tcp = TcpChoice::kAuto});
  EXPECT_EQ(supervisor_->status().connections, TcpOutcome::kKept)
      << supervisor_->status().start_reason;
  EXPECT_THAT(StatusJson(supervisor_->status()), HasSubstr(R"("connections":"kept")"));
  Plug();
  EXPECT_EQ(Answer(2), "2 hello2");
  EXPECT_EQ(Say(3), "3 hello3");
}

TEST_F(TcpRestoreTest, WhatPeersSendBeforeItGoesOnIsNotRefused) {
  StopAgent();
  Unplug();
  Tell(2);
  Join(node2_, "two", "10.77.0.2/24");
  ASSERT_TRUE(node2_.Enter());
  const auto checkpoints = ListCheckpoints(repository_.get(), "app");
  ASSERT_TRUE(checkpoints.ok()) << checkpoints.status().ToString();
  auto reader = CheckpointReader::Open(repository_.get(), checkpoints->front().id);
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  const auto connections = (*reader)->Connections();
  ASSERT_TRUE(connections.ok()) << connections.status().ToString();
  ASSERT_TRUE(HoldConnections("app", *connections).ok());
  reader->reset();
  Plug();
  const uint64_t before = node2_.Received();
  ASSERT_TRUE(Eventually([&] { return node2_.Received() >= before + 2; }));
  EXPECT_FALSE(std::filesystem::exists(Path("answer2"))) << Read(Path("answer2"));
  // The supervisor does the same as long as it restores.
  hooks_.Of(HookEvent::kPostRestore) = {"nft list ruleset > " + Path("rules")};
  StartAgent(server_, {.tcp = TcpChoice::kAuto});
  EXPECT_THAT(Read(Path("rules")), HasSubstr("10.77.0.1 . "));
  EXPECT_EQ(Answer(2), "2 hello2") << "let in again when the application runs";
}

TEST_F(TcpRestoreTest, TheSameNodeTakesItUpAgain) {
  StopAgent();
  Tell(2);
  StartAgent(server_, {.tcp = TcpChoice::kQuiet});
  EXPECT_EQ(supervisor_->status().connections, TcpOutcome::kKept);
  EXPECT_EQ(Answer(2), "2 hello2");
}

TEST_F(TcpRestoreTest, AutoTellsThePeersOfTheEnd) {
  EndAgent();
  StartAgent(server_, {.tcp = TcpChoice::kAuto});
  ASSERT_TRUE(Eventually([&] { return Read(Path("state/app.log")) == "listening\nlistening\n"; }));
  EXPECT_THAT(Say(2), HasSubstr("closed"));
}

TEST_F(TcpRestoreTest, OnANodeWithAnotherAddressItIsClosedAndTheListenerStays) {
  StopAgent();
  Unplug();
  Join(node2_, "two", "10.77.0.3/24");
  ASSERT_TRUE(node2_.Enter());
  StartAgent(server_, {.tcp = TcpChoice::kKeep});
  EXPECT_EQ(supervisor_->status().connections, TcpOutcome::kClosed);
  ASSERT_TRUE(Eventually([&] {
    return Read(Path("state/app.log")).find("closed") != std::string::npos;
  })) << "the application sees the end of its connection";
  Plug();
  EXPECT_TRUE(
      client_.Run("python3 -c \"import socket; c = socket.create_connection(('10.77.0.3', 7000)); "
                  "c.sendall(b'new\\n'); assert c.recv(100) == b'1 new\\n'\""));
}

TEST_F(TcpRestoreTest, AfterAnOlderCheckpointItIsClosedUnlessForced) {
  const CheckpointRecord record = supervisor_->RequestCheckpoint();
  ASSERT_TRUE(record.status.ok()) << record.status.ToString();
  EXPECT_EQ(Say(2), "2 hello2");
  EndAgent();
  StartAgent(server_, {.tcp = TcpChoice::kAuto});
  EXPECT_EQ(supervisor_->status().connections, TcpOutcome::kClosed);
  EXPECT_THAT(Say(3), HasSubstr("closed"));
  EndAgent();
  StartAgent(server_, {.tcp = TcpChoice::kKeep});
  EXPECT_EQ(supervisor_->status().connections, TcpOutcome::kKept);
}

TEST_F(TcpRestoreTest, SilencedConnectionsSpeakAgain) {
  const int pid = supervisor_->status().pid;
  const auto inside = DescendantsOf(pid);
  ASSERT_TRUE(inside.ok());
  for (const pid_t one : *inside) kill(one, SIGSTOP);
  QuietConnections quiet(*inside);
  EXPECT_EQ(quiet.size(), 1u);
  quiet.Undo();
  for (const pid_t one : *inside) kill(one, SIGCONT);
  EXPECT_EQ(Say(2), "2 hello2");
}

}  // namespace
}  // namespace snapstore::agent
