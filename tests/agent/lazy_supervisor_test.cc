// A supervisor whose application runs before its memory has arrived from a real repository.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "agent/control_json.h"
#include "agent/metrics.h"
#include "tests/agent/restart_fixture.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

class LazySupervisorTest : public RestartFixture {
 protected:
  void SetUp() override {
    RestartFixture::SetUp();
    // Memory that no other checkpoint has; `ask` is answered by whether it is still the same.
    command_ = "python3 " + Write("application.py", fmt::format(R"(
import hashlib, os, time
folder = "{}"
def say(name, text):
    with open(f"{{folder}}/{{name}}.new", "w") as f:
        f.write(text)
    os.rename(f"{{folder}}/{{name}}.new", f"{{folder}}/{{name}}")
memory, number = None, 0
while True:
    if os.path.exists(f"{{folder}}/renew"):
        os.remove(f"{{folder}}/renew")
        number += 1
        memory = bytearray(os.urandom(24 << 20))
        digest = hashlib.sha256(memory).digest()
        say("renewed", str(number))
    if os.path.exists(f"{{folder}}/ask"):
        os.remove(f"{{folder}}/ask")
        good = memory and hashlib.sha256(memory).digest() == digest
        say("answer", f"{{number}} {{'good' if good else 'bad'}}")
    time.sleep(0.005)
)",
                                                                directory_));
  }

  void Renew(const std::string& number) {
    Write("renew", "");
    ASSERT_TRUE(Eventually([&] { return Read(Path("renewed")) == number; }));
  }
  std::string Ask() {
    std::filesystem::remove(Path("answer"));
    Write("ask", "");
    EXPECT_TRUE(Eventually([&] { return std::filesystem::exists(Path("answer")); }));
    return Read(Path("answer"));
  }
  std::string Checkpoint() {
    const CheckpointRecord record = supervisor_->RequestCheckpoint();
    EXPECT_TRUE(record.status.ok()) << record.status.ToString();
    return record.snapshot_id;
  }

  // Spoils the middle of the biggest file below `folder` that is not in `known`.
  void SpoilBiggest(const std::string& folder, const std::set<std::string>& known) {
    std::string biggest;
    uintmax_t bytes = 0;
    for (const auto& one : std::filesystem::recursive_directory_iterator(folder)) {
      if (!one.is_regular_file() || known.contains(one.path()) || one.file_size() <= bytes)
        continue;
      biggest = one.path();
      bytes = one.file_size();
    }
    ASSERT_GT(bytes, 8u << 20);
    std::filesystem::permissions(biggest, std::filesystem::perms::owner_all);
    std::fstream file(biggest, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(bytes / 2));
    file << std::string(4 << 20, 'x');
  }
  static std::set<std::string> FilesBelow(const std::string& folder) {
    std::set<std::string> files;
    for (const auto& one : std::filesystem::recursive_directory_iterator(folder)) {
      if (one.is_regular_file()) files.insert(one.path());
    }
    return files;
  }

  std::string command_;
};

TEST_F(LazySupervisorTest, CheckpointsAndTheFinalOneWaitForTheMemory) {
  StartAgent(command_, {LazyChoice::kOff});
  Renew("1");
  Checkpoint();
  EndAgent();

  StartAgent(command_, {LazyChoice::kOn});
  ASSERT_TRUE(supervisor_->status().lazy.has_value()) << supervisor_->status().start_reason;
  EXPECT_GE(supervisor_->status().lazy->bytes, 24u << 20);
  Checkpoint();
  const SupervisorStatus status = supervisor_->status();
  EXPECT_EQ(status.lazy->missing_bytes, 0u);
  EXPECT_TRUE(status.lazy->done);
  EXPECT_THAT(StatusJson(status), HasSubstr(R"("bytes_missing":0)"));
  EXPECT_THAT(MetricsText(status), HasSubstr("snapstore_agent_lazy_memory_missing_bytes"));
  EXPECT_EQ(Ask(), "1 good");
  EndAgent();

  StartAgent(command_, {LazyChoice::kOn});
  StopAgent();
  StartAgent(command_, {LazyChoice::kOn});
  EXPECT_EQ(Ask(), "1 good");
}

TEST_F(LazySupervisorTest, LittleMemoryIsNotLeftForLater) {
  StartAgent(command_, {});
  Renew("1");
  Checkpoint();
  EndAgent();
  StartAgent(command_, {});
  EXPECT_FALSE(supervisor_->status().lazy.has_value());
  EXPECT_EQ(Ask(), "1 good");
}

TEST_F(LazySupervisorTest, ACriuThatCannotLeaveMemoryForLaterGetsAllOfIt) {
  StartAgent(command_, {});
  Renew("1");
  Checkpoint();
  EndAgent();
  const std::string refuses = Write("criu-that-refuses", fmt::format(R"(#!/bin/sh
case "$*" in *--lazy-pages*) exit 1;; esac
exec "{}" "$@"
)",
                                                                     criu_->path()));
  std::filesystem::permissions(refuses, std::filesystem::perms::owner_all);
  const char* const before = getenv("SNAPSTORE_CRIU");
  const std::string named = before == nullptr ? "" : before;
  setenv("SNAPSTORE_CRIU", refuses.c_str(), 1);
  auto criu = CriuDriver::Find();
  named.empty() ? unsetenv("SNAPSTORE_CRIU") : setenv("SNAPSTORE_CRIU", named.c_str(), 1);
  ASSERT_TRUE(criu.ok()) << criu.status().ToString();
  *criu_ = std::move(*criu);
  for (const LazyChoice choice : {LazyChoice::kOff, LazyChoice::kOn}) {
    StartAgent(command_, {choice});
    EXPECT_FALSE(supervisor_->status().lazy.has_value());
    EXPECT_EQ(Ask(), "1 good");
    EndAgent();
  }
}

TEST_F(LazySupervisorTest, MemoryThatCannotBeHadBringsBackTheCheckpointBefore) {
  StartAgent(command_, {LazyChoice::kOff});
  Renew("1");
  const std::string good = Checkpoint();
  const std::set<std::string> known = FilesBelow(Path("repo"));
  Renew("2");
  Checkpoint();
  EndAgent();
  SpoilBiggest(Path("repo"), known);

  StartAgent(command_, {LazyChoice::kOn});
  ASSERT_TRUE(Eventually([&] {
    const SupervisorStatus status = supervisor_->status();
    return status.restored_from == good && status.state == AppState::kRunning;
  })) << supervisor_->status().start_reason;
  EXPECT_THAT(supervisor_->status().start_reason, HasSubstr("did not arrive after a lazy restore"));
  EXPECT_EQ(Ask(), "1 good");
}

}  // namespace
}  // namespace snapstore::agent
