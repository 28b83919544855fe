// Hooks: real commands, their input, their time limit and what becomes of their failures.
#include "agent/hooks.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/agent/agent_fixture.h"

namespace snapstore::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class HooksTest : public AgentFixture {
 protected:
  Status Run(const std::string& command, HookPolicy policy = HookPolicy::kFail,
             std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
    HookOptions options;
    options.Of(HookEvent::kPreFreeze) = {command};
    options.policy = policy;
    options.timeout = timeout;
    return Hooks(options).Run(HookEvent::kPreFreeze, context_);
  }
  Status Load(const std::string& text, HookOptions* options) {
    return LoadHooks(Write("hooks.json", text), options);
  }

  HookContext context_{.app = "BI",
                       .state_directory = "/s",
                       .trigger = "schedule",
                       .checkpoint_id = "c1",
                       .attempt = 3,
                       .pid = 77,
                       .frozen_ms = 12.5};
};

TEST_F(HooksTest, IsToldOnItsStandardInputWhatItIsAbout) {
  const Status done = Run(fmt::format("cat > {}; echo $SNAPSTORE_HOOK $SNAPSTORE_APP > {}",
                                      Path("in"), Path("variables")));
  ASSERT_TRUE(done.ok()) << done.ToString();
  const auto told = nlohmann::json::parse(Read(Path("in")), nullptr, false);
  EXPECT_EQ(told["event"], "pre-freeze");
  EXPECT_EQ(told["app"], "BI");
  EXPECT_EQ(told["trigger"], "schedule");
  EXPECT_EQ(told["checkpoint_id"], "c1");
  EXPECT_EQ(told["attempt"], 3);
  EXPECT_EQ(told["pid"], 77);
  EXPECT_EQ(told["final"], false);
  EXPECT_EQ(told["frozen_ms"], 12.5);
  EXPECT_TRUE(told["error"].is_null());
  EXPECT_EQ(Read(Path("variables")), "pre-freeze BI\n");
}

TEST_F(HooksTest, AFailureNamesHookExitCodeAndLastLine) {
  const Status done = Run("echo first >&2; echo the disk is away >&2; exit 3");
  ASSERT_FALSE(done.ok());
  EXPECT_THAT(done.message(), HasSubstr("hook pre-freeze 'echo first"));
  EXPECT_THAT(done.message(), HasSubstr("exit code 3: the disk is away"));
  EXPECT_THAT(Run("kill -9 $$").message(), HasSubstr("signal 9"));
  EXPECT_THAT(Run("no-such-program-of-anybody").message(), HasSubstr("exit code 127"));
}

TEST_F(HooksTest, WhatTakesTooLongIsKilledWithAllItStarted) {
  const Status done = Run(fmt::format("sleep 600 & echo $! > {}; wait", Path("pid")),
                          HookPolicy::kFail, std::chrono::milliseconds(500));
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.code(), StatusCode::kTimeout);
  EXPECT_THAT(done.message(), HasSubstr("killed after 0.5 s"));
  const int pid = std::stoi(Read(Path("pid")));
  // Whoever inherited it may be slow to reap it: a zombie has ended.
  EXPECT_TRUE(Eventually([&] {
    const std::string stat = Read(fmt::format("/proc/{}/stat", pid));
    return stat.empty() || stat.find(") Z") != std::string::npos;
  }));
}

TEST_F(HooksTest, WhatIsCutShortIsKilledWhateverThePolicy) {
  HookOptions options;
  options.Of(HookEvent::kPreFreeze) = {"sleep 600", "touch " + Path("second")};
  options.policy = HookPolicy::kIgnore;
  int asked = 0;
  const auto cut_short = [&] { return ++asked >= 3; };
  Status done = Hooks(options).Run(HookEvent::kPreFreeze, context_, cut_short);
  EXPECT_EQ(done.code(), StatusCode::kCancelled);
  EXPECT_THAT(done.message(), HasSubstr("hook pre-freeze 'sleep 600': the application is to be"));
  EXPECT_FALSE(std::filesystem::exists(Path("second")));

  options.Of(HookEvent::kPreFreeze) = {"touch " + Path("first")};
  done = Hooks(options).Run(HookEvent::kPreFreeze, context_, cut_short);
  EXPECT_EQ(done.code(), StatusCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(Path("first")));
}

TEST_F(HooksTest, NeitherUnreadInputNorADaemonItLeavesHoldsItUp) {
  context_.error = std::string(300'000, 'x');
  EXPECT_TRUE(Run("true").ok());
  const Status done = Run(fmt::format("sleep 600 & echo $! > {}", Path("pid")));
  EXPECT_TRUE(done.ok()) << done.ToString();
  const int pid = std::stoi(Read(Path("pid")));
  EXPECT_EQ(kill(pid, SIGKILL), 0) << "what it left is not killed";
}

TEST_F(HooksTest, OnlyThePolicyFailFails) {
  EXPECT_FALSE(Run("exit 1", HookPolicy::kFail).ok());
  EXPECT_TRUE(Run("exit 1", HookPolicy::kWarn).ok());
  EXPECT_TRUE(Run("exit 1", HookPolicy::kIgnore).ok());
}

TEST_F(HooksTest, AFileHoldsCommandsTimeLimitAndPolicy) {
  HookOptions options;
  const Status loaded =
      Load(R"({"preFreeze": "a", "postThaw": ["b", "c"], "timeoutSeconds": 1.5, "policy": "warn"})",
           &options);
  ASSERT_TRUE(loaded.ok()) << loaded.ToString();
  EXPECT_THAT(options.Of(HookEvent::kPreFreeze), ElementsAre("a"));
  EXPECT_THAT(options.Of(HookEvent::kPostThaw), ElementsAre("b", "c"));
  EXPECT_TRUE(options.Of(HookEvent::kPreRestore).empty());
  EXPECT_EQ(options.timeout.count(), 1500);
  EXPECT_EQ(options.policy, HookPolicy::kWarn);
}

TEST_F(HooksTest, AFileThatMakesNoSenseIsRefused) {
  HookOptions options;
  for (const auto& [text, why] :
       {std::pair("[1]", "must be one JSON object"), std::pair(R"({"prefreeze": "a"})", "no such"),
        std::pair(R"({"postThaw": 3})", "postThaw: must be a command"),
        std::pair(R"({"preRestore": [""]})", "preRestore: must be a command"),
        std::pair(R"({"timeoutSeconds": 0})", "above 0"),
        std::pair(R"({"policy": "hope"})", "must be fail, warn or ignore")}) {
    const Status loaded = Load(text, &options);
    EXPECT_EQ(loaded.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(loaded.message(), HasSubstr(why));
  }
}

TEST_F(HooksTest, AFileThatOthersCanWriteIsRefused) {
  HookOptions options;
  const std::string path = Write("open.json", "{}");
  ASSERT_EQ(chmod(path.c_str(), 0666), 0);
  EXPECT_EQ(LoadHooks(path, &options).code(), StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace snapstore::agent
