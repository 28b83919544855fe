// SIGKILL to a prune, and to a writer, before and after every operation on the store.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <sstream>

#include "tests/base/run_command.h"
#include "tests/engine/prune_fixture.h"
#include "uploader/directory_store.h"
#include "uploader/fault_store.h"

namespace snapstore {
namespace {

// "JOB BEFORE AT ENCRYPTED FOLDER SOURCE", for the child.
constexpr const char* kChildVariable = "SNAPSTORE_TEST_CHILD";

// Whether it is encrypted.
class PruneCrashTest : public PruneFixture, public testing::WithParamInterface<bool> {
 protected:
  PruneCrashTest() {
    if (GetParam()) credential_ = TestKeyFile();
  }

  void MakeRepository() {
    Use("repo");
    const Status made = RepositoryImpl::InitStore(*store_, {.credential = credential_},
                                                  {.encrypt = credential_.has_value()});
    ASSERT_TRUE(made.ok()) << made.ToString();
  }
  // On disk, for children to share; `name` is a copy of the repository to work on.
  void Use(const std::string& name) {
    repository_.reset();
    Result<std::unique_ptr<ObjectStore>> opened =
        OpenDirectoryStore(folder_.File(name), {.create = true});
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    store_ = std::move(*opened);
  }
  void CopyOfRepository() {
    repository_.reset();
    for (const char* name :
         {"work", "cache", "cache-janitor", "cache-prune", "cache-snapshot", "cache-cold"}) {
      std::filesystem::remove_all(folder_.File(name));
    }
    std::filesystem::copy(folder_.File("repo"), folder_.File("work"),
                          std::filesystem::copy_options::recursive);
    Use("work");
  }
  // Runs `job` ("prune" or "snapshot") in a process of its own that is killed at the `at`-th
  // operation, or the `at`-th put. False: it ended before. (Not a fork: RocksDB's threads would be
  // missing.)
  bool KilledAt(const std::string& job, bool before, uint64_t at) const {
    ::setenv(kChildVariable,
             fmt::format("{} {} {} {} {} {}", job, before ? 1 : 0, at, GetParam() ? 1 : 0,
                         folder_.path(), source())
                 .c_str(),
             1);
    const CommandResult result =
        RunCommand({"/proc/self/exe", "--gtest_also_run_disabled_tests",
                    "--gtest_filter=PruneCrashChild.DISABLED_DoesItsJob", "--gtest_brief=1"});
    ::unsetenv(kChildVariable);
    EXPECT_TRUE(WIFSIGNALED(result.wait_status) || result.wait_status == 0) << result.output;
    return WIFSIGNALED(result.wait_status);
  }
};

TEST(PruneCrashChild, DISABLED_DoesItsJob) {
  const char* const told = ::getenv(kChildVariable);
  if (told == nullptr) GTEST_SKIP() << "run by the cases below";
  std::istringstream words(told);
  std::string job;
  std::string folder;
  std::string source;
  bool before = false;
  uint64_t at = 0;
  bool encrypted = false;
  words >> job >> before >> at >> encrypted >> folder >> source;
  Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(folder + "/work", {});
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  auto faults = std::make_unique<FaultStore>(std::move(*store), 1);
  Fault fault{.kind = before ? FaultKind::kKillBefore : FaultKind::kKillAfter, .at = at};
  if (job == "snapshot") fault.op = StoreOp::kPut;
  faults->Add(fault);
  RepositoryOptions options;
  options.cache_dir = folder + "/cache-" + job;
  options.memory_limit = 64 << 20;
  options.threads = 1;
  if (encrypted) options.credential = TestKeyFile();
  const auto node = RepositoryImpl::OpenWithStore(std::move(faults), options);
  ASSERT_TRUE(node.ok()) << node.status().ToString();
  if (job == "prune") {
    PruneOptions thorough;
    thorough.max_unused_bytes = 0;
    const auto pruned = PruneRepository(**node, thorough, nullptr);
    ASSERT_TRUE(pruned.ok()) << pruned.status().ToString();
  } else {
    SnapshotRequest request;
    request.paths = {source};
    const auto taken = TakeSnapshot(**node, request, nullptr);
    ASSERT_TRUE(taken.ok()) << taken.status().ToString();
  }
}

TEST_P(PruneCrashTest, AKilledPruneLosesNothingAndTheNextOneFinishes) {
  MakeRepository();
  for (int i = 0; i < 12; ++i) {
    WriteSource("f" + std::to_string(i), RandomBytes(30'000, static_cast<uint64_t>(i)));
  }
  const std::string old = Snapshot();
  for (int i = 0; i < 6; ++i) std::filesystem::remove(source("f" + std::to_string(2 * i)));
  WriteSource("new", RandomBytes(30'000, 99));
  const std::string gone = Snapshot();
  WriteSource("new", RandomBytes(30'000, 98));
  const std::string kept = Snapshot();
  const auto expected = ScanTree(source());
  Forget(old);
  Forget(gone);
  uint64_t kills = 0;
  for (uint64_t at = 1;; ++at) {
    CopyOfRepository();
    if (!KilledAt("prune", at % 2 == 0, at)) break;
    ++kills;
    SCOPED_TRACE(at);
    // What the dead prune left does not harm, and two more leave nothing of it.
    ASSERT_EQ(Describe(Check({.read_data = true})), "");
    ASSERT_TRUE(Prune(Thorough(), /*impatient=*/true).finished);
    Prune(Thorough(), /*impatient=*/true);
    ExpectClean();
    if (at % 8 == 0) ExpectRestores(kept, expected);
    if (HasFailure()) return;
  }
  EXPECT_GT(kills, 20u);
}

TEST_P(PruneCrashTest, AKilledSnapshotIsTakenUpAgainWithThePacksItStored) {
  MakeRepository();
  WriteSource("big", RandomBytes(24 * kMiB, 1));
  uint64_t kills = 0;
  for (uint64_t at = 1;; ++at) {
    CopyOfRepository();
    if (!KilledAt("snapshot", /*before=*/true, at)) break;
    ++kills;
    uint64_t stored = 0;
    for (const std::string& key : KeysBelow("data/")) stored += store_->Stat(ObjectKey(key))->size;
    const auto counting = std::make_shared<HookStore>(store_);
    const auto writer = NodeOf(counting, "snapshot");
    const auto taken = Take(*writer, source());
    ASSERT_TRUE(taken.ok()) << taken.status().ToString();
    uint64_t sent = 0;
    for (const auto& [key, bytes] : counting->written()) {
      if (key.starts_with("data/")) sent += bytes;
    }
    // A pack whose put was done and whose entry into the index was not is sent once more.
    EXPECT_LE(sent + stored, 24 * kMiB + 2 * writer->memory().pack) << at;
    EXPECT_TRUE(at <= 3 || sent < 24 * kMiB) << at << ": " << sent;
    EXPECT_EQ(Describe(Check({.read_data = true})), "");
  }
  EXPECT_GE(kills, 5u);
}

INSTANTIATE_TEST_SUITE_P(Repository, PruneCrashTest, testing::Bool(), EncryptedOrPlain);

}  // namespace
}  // namespace snapstore
