// What the tests with real processes share: a short private directory, polling, and CRIU.
#ifndef SNAPSTORE_TESTS_AGENT_AGENT_FIXTURE_H_
#define SNAPSTORE_TESTS_AGENT_AGENT_FIXTURE_H_

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/cell.h"
#include "agent/criu_driver.h"
#include "tests/base/temp_folder.h"

namespace snapstore::agent {

// A directory of this test, removed at its end. Needs root, skips otherwise.
class AgentFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    signal(SIGPIPE, SIG_IGN);
  }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }

  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name)) << text;
    return Path(name);
  }

  // A program that counts into the file that it is given, and writes to `bytes` of memory
  // meanwhile.
  std::string WriteCounter(uint64_t bytes) const {
    return Write("counter.py", "memory_bytes = " + std::to_string(bytes) + R"(
import sys, time
memory = bytearray(b"0123456789abcdef" * (memory_bytes // 16))
n = 0
log = open(sys.argv[1], "a")
while True:
    n += 1
    memory[(n * 4096) % len(memory)] = n % 251
    log.write(f"{n}\n")
    log.flush()
    time.sleep(0.01)
)");
  }

  CellOptions Options(std::vector<std::string> argv) const {
    CellOptions options;
    options.argv = std::move(argv);
    options.environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED=1"};
    options.log_path = Path("app.log");
    return options;
  }

  static std::string Read(const std::string& path) {
    std::ifstream in(path);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }

  static std::vector<std::string> Lines(const std::string& path) {
    std::vector<std::string> lines;
    std::istringstream in(Read(path));
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

  // Waits until `condition` holds, half a minute at most.
  static bool Eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }

  // Short, for the names of sockets.
  const TempFolder folder_{"/tmp"};
  const std::string& directory_ = folder_.path();
};

// With the CRIU of this machine.
class CriuFixture : public AgentFixture {
 protected:
  void SetUp() override {
    AgentFixture::SetUp();
    if (IsSkipped()) return;
    auto criu = CriuDriver::Find();
    ASSERT_TRUE(criu.ok()) << criu.status().ToString();
    criu_ = std::make_unique<CriuDriver>(std::move(*criu));
  }

  std::unique_ptr<CriuDriver> criu_;
};

}  // namespace snapstore::agent

#endif  // SNAPSTORE_TESTS_AGENT_AGENT_FIXTURE_H_
