// What a DirectoryStore leaves when its process is killed and when the power goes.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "base/file.h"
#include "base/random.h"
#include "tests/base/child_process.h"
#include "tests/base/temp_folder.h"
#include "uploader/directory_store.h"

namespace snapstore {
namespace {

namespace fs = std::filesystem;

// The one content an object of this key may have.
Bytes ContentOf(uint64_t number) {
  SplitMix64 random(number);
  Bytes bytes(random.Below(1 << 20) / 8 * 8);
  for (size_t at = 0; at < bytes.size(); at += 8) StoreLe(&bytes[at], random.Next());
  return bytes;
}

ObjectKey KeyOf(uint64_t number) { return ObjectKey(fmt::format("o/{}/{}", number % 16, number)); }

Result<PutOutcome> PutNumber(ObjectStore* store, uint64_t number) {
  const Bytes bytes = ContentOf(number);
  const size_t cut = bytes.size() / 3;
  const std::array<ByteSpan, 2> parts = {ByteSpan(bytes).first(cut), ByteSpan(bytes).subspan(cut)};
  return store->PutIfAbsent(KeyOf(number), parts);
}

// Puts objects until it is killed; tells the number of each once it is stored.
[[noreturn]] void PutForever(const std::string& path, uint64_t first, int report_fd) {
  Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path);
  if (!store.ok()) ::_exit(1);
  for (uint64_t number = first;; ++number) {
    if (!PutNumber(store->get(), number).ok()) ::_exit(2);
    if (::write(report_fd, &number, sizeof(number)) != sizeof(number)) ::_exit(3);
  }
}

// Runs a putting process for a while, kills it, and returns the numbers it reported.
std::vector<uint64_t> PutAndKill(const std::string& path, uint64_t first,
                                 std::chrono::microseconds after) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  EXPECT_GE(child, 0);
  if (child == 0) {
    ::close(ends[0]);
    PutForever(path, first, ends[1]);
  }
  ::close(ends[1]);
  std::this_thread::sleep_for(after);
  EXPECT_EQ(::kill(child, SIGKILL), 0);
  int state = 0;
  EXPECT_EQ(::waitpid(child, &state, 0), child);
  EXPECT_TRUE(WIFSIGNALED(state)) << "the child ended by itself: " << state;
  std::vector<uint64_t> numbers;
  for (uint64_t number = 0; ::read(ends[0], &number, sizeof(number)) == sizeof(number);) {
    numbers.push_back(number);
  }
  ::close(ends[0]);
  return numbers;
}

TEST(DirectoryStoreCrash, AfterKillEachObjectIsWholeOrAbsent) {
  constexpr int kRounds = 50;
  constexpr uint64_t kNumbersPerRound = 1'000'000;
  const uint64_t seed = std::random_device()();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  SplitMix64 random(seed);
  TempFolder folder;
  Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(folder.path());
  ASSERT_TRUE(store.ok());
  size_t reported = 0;
  size_t listed = 0;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t first = static_cast<uint64_t>(round) * kNumbersPerRound;
    const std::vector<uint64_t> numbers =
        PutAndKill(folder.path(), first, std::chrono::microseconds(random.Below(40'000)));
    for (const uint64_t number : numbers) {
      const Result<ObjectInfo> info = (*store)->Stat(KeyOf(number));
      ASSERT_TRUE(info.ok()) << "reported and lost: " << info.status().ToString();
    }
    reported += numbers.size();
  }
  const Status status = (*store)->List("", [&](const ObjectInfo& info) {
    ++listed;
    const uint64_t number = std::stoull(info.key.substr(info.key.find_last_of('/') + 1));
    const Result<Bytes> got = (*store)->Get(ObjectKey(info.key), 1 << 20);
    EXPECT_TRUE(got.ok() && *got == ContentOf(number)) << info.key;
    return Status::Ok();
  });
  ASSERT_TRUE(status.ok()) << status.ToString();
  const auto temporary = fs::directory_iterator(folder.File("+tmp"));
  const auto interrupted = std::distance(fs::begin(temporary), fs::end(temporary));
  std::printf("%zu puts reported, %zu objects found, %td puts interrupted\n", reported, listed,
              interrupted);
  // A run in which nothing was stored or nothing was interrupted proves nothing.
  EXPECT_GT(reported, 0u);
  EXPECT_GT(interrupted, 0);
  EXPECT_GE(listed, reported);
}

int Shell(const std::string& command) { return std::system(command.c_str()); }

// A file system on a loop device. What its kernel has not yet written to the device is not in the
// image, so a copy of the image is what a power cut leaves.
class PowerCut {
 public:
  explicit PowerCut(const std::string& folder)
      : image_(folder + "/image"), mounted_(folder + "/live"), after_(folder + "/after") {}

  // False where this machine cannot do it. REQUIRES: a mount namespace of one's own.
  bool Start() {
    fs::create_directory(mounted_);
    fs::create_directory(after_);
    return Shell(fmt::format("truncate -s 64M {0} && mkfs.ext4 -q -F {0} >/dev/null 2>&1 && "
                             "mount -o loop,commit=600 {0} {1} 2>/dev/null",
                             image_, mounted_)) == 0;
  }

  const std::string& path() const { return mounted_; }

  // Calls `look` with the path of the file system as it would be found after a power cut now.
  std::string Cut(const std::function<std::string(const std::string&)>& look) {
    const std::string copy = image_ + ".cut";
    if (Shell(fmt::format("cp --sparse=always {0} {1} && mount -o loop {1} {2}", image_, copy,
                          after_)) != 0) {
      return "cannot mount the copy";
    }
    std::string verdict = look(after_);
    if (Shell(fmt::format("umount {} && rm {}", after_, copy)) != 0) return "cannot unmount";
    return verdict;
  }

 private:
  const std::string image_;
  const std::string mounted_;
  const std::string after_;
};

// Empty when the store at `path` holds exactly the objects `numbers`.
std::string Holds(const std::string& path, const std::vector<uint64_t>& numbers) {
  Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path);
  if (!store.ok()) return store.status().ToString();
  for (const uint64_t number : numbers) {
    const Result<Bytes> got = (*store)->Get(KeyOf(number), 1 << 20);
    if (!got.ok()) return "lost: " + got.status().ToString();
    if (*got != ContentOf(number)) return fmt::format("object {} is damaged", number);
  }
  size_t listed = 0;
  const Status status = (*store)->List("", [&](const ObjectInfo&) {
    ++listed;
    return Status::Ok();
  });
  if (!status.ok()) return status.ToString();
  return listed == numbers.size() ? "" : fmt::format("{} objects are listed", listed);
}

// As a writer that died between link and fsync of the folder leaves it.
std::string LinkWithoutSync(const std::string& root, uint64_t number) {
  const std::string temporary = root + "/../other";
  const std::string final_name = root + "/" + KeyOf(number).text();
  fs::create_directories(fs::path(final_name).parent_path());
  const Bytes bytes = ContentOf(number);
  std::ofstream(temporary).write(AsText(bytes).data(), static_cast<std::streamsize>(bytes.size()));
  const Result<UniqueFd> file = OpenFile(temporary, 0);
  if (!file.ok() || !SyncFd(file->get(), temporary).ok()) return "cannot sync";
  return ::link(temporary.c_str(), final_name.c_str()) == 0 && ::unlink(temporary.c_str()) == 0
             ? ""
             : "cannot link";
}

std::string PutAndCut(const std::string& folder) {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", "", MS_REC | MS_PRIVATE, "") != 0) {
    return "skip";
  }
  PowerCut power(folder);
  if (!power.Start()) return "skip";
  const std::string root = power.path() + "/deep/store";
  const auto holds = [&](std::vector<uint64_t> numbers) {
    return power.Cut([numbers = std::move(numbers)](const std::string& after) {
      return Holds(after + "/deep/store", numbers);
    });
  };
  Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(root, {.create = true});
  if (!store.ok()) return store.status().ToString();
  if (std::string verdict = holds({}); !verdict.empty()) return "empty store: " + verdict;

  std::vector<uint64_t> numbers;
  for (const uint64_t number : {1, 2, 3, 17}) {
    const Result<PutOutcome> outcome = PutNumber(store->get(), number);
    if (!outcome.ok()) return outcome.status().ToString();
    numbers.push_back(number);
    if (std::string verdict = holds(numbers); !verdict.empty()) return "put: " + verdict;
  }
  // The canary: what was not synced must be missed after the cut, or this test sees nothing.
  if (std::string verdict = LinkWithoutSync(root, 18); !verdict.empty()) return verdict;
  if (std::string verdict = holds(numbers); !verdict.empty()) return "canary: " + verdict;
  const Result<PutOutcome> outcome = PutNumber(store->get(), 18);
  if (!outcome.ok() || *outcome != PutOutcome::kExisted) return "put of an existing object";
  numbers.push_back(18);
  if (std::string verdict = holds(numbers); !verdict.empty()) return "existed: " + verdict;

  if (!(*store)->Delete(KeyOf(18)).ok()) return "cannot delete";
  numbers.pop_back();
  if (std::string verdict = holds(numbers); !verdict.empty()) return "delete: " + verdict;
  return "";
}

TEST(DirectoryStoreCrash, WhatWasReportedSurvivesAPowerCut) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for a loop device";
  TempFolder folder;
  // The mounts, and with them the loop devices, go with the child.
  const std::string verdict = RunInChild([&] { return PutAndCut(folder.path()); });
  if (verdict == "skip") GTEST_SKIP() << "no loop devices, mkfs.ext4 or mount namespaces here";
  EXPECT_EQ(verdict, "");
}

}  // namespace
}  // namespace snapstore
