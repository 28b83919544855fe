// What a restore must never do: write what was not verified, leave the target, trust a manifest,
// read more of a repository than the snapshot needs.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/random.h"
#include "engine/entry_list.h"
#include "tests/base/child_process.h"
#include "tests/engine/fixture.h"
#include "uploader/counting_store.h"
#include "uploader/fault_store.h"

namespace snapstore {
namespace {

class RestoreSafety : public EngineFixture {
 protected:
  static format::Entry MakeEntry(const std::string& path, EntryType type) {
    format::Entry entry;
    entry.set_path(path);
    entry.set_type(static_cast<uint32_t>(type));
    entry.set_mode(0644);
    entry.set_uid(::geteuid());
    entry.set_gid(::getegid());
    return entry;
  }
};

class Invariant4 : public RestoreSafety {};
class Invariant5 : public RestoreSafety {
 protected:
  void WriteSources() {
    for (int i = 0; i < 40; ++i) {
      WriteFileAt(source("file-" + std::to_string(i)), RandomBytes(200'000, i));
    }
    // Compressible, and shared between files.
    for (int i = 0; i < 5; ++i) {
      WriteFileAt(source("text-" + std::to_string(i)),
                  std::string(300'000, 'a') + RandomBytes(100'000, 99));
    }
    expected_ = ScanTree(source());
  }

  // Restores; every file that is there afterwards is right, every other one was warned about.
  // Returns how many failed.
  uint64_t RestoreDamaged(const std::string& id) {
    std::filesystem::remove_all(target());
    RecordingObserver observer;
    const Result<RestoreSummary> summary = Restore(AllOf(id), &observer);
    if (!summary.ok()) {
      EXPECT_EQ(summary.status().code(), StatusCode::kCorruption) << summary.status().ToString();
    } else {
      EXPECT_EQ(summary->failed, observer.warnings.size());
    }
    std::map<std::string, std::string> found;
    if (std::filesystem::exists(Restored(source()))) found = ScanTree(Restored(source()));
    uint64_t missing = 0;
    for (const auto& [name, line] : expected_) {
      const auto it = found.find(name);
      if (it == found.end()) {
        ++missing;
      } else if (!name.empty() && summary.ok()) {
        EXPECT_EQ(it->second, line) << name;
      }
    }
    for (const auto& [name, line] : found) EXPECT_TRUE(expected_.contains(name)) << name;
    if (!summary.ok()) return 1;
    EXPECT_EQ(summary->failed, missing);
    return missing;
  }

  std::map<std::string, std::string> expected_;
};

TEST_F(Invariant5, AByteFlippedInAStoredPackNeverReachesAFile) {
  const uint64_t seed = 77;
  SCOPED_TRACE(seed);
  SplitMix64 random(seed);
  WriteSources();
  const std::string id = Snapshot();
  uint64_t failures = 0;
  for (const std::string& key : KeysBelow(std::string(kDataPrefix))) {
    for (int i = 0; i < 25; ++i) {
      const size_t at = random.Below(8 * kMiB);
      FlipByte(key, at);
      repository_ = OpenRepository();
      failures += RestoreDamaged(id);
      FlipByte(key, at);
    }
  }
  EXPECT_GT(failures, 15u);
  repository_ = OpenRepository();
  EXPECT_EQ(RestoreDamaged(id), 0u);
}

TEST_F(Invariant5, DamagedMetadataIsAnErrorOrAWarningNeverAWrongFile) {
  WriteSources();
  const std::string id = Snapshot();
  uint64_t failures = 0;
  std::vector<std::string> keys = KeysBelow(std::string(kMetaPrefix));
  keys.push_back(ManifestKey(*Digest::FromHex(id)).text());
  for (const std::string& key : keys) {
    for (const size_t at : {20, 60, 100, 200, 400, 1000}) {
      FlipByte(key, at);
      repository_ = OpenRepository();
      failures += RestoreDamaged(id);
      FlipByte(key, at);
    }
  }
  EXPECT_GT(failures, 5u);
}

TEST_F(Invariant5, BitsThatFlipOnTheWayNeverReachAFile) {
  WriteSources();
  const std::string id = Snapshot();
  uint64_t injected = 0;  // a restore makes few large reads: one may be spared, ten are not
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    auto faults = std::make_unique<FaultStore>(store_, seed);
    FaultStore* const handle = faults.get();
    repository_ = OpenRepository(std::move(faults));
    handle->Add({.kind = seed % 2 == 0 ? FaultKind::kFlipBit : FaultKind::kTruncateRead,
                 .op = StoreOp::kGetRange,
                 .key_prefix = std::string(kDataPrefix),
                 .probability = 0.6});
    RestoreDamaged(id);
    injected += handle->injected();
  }
  EXPECT_GT(injected, 5u);
}

TEST_F(Invariant5, InPlaceLeavesADamagedFileAndSaysSo) {
  WriteFileAt(source("file"), RandomBytes(kMiB, 1));
  const std::string id = Snapshot();
  RestoreAll(id);
  const std::string file = Restored(source("file"));
  const std::string junk(kMiB, 'j');
  WriteFileAt(file, junk);
  FlipByte(KeysBelow(std::string(kDataPrefix)).front(), 5000);
  repository_ = OpenRepository();
  RecordingObserver observer;
  RestoreRequest request = AllOf(id);
  request.in_place = true;
  const Result<RestoreSummary> summary = Restore(request, &observer);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->failed, 1u);
  ASSERT_EQ(observer.warnings.size(), 1u);
  EXPECT_NE(observer.warnings[0].status.message().find("in place"), std::string::npos);
  // Every byte is the snapshot's or what was there before.
  const std::string expected = ReadFileAt(source("file"));
  const std::string found = ReadFileAt(file);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(found[i] == expected[i] || found[i] == 'j') << i;
  }
}

TEST_F(Invariant5, AFileWhoseFirstNameFailedIsNotLinkedToSomethingElse) {
  WriteFileAt(source("first"), RandomBytes(kMiB, 1));
  ASSERT_EQ(::link(source("first").c_str(), source("second").c_str()), 0);
  const std::string id = Snapshot();
  FlipByte(KeysBelow(std::string(kDataPrefix)).front(), 5000);
  repository_ = OpenRepository();
  WriteFileAt(Restored(source("first")), "something else");
  RecordingObserver observer;
  const Result<RestoreSummary> summary = Restore(AllOf(id), &observer);
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->failed, 2u);
  EXPECT_FALSE(std::filesystem::exists(Restored(source("second"))));
}

TEST_F(Invariant4, AColdRestoreReadsOneSnapshotNotTheRepository) {
  struct Cost {
    StoreCounts total;
    StoreCounts lists;
  };
  const auto restore_cold = [&](const std::string& id, const std::string& cache) {
    auto counting = std::make_unique<CountingStore>(store_);
    CountingStore* const counts = counting.get();
    repository_ = OpenRepository(std::move(counting), cache);
    std::filesystem::remove_all(target());
    RestoreAll(id);
    const Cost cost{counts->Total(), counts->Counts(StoreOp::kList)};
    repository_.reset();
    return cost;
  };
  for (int i = 0; i < 50; ++i) {
    WriteFileAt(source("mine-" + std::to_string(i)), RandomBytes(50'000, i));
  }
  const std::string id = Snapshot();
  const auto expected = ScanTree(source());
  const Cost before = restore_cold(id, "cold-1");
  for (int round = 1; round <= 10; ++round) {
    std::filesystem::remove_all(source());
    for (int i = 0; i < 50; ++i) {
      WriteFileAt(source("other-" + std::to_string(i)), RandomBytes(50'000, 1000 * round + i));
    }
    Snapshot();
  }
  const Cost after = restore_cold(id, "cold-2");
  EXPECT_EQ(ScanTree(Restored(source())), expected);
  EXPECT_EQ(after.total.requests, before.total.requests);
  EXPECT_EQ(after.total.bytes, before.total.bytes);
  EXPECT_EQ(after.lists.requests, 0u);
  EXPECT_LT(after.total.bytes, 50 * 50'000 + 200'000u);
  // No chunk index came into being.
  EXPECT_FALSE(std::filesystem::exists(folder_.File("cold-2")));
}

TEST_F(RestoreSafety, NeverFollowsASymlinkInADirectorysPlace) {
  WriteFileAt(source("dir/deep/file"), "payload");
  const std::string id = Snapshot();
  const std::string outside = folder_.File("outside");
  std::filesystem::create_directories(outside + "/deep");
  // Above and at what is selected; the directory's own entry is not among it.
  std::filesystem::create_directories(Restored(source()));
  ASSERT_EQ(::symlink(outside.c_str(), Restored(source("dir")).c_str()), 0);
  for (const bool in_place : {false, true}) {
    RecordingObserver observer;
    RestoreRequest request = AllOf(id);
    request.paths = {source("dir/deep/file")};
    request.in_place = in_place;
    const Result<RestoreSummary> summary = Restore(request, &observer);
    ASSERT_TRUE(summary.ok()) << summary.status().ToString();
    EXPECT_EQ(summary->failed, 1u);
    EXPECT_EQ(observer.warnings.size(), 1u);
    EXPECT_TRUE(std::filesystem::is_empty(outside + "/deep"));
    EXPECT_TRUE(std::filesystem::is_symlink(Restored(source("dir"))));
  }
  // At the directory's own entry it is replaced.
  const struct timespec old[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, outside.c_str(), old, 0), 0);
  RestoreAll(id);
  EXPECT_FALSE(std::filesystem::is_symlink(Restored(source("dir"))));
  EXPECT_EQ(ReadFileAt(Restored(source("dir/deep/file"))), "payload");
  EXPECT_TRUE(std::filesystem::is_empty(outside + "/deep"));
  struct stat stat;
  ASSERT_EQ(::stat(outside.c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mtim.tv_sec, 1);
}

TEST_F(RestoreSafety, ReplacesASymlinkInAFilesPlaceInsteadOfWritingThroughIt) {
  WriteFileAt(source("file"), "payload");
  ASSERT_EQ(::mkfifo(source("fifo").c_str(), 0666), 0);
  const std::string id = Snapshot();
  const std::string outside = folder_.File("outside");
  for (const bool in_place : {false, true}) {
    std::filesystem::remove_all(target());
    WriteFileAt(outside, "untouched");
    ASSERT_EQ(::chmod(outside.c_str(), 0600), 0);
    std::filesystem::create_directories(Restored(source()));
    ASSERT_EQ(::symlink(outside.c_str(), Restored(source("file")).c_str()), 0);
    ASSERT_EQ(::symlink(outside.c_str(), Restored(source("fifo")).c_str()), 0);
    RestoreAll(id, in_place);
    EXPECT_EQ(ReadFileAt(outside), "untouched");
    struct stat stat;
    ASSERT_EQ(::stat(outside.c_str(), &stat), 0);
    EXPECT_EQ(stat.st_mode & 0777, 0600u);
    EXPECT_EQ(ScanTree(source()), ScanTree(Restored(source())));
  }
}

TEST_F(RestoreSafety, ASnapshotsOwnSymlinkLeadsNowhere) {
  // A hostile manifest: a symlink, and a file "below" it.
  const std::string outside = folder_.File("outside");
  std::filesystem::create_directories(outside);
  format::Entry symlink = MakeEntry("x", EntryType::kSymlink);
  symlink.set_symlink_target(outside);
  const std::string id =
      StoreManifest({symlink, MakeEntry("x/file", EntryType::kFile),
                     MakeEntry("x/y", EntryType::kDirectory), MakeEntry("z", EntryType::kFile)});
  RecordingObserver observer;
  const Result<RestoreSummary> summary = Restore(AllOf(id), &observer);
  ASSERT_TRUE(summary.ok()) << summary.status().ToString();
  EXPECT_EQ(summary->failed, 2u);
  EXPECT_TRUE(std::filesystem::is_empty(outside));
  EXPECT_TRUE(std::filesystem::exists(target("z")));
}

TEST_F(RestoreSafety, RefusesPathsThatLeaveTheTarget) {
  for (const char* path :
       {"../escaped", "/escaped", "a/../../escaped", "a//b", "a/./b", "..", "", "a/"}) {
    SCOPED_TRACE(path);
    const std::string id = StoreManifest({MakeEntry(path, EntryType::kFile)});
    const Status status = Restore(AllOf(id)).status();
    EXPECT_EQ(status.code(), StatusCode::kCorruption) << status.ToString();
    EXPECT_FALSE(std::filesystem::exists(folder_.File("escaped")));
    EXPECT_FALSE(std::filesystem::exists("/escaped"));
  }
}

TEST_F(RestoreSafety, RefusesHardLinksThatLeaveTheTarget) {
  const std::string secret = folder_.File("secret");
  WriteFileAt(secret, "secret");
  format::Entry link = MakeEntry("link", EntryType::kFile);
  for (const std::string& to : {std::string("../secret"), secret, std::string("none")}) {
    SCOPED_TRACE(to);
    link.set_hard_link_to(to);
    std::filesystem::remove_all(target());
    RecordingObserver observer;
    const Result<RestoreSummary> summary = Restore(AllOf(StoreManifest({link})), &observer);
    if (summary.ok()) {
      EXPECT_EQ(summary->failed, 1u);
    }
    EXPECT_FALSE(std::filesystem::exists(target("link")));
    struct stat stat;
    ASSERT_EQ(::stat(secret.c_str(), &stat), 0);
    EXPECT_EQ(stat.st_nlink, 1u);
  }
}

TEST_F(RestoreSafety, ContentThatDoesNotFillTheFileIsDamage) {
  format::Entry file = MakeEntry("file", EntryType::kFile);
  file.set_size(100 * kMiB);
  RecordingObserver observer;
  const Result<RestoreSummary> summary = Restore(AllOf(StoreManifest({file})), &observer);
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->failed, 1u);
  EXPECT_FALSE(std::filesystem::exists(target("file")));
}

TEST_F(RestoreSafety, AFullDiskEndsItWithAClearErrorAndNoHalfFile) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount";
  // With one thread, the small file is stored and restored before the big one.
  const auto open_with_one_thread = [this] {
    repository_ = OpenRepository(nullptr, "cache", 128 * kMiB, /*threads=*/1);
  };
  WriteFileAt(source("a-small"), "fits");
  WriteFileAt(source("b-big"), RandomBytes(8 * kMiB, 1));
  open_with_one_thread();
  const std::string id = Snapshot();
  repository_.reset();
  std::filesystem::create_directories(target());
  const std::string verdict = RunInChild([&]() -> std::string {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", target().c_str(), "tmpfs", 0, "size=4m") != 0) {
      return "cannot mount";
    }
    open_with_one_thread();
    const Status status = Restore(AllOf(id)).status();
    if (!status.Is(StatusCode::kNoSpace)) return "status " + status.ToString();
    if (status.message().find("b-big") == std::string::npos) return status.message();
    if (ReadFileAt(Restored(source("a-small"))) != "fits") return "the small file is not there";
    if (std::filesystem::exists(Restored(source("b-big")))) return "half of the big";
    return {};
  });
  EXPECT_EQ(verdict, "");
}

}  // namespace
}  // namespace snapstore
