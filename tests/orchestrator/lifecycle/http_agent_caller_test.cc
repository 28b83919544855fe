#include "orchestrator/lifecycle/http_agent_caller.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

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

}  // namespace
}  // namespace snapstore::spot
