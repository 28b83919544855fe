#include "uploader/directory_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "base/file.h"
#include "tests/base/child_process.h"
#include "tests/base/temp_folder.h"
#include "tests/uploader/put.h"

namespace snapstore {
namespace {

namespace fs = std::filesystem;

size_t FilesBelow(const std::string& path) {
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) files += entry.is_regular_file();
  return files;
}

class DirectoryStore : public testing::Test {
 protected:
  void SetUp() override {
    path_ = folder_.File("store");
    Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path_, {.create = true});
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(store).value();
  }

  std::vector<std::string> Keys() {
    std::vector<std::string> keys;
    const Status status = store_->List("", [&](const ObjectInfo& info) {
      keys.push_back(info.key);
      return Status::Ok();
    });
    EXPECT_TRUE(status.ok()) << status.ToString();
    return keys;
  }

  TempFolder folder_;
  std::string path_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(DirectoryStore, OpensOnlyDirectories) {
  EXPECT_TRUE(OpenDirectoryStore(folder_.File("no")).status().Is(StatusCode::kNotFound));
  EXPECT_TRUE(OpenDirectoryStore("").status().Is(StatusCode::kInvalidArgument));
  std::ofstream(folder_.File("file")) << "x";
  for (const bool create : {false, true}) {
    const Result<std::unique_ptr<ObjectStore>> store =
        OpenDirectoryStore(folder_.File("file"), {.create = create});
    EXPECT_TRUE(store.status().Is(StatusCode::kInvalidArgument)) << store.status().ToString();
  }
  EXPECT_EQ(store_->Describe(), path_);
}

TEST_F(DirectoryStore, KeepsObjectsReadOnlyAndNoTemporaryFiles) {
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("x")).ok());
  struct stat info {};
  ASSERT_EQ(::stat((path_ + "/a/b").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0333, 0u);
  EXPECT_EQ(info.st_nlink, 1u);
  EXPECT_EQ(FilesBelow(path_), 1u);
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("y")).ok());
  EXPECT_EQ(FilesBelow(path_), 1u);
}

TEST_F(DirectoryStore, ObjectsAreForTheirOwnerUnlessTheFolderIsSharedWithItsGroup) {
  const mode_t umask_before = ::umask(0);
  const auto modes = [&](const std::string& path) {
    const auto store = OpenDirectoryStore(path, {.create = true});
    EXPECT_TRUE(store.ok() && Put(store->get(), "a/b", AsBytes("x")).ok());
    std::string found;
    for (const char* name : {"", "/a", "/a/b"}) {
      struct stat info {};
      EXPECT_EQ(::stat((path + name).c_str(), &info), 0);
      found += fmt::format("{:o} ", info.st_mode & 07777);
    }
    return found;
  };
  EXPECT_EQ(modes(folder_.File("new")), "700 700 400 ");
  const std::string shared = folder_.File("shared");
  for (const auto& [mode, expected] : {std::pair{0755, "755 700 400 "}, {0770, "770 770 440 "}}) {
    ASSERT_EQ(::mkdir(shared.c_str(), static_cast<mode_t>(mode)), 0);
    EXPECT_EQ(modes(shared), expected);
    fs::remove_all(shared);
  }
  ::umask(umask_before);
}

TEST_F(DirectoryStore, PassesOverForeignNames) {
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("x")).ok());
  for (const char* name : {"/README.TXT", "/a/.nfs000000000001", "/a/b c", "/.nfs01", "/a/B"}) {
    std::ofstream(path_ + name) << "foreign";
  }
  fs::create_directory(path_ + "/lost+found");
  fs::create_symlink(path_ + "/a/b", path_ + "/a/link");
  fs::create_directory_symlink("/usr", path_ + "/usr");
  ASSERT_EQ(::mkfifo((path_ + "/a/fifo").c_str(), 0600), 0);
  EXPECT_EQ(Keys(), std::vector<std::string>{"a/b"});
}

TEST_F(DirectoryStore, NeitherFollowsLinksNorHangsOnFifos) {
  std::ofstream(folder_.File("secret")) << "secret";
  fs::create_symlink(folder_.File("secret"), path_ + "/link");
  ASSERT_EQ(::mkfifo((path_ + "/fifo").c_str(), 0600), 0);
  for (const char* name : {"link", "fifo"}) {
    const Result<Bytes> got = store_->Get(ObjectKey(name), 100);
    ASSERT_FALSE(got.ok());
    EXPECT_FALSE(got.status().Is(StatusCode::kNotFound)) << got.status().ToString();
    EXPECT_TRUE(Put(store_.get(), name, AsBytes("x")).status().Is(StatusCode::kConflict)) << name;
  }
}

TEST_F(DirectoryStore, RefusesNamesOfNfsClients) {
  for (const char* key : {".nfs01", "a/.nfs01", ".nfs/a"}) {
    EXPECT_TRUE(Put(store_.get(), key, AsBytes("x")).status().Is(StatusCode::kInvalidArgument));
    EXPECT_TRUE(store_->Stat(ObjectKey(key)).status().Is(StatusCode::kInvalidArgument));
  }
}

TEST_F(DirectoryStore, AnObjectAndAFolderCannotShareAName) {
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("x")).ok());
  EXPECT_TRUE(Put(store_.get(), "a", AsBytes("x")).status().Is(StatusCode::kConflict));
  EXPECT_TRUE(Put(store_.get(), "a/b/c", AsBytes("x")).status().Is(StatusCode::kConflict));
  EXPECT_EQ(Keys(), std::vector<std::string>{"a/b"});
}

TEST_F(DirectoryStore, RemovesOnlyItsOwnStaleTemporaryFiles) {
  ASSERT_TRUE(Put(store_.get(), "a", AsBytes("x")).ok());
  const std::string old_put = path_ + "/+tmp/put-0123456789abcdef0123456789abcdef";
  const std::string fresh_put = path_ + "/+tmp/put-fedcba9876543210fedcba9876543210";
  const std::string foreign = path_ + "/+tmp/notes";
  const auto now = fs::file_time_type::clock::now();
  for (const std::string& path : {old_put, fresh_put, foreign}) std::ofstream(path) << "x";
  fs::last_write_time(old_put, now - std::chrono::hours(25));
  fs::last_write_time(fresh_put, now - std::chrono::hours(23));
  fs::last_write_time(foreign, now - std::chrono::hours(1000));

  Result<std::unique_ptr<ObjectStore>> later = OpenDirectoryStore(path_);
  ASSERT_TRUE(later.ok());
  EXPECT_TRUE(fs::exists(old_put));  // who only reads deletes nothing
  ASSERT_TRUE(Put(later->get(), "b", AsBytes("x")).ok());
  EXPECT_FALSE(fs::exists(old_put));
  EXPECT_TRUE(fs::exists(fresh_put));
  EXPECT_TRUE(fs::exists(foreign));
}

TEST_F(DirectoryStore, MakesFoldersAgainThatSomebodyRemoved) {
  ASSERT_TRUE(Put(store_.get(), "a/b/c", AsBytes("x")).ok());
  fs::remove_all(path_ + "/a");
  fs::remove_all(path_ + "/+tmp");
  const Result<PutOutcome> outcome = Put(store_.get(), "a/b/c", AsBytes("y"));
  ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
  EXPECT_EQ(*outcome, PutOutcome::kCreated);
}

TEST_F(DirectoryStore, IsReadableWithoutWriteAccess) {
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("x")).ok());
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for a read-only mount";
  const std::string verdict = RunInChild([&]() -> std::string {
    const char* const path = path_.c_str();
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", "", MS_REC | MS_PRIVATE, "") != 0 ||
        ::mount(path, path, "", MS_BIND, "") != 0 ||
        ::mount("", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY, "") != 0) {
      return "skip";
    }
    for (const bool create : {false, true}) {
      Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path_, {.create = create});
      if (!store.ok()) return store.status().ToString();
      if (!(*store)->Get(ObjectKey("a/b"), 10).ok()) return "cannot read";
      if ((*store)->Get(ObjectKey("a/c"), 10).status().code() != StatusCode::kNotFound) {
        return "absence is not certain";
      }
      const Status put = Put(store->get(), "c", AsBytes("x")).status();
      if (!put.Is(StatusCode::kPermissionDenied)) return put.ToString();
    }
    return "";
  });
  if (verdict == "skip") GTEST_SKIP() << "no mount namespaces here";
  EXPECT_EQ(verdict, "");
}

// A file system of a few MiB that only the calling process sees.
bool MountSmall(const std::string& path, const char* size) {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", "", MS_REC | MS_PRIVATE, "") == 0 &&
         ::mount("tmpfs", path.c_str(), "tmpfs", 0, size) == 0;
}

std::string FillAndCheck(const std::string& path) {
  Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path);
  if (!store.ok()) return store.status().ToString();
  const Bytes bytes(1 << 20, 7);
  int stored = 0;
  Status status;
  for (; status.ok() && stored < 100; ++stored) {
    status = Put(store->get(), fmt::format("o/{}", stored), bytes).status();
  }
  --stored;  // the one that failed
  if (!status.Is(StatusCode::kNoSpace)) return "wrong error: " + status.ToString();
  if (status.message().find(path) == std::string::npos) return "no path: " + status.ToString();
  if (FilesBelow(path) != static_cast<size_t>(stored)) return "a temporary file is left";
  const ObjectKey failed(fmt::format("o/{}", stored));
  if (!(*store)->Stat(failed).status().Is(StatusCode::kNotFound)) return "a partial object";
  for (int i = 0; i < stored; ++i) {
    const Result<Bytes> got = (*store)->Get(ObjectKey(fmt::format("o/{}", i)), bytes.size());
    if (!got.ok() || *got != bytes) return fmt::format("object {} is damaged", i);
  }
  // Room again: the same put succeeds.
  SNAP_CHECK((*store)->Delete(ObjectKey("o/0")).ok());
  status = Put(store->get(), failed.text(), bytes).status();
  return status.ok() ? "" : "after making room: " + status.ToString();
}

TEST_F(DirectoryStore, AFullDiskIsNoSpaceAndLeavesWholeObjectsOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for a small file system";
  const std::string verdict = RunInChild([&]() -> std::string {
    if (!MountSmall(path_, "size=5m")) return "skip";
    return FillAndCheck(path_);
  });
  if (verdict == "skip") GTEST_SKIP() << "no mount namespaces here";
  EXPECT_EQ(verdict, "");
}

// "Could not tell" is never "absent".
class Invariant9 : public DirectoryStore {
 protected:
  // What every question about an object of a store that has gone must answer.
  static std::string Unsure(ObjectStore* store, const std::string& text) {
    const ObjectKey key(text);
    Bytes out(1);
    const std::array<std::pair<const char*, Status>, 5> answers = {{
        {"get", store->Get(key, 10).status()},
        {"range", store->GetRange(key, 0, out)},
        {"stat", store->Stat(key).status()},
        {"list", store->List("", [](const ObjectInfo&) { return Status::Ok(); })},
        {"delete", store->Delete(key)},
    }};
    for (const auto& [name, status] : answers) {
      if (!status.Is(StatusCode::kIo)) return fmt::format("{}: {}", name, status.ToString());
    }
    return "";
  }
};

TEST_F(Invariant9, ARemovedDirectoryIsAnErrorNotAnEmptyStore) {
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("x")).ok());
  fs::remove_all(path_);
  EXPECT_EQ(Unsure(store_.get(), "a/b"), "");
  EXPECT_TRUE(Put(store_.get(), "c", AsBytes("x")).status().Is(StatusCode::kIo));
  fs::create_directory(path_);  // another directory of the same name is not the store
  EXPECT_EQ(Unsure(store_.get(), "a/b"), "");
}

TEST_F(Invariant9, AnUnmountedFileSystemIsAnErrorNotAnEmptyStore) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for a mount";
  const std::string verdict = RunInChild([&]() -> std::string {
    if (!MountSmall(path_, "size=1m")) return "skip";
    Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path_);
    if (!store.ok()) return store.status().ToString();
    if (!Put(store->get(), "a/b", AsBytes("x")).ok()) return "cannot put";
    if (::umount2(path_.c_str(), MNT_DETACH) != 0) return "cannot unmount";
    return Unsure(store->get(), "a/never-put");
  });
  if (verdict == "skip") GTEST_SKIP() << "no mount namespaces here";
  EXPECT_EQ(verdict, "");
}

TEST_F(Invariant9, AnUnreadableFolderIsAnErrorNotAnAbsence) {
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("x")).ok());
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod((path_ + "/a").c_str(), 0), 0);
  const std::string verdict = RunInChild([&]() -> std::string {
    // Root may read everything.
    if (::geteuid() == 0 && ::setuid(65534) != 0) return "cannot become nobody";
    for (const char* key : {"a/b", "a/never-put"}) {
      const Status status = store_->Get(ObjectKey(key), 10).status();
      if (!status.Is(StatusCode::kPermissionDenied)) return status.ToString();
    }
    const Status list = store_->List("", [](const ObjectInfo&) { return Status::Ok(); });
    return list.Is(StatusCode::kPermissionDenied) ? "" : "list: " + list.ToString();
  });
  EXPECT_EQ(verdict, "");
  ASSERT_EQ(::chmod((path_ + "/a").c_str(), 0755), 0);
}

TEST_F(Invariant9, AnObjectInThePlaceOfAFolderIsNotAnAbsence) {
  ASSERT_TRUE(Put(store_.get(), "a", AsBytes("x")).ok());
  EXPECT_TRUE(store_->Get(ObjectKey("a/b"), 10).status().Is(StatusCode::kIo));
}

TEST_F(Invariant9, AnAbsentObjectIsNotFound) {  // the other cases must not hold for every answer
  EXPECT_TRUE(store_->Get(ObjectKey("a/b"), 10).status().Is(StatusCode::kNotFound));
  EXPECT_TRUE(store_->List("", [](const ObjectInfo&) { return Status::Ok(); }).ok());
}

}  // namespace
}  // namespace snapstore
