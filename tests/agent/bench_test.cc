// `snapstore-agent bench`, with heaps that are small enough for a test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/base/run_command.h"
#include "tests/base/temp_folder.h"

namespace snapstore::agent {
namespace {

TEST(AgentBench, MeasuresAndLeavesNothingBehind) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const TempFolder folder("/tmp");
  const std::string repository = folder.path() + "/repository";
  const std::string work = folder.path() + "/work";
  std::filesystem::create_directory(work);
  const CommandResult result =
      RunCommand({SNAPSTORE_AGENT_BIN, "--quiet", "--json", "bench", "--heaps", "8M", "--dirty",
                  "5", "--rounds", "1", "--interval", "0.5", "--work", work, "--tmpfs", work,
                  "--repository", repository});
  ASSERT_EQ(result.wait_status, 0);
  std::map<std::string, nlohmann::json> documents;
  std::istringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) {
    const auto document = nlohmann::json::parse(line);
    documents[document.at("message_type")] = document;
  }
  const nlohmann::json& checkpoint = documents["bench_checkpoint"];
  EXPECT_EQ(checkpoint.at("heap_bytes"), 8 << 20);
  EXPECT_GT(checkpoint.at("frozen_ms"), 0.0);
  EXPECT_GT(checkpoint.at("bytes_captured"), 8 << 20);
  // A twentieth of the heap changed, and some pages of the libraries.
  EXPECT_GT(checkpoint.at("bytes_new"), (8 << 20) / 20);
  EXPECT_LT(checkpoint.at("bytes_new"), (8 << 20) / 5);
  EXPECT_GT(checkpoint.at("answer_seconds"), 0.0);
  EXPECT_GT(checkpoint.at("frozen_ratio"), 0.0);
  const nlohmann::json& heap = documents["bench_heap"];
  EXPECT_GT(heap.at("criu_frozen_ms"), 0.0);
  EXPECT_GT(heap.at("criu_restore_seconds"), 0.0);
  EXPECT_GT(documents["bench_cost"].at("reads_per_second_with"), 0.0);
  EXPECT_TRUE(std::filesystem::is_empty(work));
  EXPECT_TRUE(std::filesystem::is_empty(repository + "/snapshots")) << "they are forgotten";
}

TEST(AgentBench, AFailureLeavesNothingBehindEither) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const TempFolder folder("/tmp");
  const CommandResult result =
      RunCommand({SNAPSTORE_AGENT_BIN, "--quiet", "bench", "--heaps", "1M", "--work", folder.path(),
                  "--tmpfs", folder.path() + "/missing", "--rounds", "1", "--interval", "0"});
  EXPECT_NE(result.wait_status, 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace snapstore::agent
