// TLS of the control interface: what servers take, and whom clients believe.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "agent/state_files.h"
#include "agent/token_server.h"
#include "base/bytes.h"
#include "base/file.h"
#include "base/tls_certificate.h"
#include "tests/base/temp_folder.h"
#include "tests/base/test_certificate.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

class ControlTlsTest : public testing::Test {
 protected:
  std::string Certificate(const std::string& name) const { return folder_.File(name + ".pem"); }
  std::string Key(const std::string& name) const { return folder_.File(name + "-key.pem"); }
  void Make(const std::string& name, long from_seconds = -3600, long to_seconds = 3600) {
    WriteTestCertificate(Certificate(name), Key(name), from_seconds, to_seconds);
  }

  Result<std::unique_ptr<TokenServer>> Serve(const std::string& certificate,
                                             const std::string& key) {
    TokenServer::Options options;
    options.address = {"127.0.0.1", 0};
    options.certificate_file = certificate;
    options.key_file = key;
    return TokenServer::Start(options, [](httplib::Server* server) {
      server->Get("/status", [](const httplib::Request&, httplib::Response& response) {
        Reply(&response, 200, R"({"app": "BI", "state": "running"})");
      });
    });
  }
  void Start(const std::string& name) {
    auto server = Serve(Certificate(name), Key(name));
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
  }
  std::string address() const { return server_->address().ToString(); }

  // Of `snapstore-agent status` with these options: what it prints, errors too.
  std::string AgentStatus(std::vector<std::string> options) const {
    options.insert(options.begin(), {SNAPSTORE_AGENT_BIN, "status"});
    std::vector<char*> argv;
    argv.reserve(options.size() + 1);
    for (std::string& option : options) argv.push_back(option.data());
    argv.push_back(nullptr);
    const std::string output = folder_.File("output");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t pid = 0;
    EXPECT_EQ(posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    EXPECT_EQ(waitpid(pid, nullptr, 0), pid);
    const auto text = ReadWholeFile(output, 64 << 10);
    return text.ok() ? std::string(AsText(*text)) : text.status().message();
  }

  const TempFolder folder_;
  std::unique_ptr<TokenServer> server_;
};

TEST_F(ControlTlsTest, ACertificateThatIsUnfitIsNotServed) {
  Make("a");
  Make("b");
  Make("old", -7200, -3600);
  EXPECT_THAT(Serve(Certificate("a"), Key("b")).status().message(), HasSubstr("is not the key"));
  EXPECT_THAT(Serve(Certificate("old"), Key("old")).status().message(), HasSubstr("has expired"));
  EXPECT_THAT(Serve(Certificate("a"), "").status().message(), HasSubstr("needs both"));
}

TEST_F(ControlTlsTest, AClientTakesWhatItsFileHolds) {
  Make("a");
  Make("b");
  Start("a");
  EXPECT_THAT(server_->url(), HasSubstr("https://127.0.0.1:"));
  EXPECT_THAT(AgentStatus({"--listen", address(), "--ca", Certificate("a")}),
              HasSubstr("BI (running)"));
  EXPECT_THAT(AgentStatus({"--listen", address(), "--ca", Certificate("b")}),
              HasSubstr("is not signed by"));
  EXPECT_THAT(AgentStatus({"--listen", address(), "--ca", folder_.File("away")}),
              HasSubstr("away"));
}

TEST_F(ControlTlsTest, AClientRefusesACertificateThatHasExpired) {
  Make("old", -7200, -3600);
  // What the agent's own server would not serve.
  httplib::SSLServer server(Certificate("old").c_str(), Key("old").c_str());
  const int port = server.bind_to_any_port("127.0.0.1");
  std::thread thread([&] { server.listen_after_bind(); });
  while (!server.is_running()) std::this_thread::yield();
  EXPECT_THAT(
      AgentStatus({"--listen", fmt::format("127.0.0.1:{}", port), "--ca", Certificate("old")}),
      HasSubstr("has expired"));
  server.stop();
  thread.join();
}

TEST_F(ControlTlsTest, AClientOfTheSameMachineKnowsTheCertificateByItsFingerprint) {
  Make("a");
  Start("a");
  ASSERT_TRUE(WriteAgentFile(folder_.path(), address(), server_->fingerprint()).ok());
  EXPECT_THAT(AgentStatus({"--state-dir", folder_.path()}), HasSubstr("BI (running)"));
  ASSERT_TRUE(WriteAgentFile(folder_.path(), address(), std::string(64, 'a')).ok());
  EXPECT_THAT(AgentStatus({"--state-dir", folder_.path()}), HasSubstr("another certificate"));
}

TEST_F(ControlTlsTest, PlainHttpIsNotAnsweredAndHarmsNothing) {
  Make("a");
  Start("a");
  EXPECT_THAT(AgentStatus({"--listen", address()}), HasSubstr("speaks TLS"));
  EXPECT_THAT(AgentStatus({"--listen", address(), "--ca", Certificate("a")}),
              HasSubstr("BI (running)"));
}

TEST_F(ControlTlsTest, AServerWithoutTlsIsNotTalkedTo) {
  Make("a");
  auto server = Serve("", "");
  ASSERT_TRUE(server.ok()) << server.status().ToString();
  server_ = std::move(*server);
  EXPECT_TRUE(server_->fingerprint().empty());
  EXPECT_THAT(AgentStatus({"--listen", address(), "--ca", Certificate("a")}),
              HasSubstr("does not speak TLS"));
}

}  // namespace
}  // namespace snapstore::agent
