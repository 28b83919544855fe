// What a DirectoryStore makes of system calls that fail as those of network mounts do. The calls
// are replaced at link time (CMakeLists.txt lists them).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <filesystem>
#include <map>
#include <string>

#include "tests/base/temp_folder.h"
#include "tests/uploader/put.h"
#include "uploader/directory_store.h"

namespace snapstore {
namespace {

struct CallFault {
  int error_number = 0;
  int times = 1;      // how many calls fail
  int skip = 0;       // how many go well before
  bool done = false;  // the call does its work, only its answer is wrong
};

std::map<std::string, CallFault> call_faults;  // by call; for the test's own thread

// Whether this call fails; `*done` says whether it is carried out all the same.
bool Fails(const char* call, bool* done) {
  const auto it = call_faults.find(call);
  if (it == call_faults.end() || it->second.times == 0) return false;
  if (it->second.skip > 0) {
    --it->second.skip;
    return false;
  }
  --it->second.times;
  *done = it->second.done;
  return true;
}

template <typename Real>
auto MaybeFail(const char* call, const Real& real) -> decltype(real()) {
  bool done = false;
  if (!Fails(call, &done)) return real();
  if (done) real();
  errno = call_faults[call].error_number;
  return -1;
}

}  // namespace
}  // namespace snapstore

using snapstore::MaybeFail;

// The names are the linker's: --wrap=NAME.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
int __real_openat(int fd, const char* path, int flags, ...);
int __real_linkat(int from_fd, const char* from, int to_fd, const char* to, int flags);
int __real_unlinkat(int fd, const char* path, int flags);
int __real_fstatat(int fd, const char* path, struct stat* info, int flags);
int __real_fsync(int fd);
int __real_close(int fd);
ssize_t __real_pread(int fd, void* out, size_t bytes, off_t offset);
ssize_t __real_pwritev(int fd, const struct iovec* parts, int count, off_t offset);

int __wrap_openat(int fd, const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  const char* const call = (flags & O_CREAT) != 0       ? "create"
                           : (flags & O_DIRECTORY) != 0 ? "open folder"
                                                        : "open";
  return MaybeFail(call, [&] { return __real_openat(fd, path, flags, mode); });
}
int __wrap_linkat(int from_fd, const char* from, int to_fd, const char* to, int flags) {
  return MaybeFail("link", [&] { return __real_linkat(from_fd, from, to_fd, to, flags); });
}
int __wrap_unlinkat(int fd, const char* path, int flags) {
  return MaybeFail("unlink", [&] { return __real_unlinkat(fd, path, flags); });
}
int __wrap_fstatat(int fd, const char* path, struct stat* info, int flags) {
  return MaybeFail("stat", [&] { return __real_fstatat(fd, path, info, flags); });
}
int __wrap_fsync(int fd) {
  return MaybeFail("fsync", [&] { return __real_fsync(fd); });
}
int __wrap_close(int fd) {
  return MaybeFail("close", [&] { return __real_close(fd); });
}
ssize_t __wrap_pread(int fd, void* out, size_t bytes, off_t offset) {
  return MaybeFail("read", [&] { return __real_pread(fd, out, bytes, offset); });
}
ssize_t __wrap_pwritev(int fd, const struct iovec* parts, int count, off_t offset) {
  return MaybeFail("write", [&] { return __real_pwritev(fd, parts, count, offset); });
}
}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)

namespace snapstore {
namespace {

constexpr int kAlways = 1'000'000;

class DirectoryStoreFault : public testing::Test {
 protected:
  void SetUp() override {
    call_faults.clear();
    Result<std::unique_ptr<ObjectStore>> store = OpenDirectoryStore(path_, {.create = true});
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(store).value();
  }
  void TearDown() override { call_faults.clear(); }

  // The outcome of a put of `key` in the presence of one fault; the faults end with it.
  Result<PutOutcome> PutWith(const std::string& call, const CallFault& fault,
                             const std::string& key = "a/b") {
    call_faults[call] = fault;
    Result<PutOutcome> outcome = Put(store_.get(), key, AsBytes("content"));
    EXPECT_TRUE(fault.times == kAlways || call_faults[call].times == 0) << call << " not called";
    call_faults.clear();
    return outcome;
  }

  // That a put failed, left nothing, and succeeds when it is tried again.
  void ExpectNothingStored(const Status& status, StatusCode code, const std::string& words) {
    EXPECT_TRUE(status.Is(code)) << status.ToString();
    EXPECT_NE(status.message().find(words), std::string::npos) << status.ToString();
    EXPECT_NE(status.message().find("a/b"), std::string::npos) << status.ToString();
    EXPECT_TRUE(store_->Stat(ObjectKey("a/b")).status().Is(StatusCode::kNotFound));
    EXPECT_TRUE(std::filesystem::is_empty(path_ + "/+tmp"));
    const Result<PutOutcome> again = Put(store_.get(), "a/b", AsBytes("content"));
    ASSERT_TRUE(again.ok()) << again.status().ToString();
    EXPECT_EQ(*again, PutOutcome::kCreated);
    ExpectContent();
  }

  void ExpectContent() {
    const Result<Bytes> got = store_->Get(ObjectKey("a/b"), 100);
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    EXPECT_EQ(AsText(*got), "content");
  }

  size_t Listed(Status* status) {
    size_t count = 0;
    *status = store_->List("", [&](const ObjectInfo&) {
      ++count;
      return Status::Ok();
    });
    return count;
  }

  TempFolder folder_;
  const std::string path_ = folder_.File("store");
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(DirectoryStoreFault, AnErrorOfWriteFsyncOrCloseStoresNothing) {
  for (const char* call : {"write", "fsync", "close"}) {
    SCOPED_TRACE(call);
    // Folders are closed and synced before the file is; the first put makes them.
    ASSERT_TRUE(Put(store_.get(), "a/before", AsBytes("x")).ok());
    const auto code_of = [&](int error_number) {
      return PutWith(call, {.error_number = error_number}).status();
    };
    ExpectNothingStored(code_of(EIO), StatusCode::kIo, call);
    ASSERT_TRUE(store_->Delete(ObjectKey("a/b")).ok());
    ExpectNothingStored(code_of(ENOSPC), StatusCode::kNoSpace, "MiB are free");
    ASSERT_TRUE(store_->Delete(ObjectKey("a/b")).ok());
    ExpectNothingStored(code_of(EDQUOT), StatusCode::kNoSpace, "share");
    ASSERT_TRUE(store_->Delete(ObjectKey("a/b")).ok());
  }
}

TEST_F(DirectoryStoreFault, ItsOwnLinkMetAgainIsASuccess) {
  const Result<PutOutcome> outcome = PutWith("link", {.error_number = EEXIST, .done = true});
  ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
  EXPECT_EQ(*outcome, PutOutcome::kCreated);
  ExpectContent();
}

TEST_F(DirectoryStoreFault, AnObjectThatOnlyTheMountRemembersIsPutAgain) {
  const Result<PutOutcome> outcome = PutWith("link", {.error_number = EEXIST});
  ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
  EXPECT_EQ(*outcome, PutOutcome::kCreated);
  ExpectContent();
}

TEST_F(DirectoryStoreFault, AnObjectThatComesAndGoesIsAConflict) {
  const Status status = PutWith("link", {.error_number = EEXIST, .times = kAlways}).status();
  EXPECT_TRUE(status.Is(StatusCode::kConflict)) << status.ToString();
}

TEST_F(DirectoryStoreFault, ALinkWhoseAnswerIsAnErrorIsAnErrorAndTheObjectIsWhole) {
  const Status status = PutWith("link", {.error_number = EIO, .done = true}).status();
  EXPECT_TRUE(status.Is(StatusCode::kIo)) << status.ToString();
  ExpectContent();
  EXPECT_EQ(*Put(store_.get(), "a/b", AsBytes("content")), PutOutcome::kExisted);
}

TEST_F(DirectoryStoreFault, RenamesWithoutReplacingWhereLinksAreRefused) {
  for (const int refusal : {EPERM, EOPNOTSUPP, EMLINK}) {
    const Result<PutOutcome> outcome = PutWith("link", {.error_number = refusal, .times = kAlways});
    ASSERT_TRUE(outcome.ok()) << outcome.status().ToString();
    EXPECT_EQ(*outcome, PutOutcome::kCreated);
    ExpectContent();
    call_faults["link"] = {.error_number = refusal, .times = kAlways};
    EXPECT_EQ(*Put(store_.get(), "a/b", AsBytes("other")), PutOutcome::kExisted);
    call_faults.clear();
    ASSERT_TRUE(store_->Delete(ObjectKey("a/b")).ok());
  }
}

TEST_F(DirectoryStoreFault, AFolderThatWentStaleIsMadeAgain) {
  for (const int error_number : {ENOENT, ESTALE}) {
    for (const char* call : {"link", "create"}) {
      const Result<PutOutcome> outcome = PutWith(call, {.error_number = error_number});
      ASSERT_TRUE(outcome.ok()) << call << ": " << outcome.status().ToString();
      ASSERT_TRUE(store_->Delete(ObjectKey("a/b")).ok());
    }
    const Status lasting =
        PutWith("create", {.error_number = error_number, .times = kAlways}).status();
    EXPECT_TRUE(lasting.Is(StatusCode::kIo)) << lasting.ToString();
  }
}

TEST_F(DirectoryStoreFault, AReadMeetsAStaleHandleAndOpensTheObjectAnew) {
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("content")).ok());
  for (const char* call : {"open", "open folder", "read"}) {
    SCOPED_TRACE(call);
    call_faults["open"] = {.error_number = ENOENT};  // so that folders are opened
    call_faults[call] = {.error_number = ESTALE};
    ExpectContent();
    EXPECT_EQ(call_faults[call].times, 0);
    call_faults.clear();
  }
}

TEST_F(DirectoryStoreFault, AHandleThatStaysStaleIsAnErrorNotAnAbsence) {
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("content")).ok());
  for (const int error_number : {ESTALE, EIO, EACCES}) {
    for (const char* call : {"open", "open folder", "read", "stat"}) {
      SCOPED_TRACE(call);
      call_faults["open"] = {.error_number = ENOENT};
      call_faults[call] = {.error_number = error_number, .times = kAlways};
      const bool stat = std::string(call) == "stat";
      const Status status = stat ? store_->Stat(ObjectKey("a/b")).status()
                                 : store_->Get(ObjectKey("a/b"), 100).status();
      EXPECT_TRUE(status.Is(StatusCode::kIo) || status.Is(StatusCode::kPermissionDenied))
          << status.ToString();
      call_faults.clear();
    }
  }
}

TEST_F(DirectoryStoreFault, ANameTheMountRemembersAsMissingIsAskedForAgain) {
  ASSERT_TRUE(Put(store_.get(), "a/b", AsBytes("content")).ok());
  call_faults["open"] = {.error_number = ENOENT};
  ExpectContent();
  call_faults["unlink"] = {.error_number = ENOENT};
  EXPECT_TRUE(store_->Delete(ObjectKey("a/b")).ok());
  EXPECT_TRUE(store_->Stat(ObjectKey("a/b")).status().Is(StatusCode::kNotFound));
}

TEST_F(DirectoryStoreFault, AListingPassesOverNothingThatItCouldNotSee) {
  for (const char* key : {"a/b", "a/c", "d/e"}) {
    ASSERT_TRUE(Put(store_.get(), key, AsBytes("x")).ok());
  }
  Status status;
  for (const char* call : {"open folder", "stat"}) {
    for (int skip = 0; skip < 3; ++skip) {
      call_faults[call] = {.error_number = ESTALE, .skip = skip};
      EXPECT_EQ(Listed(&status), 3u) << call << " " << skip;
      EXPECT_TRUE(status.ok()) << status.ToString();
      for (const int error_number : {EIO, ETIMEDOUT, ESTALE}) {
        call_faults[call] = {.error_number = error_number, .times = kAlways, .skip = skip};
        Listed(&status);
        EXPECT_FALSE(status.ok()) << call << " " << skip << " " << error_number;
      }
      call_faults.clear();
    }
  }
}

}  // namespace
}  // namespace snapstore
