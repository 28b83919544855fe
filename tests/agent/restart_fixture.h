// An application under a supervisor, stopped and started again from what is in a repository.
#ifndef SNAPSTORE_TESTS_AGENT_RESTART_FIXTURE_H_
#define SNAPSTORE_TESTS_AGENT_RESTART_FIXTURE_H_

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "agent/supervisor.h"
#include "snapstore/repository.h"
#include "tests/agent/agent_fixture.h"

namespace snapstore::agent {

class RestartFixture : public CriuFixture {
 protected:
  void SetUp() override {
    CriuFixture::SetUp();
    if (IsSkipped()) return;
    // The supervisor takes these from a descriptor.
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGQUIT}) sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    RepositoryOptions options;
    options.location = Path("repo");
    options.cache_dir = Path("cache");
    options.memory_limit = 128 << 20;
    const Status made = Repository::Init(options);
    ASSERT_TRUE(made.ok()) << made.ToString();
    auto repository = Repository::Open(options);
    ASSERT_TRUE(repository.ok()) << repository.status().ToString();
    repository_ = std::move(*repository);
  }
  void TearDown() override {
    EndAgent();
    repository_.reset();
    CriuFixture::TearDown();
  }

  // In the network namespace of the calling thread.
  void StartAgent(const std::string& command, const RestoreChoices& choices) {
    auto config = AppConfig::Parse(fmt::format(
        R"({{"name":"app","runCmd":"{}","snapshotDestination":"fs-0123abcd",
            "snapshotScheduler":"0 0 1 1 *"}})",
        command));
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    SupervisorOptions options{std::move(*config), Path("state"), 512ull << 20, true};
    options.choices = choices;
    options.hooks = hooks_;
    auto supervisor = Supervisor::Create(std::move(options), repository_.get(), criu_.get());
    ASSERT_TRUE(supervisor.ok()) << supervisor.status().ToString();
    supervisor_ = std::move(*supervisor);
    running_ = std::async(std::launch::async, [this] { return supervisor_->Run(); });
    ASSERT_TRUE(Eventually([&] {
      const AppState state = supervisor_->status().state;
      return state != AppState::kStarting;
    }));
    ASSERT_EQ(supervisor_->status().state, AppState::kRunning);
  }

  // With a final checkpoint.
  void StopAgent() {
    const Status stopped = supervisor_->RequestStop(/*checkpoint=*/true);
    ASSERT_TRUE(stopped.ok()) << stopped.ToString();
    EndAgent();
  }

  void EndAgent() {
    if (supervisor_ == nullptr) return;
    (void)supervisor_->RequestStop(/*checkpoint=*/false);
    (void)running_.get();
    supervisor_.reset();
  }

  HookOptions hooks_;  // of agents that are started from now on
  std::unique_ptr<Repository> repository_;
  std::unique_ptr<Supervisor> supervisor_;
  std::future<Status> running_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TESTS_AGENT_RESTART_FIXTURE_H_
