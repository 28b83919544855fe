#include "orchestrator/lifecycle/http_agent_caller.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "base/tls_certificate.h"
#include "tests/base/temp_folder.h"

namespace snapstore::spot {
namespace {

using std::chrono::seconds;

// An agent whose answer to a stop can take as long as an application takes to end.
class SlowAgent {
 public:
  SlowAgent() {
    server_.Post("/stop", [this](const httplib::Request&, httplib::Response& answer) {
      asked_.set_value();
      answered_.get_future().wait();
      answer.set_content(R"({"applications": [{"configId": "apc-1", "checkpointId": "c-7"}]})",
                         "application/json");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
  }
  ~SlowAgent() {
    Answer();
    server_.stop();
    thread_.join();
  }

  AgentRecord record() const {
    AgentRecord record;
    record.address = fmt::format("127.0.0.1:{}", port_);
    return record;
  }
  void WaitUntilAsked() { asked_.get_future().wait(); }
  void Answer() {
    if (!is_answered_.exchange(true)) answered_.set_value();
  }

 private:
  httplib::Server server_;
  std::promise<void> asked_;
  std::promise<void> answered_;
  std::atomic<bool> is_answered_ = false;
  int port_ = 0;
  std::thread thread_;
};

TEST(HttpAgentCallerTest, AStopAnswersWithWhatBecameOfTheApplications) {
  SlowAgent agent;
  HttpAgentCaller caller;
  agent.Answer();
  const auto outcomes = caller.Stop(agent.record(), 60'000);
  ASSERT_TRUE(outcomes.ok()) << outcomes.status().ToString();
  ASSERT_EQ(outcomes->size(), 1u);
  EXPECT_EQ((*outcomes)[0].checkpoint_id, "c-7");
}

TEST(HttpAgentCallerTest, CallsThatAreAbandonedEndAtOnce) {
  SlowAgent agent;
  HttpAgentCaller caller;
  auto stopping =
      std::async(std::launch::async, [&] { return caller.Stop(agent.record(), 600'000).status(); });
  agent.WaitUntilAsked();
  caller.Abandon();
  ASSERT_EQ(stopping.wait_for(seconds(20)), std::future_status::ready);
  const Status ended = stopping.get();
  EXPECT_TRUE(ended.Is(StatusCode::kCancelled)) << ended.ToString();
  // Nor is a new one begun.
  const Status next = caller.StartShutdownScript(agent.record(), "true");
  EXPECT_TRUE(next.Is(StatusCode::kCancelled)) << next.ToString();
}

class TlsAgentTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string certificate = folder_.File("agent.pem");
    const std::string key = folder_.File("agent-key.pem");
    ASSERT_TRUE(MakeSelfSignedCertificate(certificate, key, {"localhost"}).ok());
    const auto fingerprint = CheckTlsFiles(certificate, key);
    ASSERT_TRUE(fingerprint.ok()) << fingerprint.status().ToString();
    fingerprint_ = *fingerprint;
    server_ = std::make_unique<httplib::SSLServer>(certificate.c_str(), key.c_str());
    server_->Post("/stop", [this](const httplib::Request& request, httplib::Response& answer) {
      token_ = request.get_header_value("Authorization");
      answer.set_content(R"({"applications": []})", "application/json");
    });
    port_ = server_->bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::yield();
  }
  void TearDown() override {
    server_->stop();
    thread_.join();
  }
  AgentRecord Record(std::optional<std::string> fingerprint) const {
    AgentRecord record;
    record.address = fmt::format("127.0.0.1:{}", port_);
    record.control_token = "secret";
    record.tls_fingerprint = std::move(fingerprint);
    return record;
  }

  const TempFolder folder_;
  std::string fingerprint_;
  std::unique_ptr<httplib::SSLServer> server_;
  int port_ = 0;
  std::string token_;  // that the agent was shown
  std::thread thread_;
  HttpAgentCaller caller_;
};

TEST_F(TlsAgentTest, TheCertificateThatTheAgentReportedIsTaken) {
  const auto outcomes = caller_.Stop(Record(fingerprint_), 60'000);
  EXPECT_TRUE(outcomes.ok()) << outcomes.status().ToString();
  EXPECT_EQ(token_, "Bearer secret");
}

TEST_F(TlsAgentTest, AnotherCertificateIsNotShownTheToken) {
  const Status refused = caller_.Stop(Record(std::string(64, '0')), 60'000).status();
  EXPECT_TRUE(refused.Is(StatusCode::kPermissionDenied)) << refused.ToString();
  EXPECT_THAT(refused.message(), testing::HasSubstr("another certificate"));
  EXPECT_EQ(token_, "");
}

TEST_F(TlsAgentTest, PlainHttpGetsNoAnswer) {
  const Status refused = caller_.Stop(Record(std::nullopt), 60'000).status();
  EXPECT_FALSE(refused.ok());
  EXPECT_EQ(token_, "");
}

TEST(HttpAgentCallerTest, AnAgentThatReportedACertificateIsNotSpokenToWithoutTls) {
  SlowAgent agent;
  agent.Answer();
  AgentRecord record = agent.record();
  record.tls_fingerprint = std::string(64, '0');
  HttpAgentCaller caller;
  EXPECT_FALSE(caller.Stop(record, 60'000).ok());
}

}  // namespace
}  // namespace snapstore::spot
