// A directory store on NFS, seen by two clients of one server; runs inside
// tests/servers/nfs_lab.py.
//
// Cases about caches first show that the client's own answer is out of date: otherwise what follows
// would prove nothing.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/quota.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "tests/base/child_process.h"
#include "tests/uploader/put.h"
#include "uploader/directory_store.h"

namespace snapstore {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr int64_t kSecond = 1'000'000'000;  // in ns

std::string FromEnvironment(const char* name) {
  const char* const value = std::getenv(name);
  SNAP_CHECK(value != nullptr);
  return value;
}

void Lab(const std::string& words) { ASSERT_EQ(std::system(("lab " + words).c_str()), 0) << words; }

Bytes Pattern(uint64_t seed, size_t size) {
  SplitMix64 random(seed);
  Bytes bytes(size);
  for (size_t at = 0; at + 8 <= size; at += 8) StoreLe(&bytes[at], random.Next());
  return bytes;
}

// What the client itself says, caches included.
bool ClientSees(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

int64_t ModifiedNs(ObjectStore& store, const std::string& key) {
  const Result<ObjectInfo> info = store.Stat(ObjectKey(key));
  EXPECT_TRUE(info.ok()) << info.status().ToString();
  return info.ok() ? info->modified_ns : 0;
}

// Sorted.
std::vector<std::string> Keys(ObjectStore& store, const std::string& prefix = "") {
  std::vector<std::string> keys;
  const Status status = store.List(prefix, [&](const ObjectInfo& info) {
    keys.push_back(info.key);
    return Status::Ok();
  });
  EXPECT_TRUE(status.ok()) << status.ToString();
  std::sort(keys.begin(), keys.end());
  return keys;
}

class TwoClients : public testing::Test {
 protected:
  void SetUp() override {
    static int cases = 0;
    name_ = fmt::format("/case-{}", ++cases);
    a_ = OpenAt(path_a());
    b_ = OpenAt(path_b());
  }
  void TearDown() override {
    a_.reset();
    b_.reset();
    std::error_code ignored;
    fs::remove_all(FromEnvironment("NFS_EXPORT") + name_, ignored);
  }

  std::string path_a() const { return FromEnvironment("NFS_A") + name_; }
  std::string path_b() const { return FromEnvironment("NFS_B") + name_; }

  static std::unique_ptr<ObjectStore> OpenAt(const std::string& path) {
    Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path, {.create = true});
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    SNAP_CHECK(store.ok());
    return std::move(store).value();
  }

  static void ExpectCreated(ObjectStore& store, const std::string& key, ByteSpan bytes) {
    const Result<PutOutcome> outcome = Put(&store, key, bytes);
    ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
    EXPECT_EQ(*outcome, PutOutcome::kCreated) << key;
  }

  static void ExpectContent(ObjectStore& store, const std::string& key, ByteSpan bytes) {
    const Result<Bytes> got = store.Get(ObjectKey(key), bytes.size());
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    EXPECT_TRUE(std::equal(got->begin(), got->end(), bytes.begin(), bytes.end())) << key;
  }

  std::string name_;
  std::unique_ptr<ObjectStore> a_;
  std::unique_ptr<ObjectStore> b_;
};

// Invariant 9.
TEST_F(TwoClients, WhatOneLookedUpInVainIsThereOnceTheOtherPutIt) {
  ExpectCreated(*a_, "there/first", AsBytes("x"));
  for (const char* text : {"top", "there/file", "folder/file", "deep/er/file"}) {
    const ObjectKey key(text);
    Bytes out(1);
    const auto missing = [&](const Status& status) { return status.Is(StatusCode::kNotFound); };
    ASSERT_TRUE(missing(b_->Get(key, 10).status()));
    ASSERT_FALSE(ClientSees(path_b() + "/" + text));
    ExpectCreated(*a_, text, AsBytes("x"));
    ASSERT_FALSE(ClientSees(path_b() + "/" + text)) << "the client's memory is not out of date";
    ExpectContent(*b_, text, AsBytes("x"));

    ASSERT_TRUE(a_->Delete(key).ok());
    ASSERT_TRUE(missing(b_->Stat(key).status()));
    ASSERT_TRUE(missing(b_->GetRange(key, 0, out)));
    ExpectCreated(*a_, text, AsBytes("x"));
    EXPECT_TRUE(b_->Stat(key).ok()) << text;
    EXPECT_TRUE(b_->GetRange(key, 0, out).ok()) << text;

    ASSERT_TRUE(a_->Delete(key).ok());
    ASSERT_TRUE(missing(b_->Delete(key)));
    ExpectCreated(*a_, text, AsBytes("x"));
    EXPECT_TRUE(b_->Delete(key).ok()) << text;
  }
}

// A writer's lease must be seen by whoever lists after it was put.
TEST_F(TwoClients, AListingShowsWhatTheOtherPutBeforeIt) {
  EXPECT_TRUE(Keys(*b_).empty());
  EXPECT_TRUE(Keys(*b_, "leases/").empty());
  for (int i = 0; i < 40; ++i) {
    const std::string key = fmt::format("leases/{}{}", i % 4 == 0 ? "new/" : "", i);
    ExpectCreated(*a_, key, AsBytes("x"));
    const std::vector<std::string> listed = Keys(*b_, i % 2 == 0 ? "leases/" : "");
    EXPECT_EQ(listed.size(), static_cast<size_t>(i + 1));
    EXPECT_TRUE(std::binary_search(listed.begin(), listed.end(), key)) << key;
  }
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(a_->Delete(ObjectKey(fmt::format("leases/{}{}", i % 4 ? "" : "new/", i))).ok());
    EXPECT_EQ(Keys(*b_, "leases/").size(), static_cast<size_t>(39 - i));
  }
}

// Otherwise a snapshot would count on a pack that a prune elsewhere has just deleted.
TEST_F(TwoClients, WhatTheOtherDeletedIsPutAgain) {
  for (const bool held_open : {false, true}) {
    const std::string text = held_open ? "packs/open" : "packs/closed";
    const ObjectKey key(text);
    ExpectCreated(*a_, text, AsBytes("content"));
    ExpectContent(*b_, text, AsBytes("content"));
    // The deleting client keeps an open file as .nfsXXXX.
    UniqueFd open;
    if (held_open) open = UniqueFd(::open((path_a() + "/" + text).c_str(), O_RDONLY));
    ASSERT_TRUE(a_->Delete(key).ok());
    ASSERT_TRUE(ClientSees(path_b() + "/" + text)) << "the client's memory is not out of date";
    ExpectCreated(*b_, text, AsBytes("content"));
    ExpectContent(*a_, text, AsBytes("content"));

    ASSERT_TRUE(ClientSees(path_b() + "/" + text));  // remembers it from here on
    ASSERT_TRUE(a_->Delete(key).ok());
    ASSERT_TRUE(ClientSees(path_b() + "/" + text));
    EXPECT_TRUE(b_->Stat(key).status().Is(StatusCode::kNotFound));
    EXPECT_TRUE(Keys(*b_, "packs/").empty());
  }
}

TEST_F(TwoClients, OnlyOneOfThemCreates) {
  constexpr int kKeys = 40;
  std::array<std::vector<bool>, 2> created = {std::vector<bool>(kKeys), std::vector<bool>(kKeys)};
  std::barrier together(2);
  const auto put_all = [&](int client) {
    ObjectStore& store = client == 0 ? *a_ : *b_;
    for (int i = 0; i < kKeys; ++i) {
      together.arrive_and_wait();
      const Result<PutOutcome> outcome =
          Put(&store, fmt::format("race/{}", i), AsBytes(client == 0 ? "from a" : "from b"));
      ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
      created[client][i] = *outcome == PutOutcome::kCreated;
    }
  };
  std::thread other(put_all, 1);
  put_all(0);
  other.join();
  for (int i = 0; i < kKeys; ++i) {
    EXPECT_NE(created[0][i], created[1][i]) << i;
    const ByteSpan winner = AsBytes(created[0][i] ? "from a" : "from b");
    ExpectContent(*a_, fmt::format("race/{}", i), winner);
    ExpectContent(*b_, fmt::format("race/{}", i), winner);
  }
  const auto wins = std::count(created[0].begin(), created[0].end(), true);
  EXPECT_TRUE(wins > 0 && wins < kKeys) << wins << " of " << kKeys << ": that was no race";
}

TEST_F(TwoClients, AnObjectIsSeenWholeOrNotAtAll) {
  constexpr int kObjects = 6;
  constexpr size_t kBytes = 3 << 20;
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; i < kObjects; ++i) {
      ExpectCreated(*a_, fmt::format("o/{}", i), Pattern(i, kBytes));
    }
    done = true;
  });
  int absent = 0;
  int whole = 0;
  for (int i = 0; i < kObjects; ++i) {
    const std::string key = fmt::format("o/{}", i);
    for (;;) {
      const bool last = done;
      for (const std::string& listed : Keys(*b_)) {
        EXPECT_EQ(b_->Stat(ObjectKey(listed))->size, kBytes);
      }
      const Result<Bytes> got = b_->Get(ObjectKey(key), kBytes);
      if (got.ok()) {
        ++whole;
        EXPECT_TRUE(*got == Pattern(i, kBytes)) << key;
        break;
      }
      EXPECT_TRUE(got.status().Is(StatusCode::kNotFound)) << got.status().ToString();
      ++absent;
      if (last || HasFailure()) break;
    }
  }
  writer.join();
  EXPECT_EQ(whole, kObjects);
  EXPECT_GT(absent, 0) << "no look-up came before the put";
}

TEST_F(TwoClients, AServerThatStartsAgainIsWaitedForAndLosesNothing) {
  constexpr int kMore = 4;
  constexpr size_t kBytes = 256 << 10;
  std::atomic<int> stored = 0;
  std::atomic<int> enough = 1'000'000;
  std::thread writer([&] {
    for (; stored < enough; ++stored) {
      ExpectCreated(*a_, fmt::format("o/{}", stored.load()), Pattern(stored, kBytes));
    }
  });
  while (stored < kMore) std::this_thread::sleep_for(milliseconds(5));
  Lab("server restart");
  enough = stored + kMore;
  writer.join();
  for (int i = 0; i < enough; ++i) {
    ExpectContent(*b_, fmt::format("o/{}", i), Pattern(i, kBytes));
  }
  EXPECT_EQ(Keys(*b_).size(), static_cast<size_t>(enough));
}

class CutLine : public TwoClients {
 protected:
  // Asks everything of `store` at once, in threads that Join() ends.
  void AskAll(ObjectStore* store) {
    const auto call = [&](const std::function<Status()>& ask) {
      Status* const answer = &answers_.emplace_back(Status::Internal("no answer"));
      calls_.emplace_back([answer, ask] { *answer = ask(); });
    };
    call([=, this] { return Put(store, "new", bytes_).status(); });
    call([=, this] { return store->Get(ObjectKey("old"), bytes_.size()).status(); });
    call([=] { return store->Stat(ObjectKey("old")).status(); });
    call([=] { return store->List("", [](const ObjectInfo&) { return Status::Ok(); }); });
    call([=] { return store->Get(ObjectKey("never"), 1).status(); });
    call([=] { return store->Delete(ObjectKey("never")); });
  }
  void Join() {
    for (std::thread& call : calls_) call.join();
    calls_.clear();
  }

  static constexpr size_t kAnswersThatAreOk = 4;
  const Bytes bytes_ = Pattern(1, 1 << 20);
  std::deque<Status> answers_;
  std::vector<std::thread> calls_;
};

TEST_F(CutLine, IsWaitedForOnAHardMount) {
  ExpectCreated(*b_, "old", bytes_);
  Lab("cut a");
  const Stopwatch watch;
  AskAll(a_.get());
  std::this_thread::sleep_for(milliseconds(2000));
  Lab("heal a");
  Join();
  EXPECT_GT(watch.Seconds(), 2.0);
  for (size_t i = 0; i < answers_.size(); ++i) {
    EXPECT_TRUE(i < kAnswersThatAreOk ? answers_[i].ok() : answers_[i].Is(StatusCode::kNotFound))
        << answers_[i].ToString();
  }
  ExpectContent(*b_, "new", bytes_);
}

TEST_F(CutLine, IsAnErrorOnASoftMountThatSaysSoAndNothingIsHalfStored) {
  ExpectCreated(*b_, "old", bytes_);
  Lab("mount a /mnt/soft soft,timeo=5,retrans=1");
  const std::unique_ptr<ObjectStore> soft = OpenAt("/mnt/soft" + name_);
  Lab("cut a");
  AskAll(soft.get());
  Join();
  for (const Status& answer : answers_) {
    EXPECT_TRUE(answer.Is(StatusCode::kIo) || answer.Is(StatusCode::kTimeout)) << answer.ToString();
    EXPECT_NE(answer.message().find("the mount is soft"), std::string::npos) << answer.ToString();
  }
  EXPECT_EQ(Keys(*b_), std::vector<std::string>{"old"});
  Lab("heal a");
  Result<PutOutcome> again = Put(soft.get(), "new", bytes_);
  for (int i = 0; i < 20 && !again.ok(); ++i) again = Put(soft.get(), "new", bytes_);
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  ExpectContent(*b_, "new", bytes_);
  EXPECT_EQ(Keys(*soft), (std::vector<std::string>{"new", "old"}));
  ASSERT_EQ(std::system("umount -l /mnt/soft"), 0);
}

TEST_F(TwoClients, FoldersThatTheOtherRemovedAreMadeAgain) {
  ExpectCreated(*a_, "x/y/one", AsBytes("1"));
  ASSERT_TRUE(ClientSees(path_a() + "/x/y") && ClientSees(path_a() + "/+tmp"));
  fs::remove_all(path_b() + "/x");
  fs::remove_all(path_b() + "/+tmp");
  ASSERT_TRUE(ClientSees(path_a() + "/x/y")) << "the client's memory is not out of date";
  ExpectCreated(*a_, "x/y/two", AsBytes("2"));
  EXPECT_EQ(Keys(*b_), std::vector<std::string>{"x/y/two"});
  EXPECT_TRUE(a_->Get(ObjectKey("x/y/one"), 1).status().Is(StatusCode::kNotFound));
}

// Invariant 9. The server may give the new directory the old one's inode number.
TEST_F(TwoClients, AStoreThatTheOtherRemovedIsAnErrorNotAnEmptyStore) {
  ExpectCreated(*a_, "x/one", AsBytes("1"));
  const auto unsure = [&] {
    const ObjectKey key("x/one");
    for (const Status& answer : {a_->Get(key, 1).status(), a_->Stat(key).status(), a_->Delete(key),
                                 a_->List("", [](const ObjectInfo&) { return Status::Ok(); }),
                                 Put(a_.get(), "x/two", AsBytes("2")).status()}) {
      EXPECT_TRUE(answer.Is(StatusCode::kIo)) << answer.ToString();
    }
  };
  fs::remove_all(path_b());
  unsure();
  fs::create_directory(path_b());
  unsure();
}

TEST_F(TwoClients, TimesAreTheServers) {
  ExpectCreated(*a_, "leases/x", AsBytes("x"));
  ExpectCreated(*a_, "empty", {});
  for (const char* key : {"leases/x", "empty"}) {
    struct stat server {};
    ASSERT_EQ(::stat((FromEnvironment("NFS_EXPORT") + name_ + "/" + key).c_str(), &server), 0);
    const int64_t expected = server.st_mtim.tv_sec * kSecond + server.st_mtim.tv_nsec;
    EXPECT_EQ(ModifiedNs(*a_, key), expected);
    EXPECT_EQ(ModifiedNs(*b_, key), expected);
    for (ObjectStore* store : {a_.get(), b_.get()}) {
      EXPECT_TRUE(store
                      ->List(key,
                             [&](const ObjectInfo& info) {
                               EXPECT_EQ(info.modified_ns, expected);
                               return Status::Ok();
                             })
                      .ok());
    }
  }
}

// In a lab whose client's clock is ahead (--skew): leases live by the server's clock alone.
TEST(SkewedClock, TimesOfObjectsAreTheServersNotTheClients) {
  const int64_t skew = std::stoll(FromEnvironment("NFS_SKEW_SECONDS")) * kSecond;
  const std::string path = FromEnvironment("NFS_A") + "/skewed";
  const Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path, {.create = true});
  ASSERT_TRUE(store.ok()) << store.status().ToString();
  for (const auto& [key, content] : {std::pair("leases/x", "x"), {"empty", ""}}) {
    ASSERT_TRUE(Put(store->get(), key, AsBytes(content)).ok());
    const int64_t behind = WallNanos() - ModifiedNs(**store, key);
    EXPECT_GT(behind, skew - 60 * kSecond) << key;
    EXPECT_LT(behind, skew + 60 * kSecond) << key;
  }
}

TEST_F(TwoClients, AFullFileSystemIsNoSpaceAndNothingIsHalfStored) {
  const std::string filler = FromEnvironment("NFS_EXPORT") + "/filler";
  const Bytes bytes = Pattern(1, 8 << 20);
  ExpectCreated(*a_, "before", AsBytes("x"));
  struct statvfs space {};
  ASSERT_EQ(::statvfs(FromEnvironment("NFS_EXPORT").c_str(), &space), 0);
  const uint64_t left = space.f_bavail * space.f_frsize;
  const int fd = ::open(filler.c_str(), O_WRONLY | O_CREAT, 0600);
  ASSERT_EQ(::posix_fallocate(fd, 0, static_cast<off_t>(left - (4 << 20))), 0);
  ::close(fd);
  const Status status = Put(a_.get(), "o/big", bytes).status();
  EXPECT_TRUE(status.Is(StatusCode::kNoSpace)) << status.ToString();
  EXPECT_NE(status.message().find("MiB are free"), std::string::npos) << status.ToString();
  EXPECT_EQ(Keys(*b_), std::vector<std::string>{"before"});
  // The client may still be taking back what it had not sent.
  for (int i = 0; i < 100 && !fs::is_empty(path_b() + "/+tmp"); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_TRUE(fs::is_empty(path_b() + "/+tmp"));
  fs::remove(filler);
  ExpectCreated(*a_, "o/big", bytes);
  ExpectContent(*b_, "o/big", bytes);
}

constexpr uid_t kQuotaUser = 4711;

std::string PutAsUserWithoutQuotaLeft(const std::string& path) {
  if (::setgid(kQuotaUser) != 0 || ::setuid(kQuotaUser) != 0) return "cannot become another user";
  const Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path);
  if (!store.ok()) return store.status().ToString();
  const Status small = Put(store->get(), "small", Pattern(1, 64 << 10)).status();
  if (!small.ok()) return "small: " + small.ToString();
  const Status big = Put(store->get(), "big", Pattern(2, 4 << 20)).status();
  if (!big.Is(StatusCode::kNoSpace)) return "big: " + big.ToString();
  if (big.message().find("share of the file system") == std::string::npos) return big.ToString();
  return Keys(**store) == std::vector<std::string>{"small"} ? "" : "something is half stored";
}

TEST_F(TwoClients, AQuotaUsedUpIsNoSpaceAndNothingIsHalfStored) {
  struct if_dqblk limits {};
  limits.dqb_bhardlimit = 1024;  // KiB
  limits.dqb_valid = QIF_BLIMITS;
  const UniqueFd root(::open(FromEnvironment("NFS_EXPORT").c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(::syscall(SYS_quotactl_fd, root.get(), QCMD(Q_SETQUOTA, USRQUOTA), kQuotaUser, &limits),
            0)
      << errno;
  ASSERT_EQ(::chown(path_a().c_str(), kQuotaUser, kQuotaUser), 0);
  EXPECT_EQ(RunInChild([&] { return PutAsUserWithoutQuotaLeft(path_a()); }), "");
}

}  // namespace
}  // namespace snapstore
