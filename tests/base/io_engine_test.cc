#include "base/io_engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/file.h"
#include "base/internal/uring_engine.h"
#include "base/random.h"
#include "tests/base/child_process.h"
#include "tests/base/temp_folder.h"

namespace snapstore {
namespace {

Bytes RandomBytes(size_t size, uint64_t seed) {
  SplitMix64 random(seed);
  Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
  return bytes;
}

class IoEngineOn : public testing::TestWithParam<IoBackend> {
 protected:
  void SetUp() override {
    if (GetParam() != IoBackend::kUring) return;
    const Status probe = ProbeIoUring();
    if (!probe.ok()) GTEST_SKIP() << probe.ToString();
  }

  std::unique_ptr<IoEngine> Make(uint32_t depth = 64) {
    Result<std::unique_ptr<IoEngine>> engine =
        IoEngine::Create({.backend = GetParam(), .depth = depth, .threads = 3});
    EXPECT_TRUE(engine.ok()) << engine.status().ToString();
    return std::move(engine).value();
  }

  UniqueFd Open(const std::string& name, int flags) {
    Result<UniqueFd> file = OpenFile(folder_.File(name), flags);
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    return std::move(file).value();
  }

  // One request from start to end.
  static void Run(IoEngine* engine, IoRequest* request) {
    ASSERT_TRUE(engine->Submit(request).ok());
    std::vector<IoRequest*> done;
    ASSERT_TRUE(engine->Wait(1, &done).ok());
    ASSERT_EQ(done, std::vector<IoRequest*>{request});
    ASSERT_EQ(engine->in_flight(), 0u);
  }

  TempFolder folder_;
};

TEST_P(IoEngineOn, ReadsWithAFullQueueInAnyOrder) {
  constexpr size_t kPieces = 1000;
  constexpr size_t kPiece = 4096;
  const Bytes bytes = RandomBytes(kPieces * kPiece, 1);
  ASSERT_TRUE(ReplaceFile(folder_.File("a"), bytes).ok());
  const UniqueFd file = Open("a", O_RDONLY);
  const std::unique_ptr<IoEngine> engine = Make(32);
  EXPECT_EQ(engine->backend(), GetParam());
  EXPECT_EQ(engine->depth(), 32u);

  Bytes out(bytes.size());
  std::vector<IoRequest> requests(kPieces);
  std::vector<IoRequest*> done;
  size_t next = 0;
  while (done.size() < kPieces) {
    while (next < kPieces && engine->in_flight() < engine->depth()) {
      IoRequest& request = requests[next];
      request = {.fd = file.get(),
                 .offset = next * kPiece,
                 .data = out.data() + next * kPiece,
                 .length = kPiece,
                 .user = &requests[next]};
      ASSERT_TRUE(engine->Submit(&request).ok());
      ++next;
    }
    const size_t before = done.size();
    ASSERT_TRUE(engine->Wait(5, &done).ok());
    ASSERT_GE(done.size() - before, std::min<size_t>(5, kPieces - before));
  }
  EXPECT_EQ(out, bytes);
  std::sort(done.begin(), done.end());
  for (size_t i = 0; i < kPieces; ++i) {
    EXPECT_EQ(done[i], &requests[i]);  // each once
    EXPECT_EQ(requests[i].user, &requests[i]);
    EXPECT_EQ(requests[i].transferred, kPiece);
  }
}

TEST_P(IoEngineOn, WritesAndSyncs) {
  const Bytes bytes = RandomBytes(1 << 20, 2);
  const UniqueFd file = Open("a", O_RDWR | O_CREAT);
  const std::unique_ptr<IoEngine> engine = Make(16);
  std::vector<IoRequest> requests(16);
  std::vector<IoRequest*> done;
  Bytes copy = bytes;
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i] = {.op = IoRequest::Op::kWrite,
                   .fd = file.get(),
                   .offset = i << 16,
                   .data = copy.data() + (i << 16),
                   .length = 1 << 16};
    ASSERT_TRUE(engine->Submit(&requests[i]).ok());
  }
  ASSERT_TRUE(engine->Wait(requests.size(), &done).ok());
  for (const IoRequest& request : requests) {
    EXPECT_EQ(request.error_number, 0);
    EXPECT_EQ(request.transferred, request.length);
  }
  IoRequest sync{.op = IoRequest::Op::kFsync, .fd = file.get()};
  Run(engine.get(), &sync);
  EXPECT_EQ(sync.error_number, 0);
  EXPECT_EQ(*ReadWholeFile(folder_.File("a"), 1 << 20), bytes);
}

TEST_P(IoEngineOn, ReadsStopAtTheEndOfTheFile) {
  const Bytes bytes = RandomBytes(10'000, 3);
  ASSERT_TRUE(ReplaceFile(folder_.File("a"), bytes).ok());
  const UniqueFd file = Open("a", O_RDONLY);
  const std::unique_ptr<IoEngine> engine = Make();
  Bytes out(8192);
  IoRequest request{.fd = file.get(), .offset = 8192, .data = out.data(), .length = out.size()};
  Run(engine.get(), &request);
  EXPECT_EQ(request.error_number, 0);
  EXPECT_EQ(request.transferred, 10'000u - 8192u);
  EXPECT_TRUE(std::equal(bytes.begin() + 8192, bytes.end(), out.begin()));
  request.offset = 1 << 20;
  Run(engine.get(), &request);  // reused: results start afresh
  EXPECT_EQ(request.error_number, 0);
  EXPECT_EQ(request.transferred, 0u);
}

TEST_P(IoEngineOn, DirectReadsReachAnUnalignedEnd) {
  constexpr size_t kSpace = 1 << 20;
  const Bytes bytes = RandomBytes(777'777, 4);
  ASSERT_TRUE(ReplaceFile(folder_.File("a"), bytes).ok());
  const Result<UniqueFd> file = OpenFile(folder_.File("a"), O_RDONLY | O_DIRECT);
  if (!file.ok()) GTEST_SKIP() << "no O_DIRECT here: " << file.status().ToString();
  const std::unique_ptr<IoEngine> engine = Make();
  const std::unique_ptr<uint8_t, void (*)(void*)> buffer(
      static_cast<uint8_t*>(std::aligned_alloc(4096, kSpace)), std::free);
  IoRequest request{.fd = file->get(), .data = buffer.get(), .length = kSpace};
  Run(engine.get(), &request);
  EXPECT_EQ(request.error_number, 0);
  ASSERT_EQ(request.transferred, bytes.size());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), buffer.get()));
}

TEST_P(IoEngineOn, ErrorsStayWithTheirRequest) {
  ASSERT_TRUE(ReplaceFile(folder_.File("a"), RandomBytes(4096, 5)).ok());
  const UniqueFd file = Open("a", O_RDONLY);
  const std::unique_ptr<IoEngine> engine = Make();
  Bytes out(4096);
  Bytes other(4096);
  IoRequest bad{.fd = -1, .data = out.data(), .length = out.size()};
  IoRequest write_to_read_only{
      .op = IoRequest::Op::kWrite, .fd = file.get(), .data = out.data(), .length = out.size()};
  IoRequest good{.fd = file.get(), .data = other.data(), .length = other.size()};
  IoRequest bad_sync{.op = IoRequest::Op::kFsync, .fd = -1};
  for (IoRequest* request : {&bad, &write_to_read_only, &good, &bad_sync}) {
    ASSERT_TRUE(engine->Submit(request).ok());
  }
  std::vector<IoRequest*> done;
  ASSERT_TRUE(engine->Wait(4, &done).ok());
  ASSERT_EQ(done.size(), 4u);
  EXPECT_EQ(bad.error_number, EBADF);
  EXPECT_EQ(write_to_read_only.error_number, EBADF);
  EXPECT_EQ(good.error_number, 0);
  EXPECT_EQ(good.transferred, 4096u);
  EXPECT_EQ(bad_sync.error_number, EBADF);
}

TEST_P(IoEngineOn, FullDevicesAreReported) {
  const Result<UniqueFd> full = OpenFile("/dev/full", O_WRONLY);
  ASSERT_TRUE(full.ok());
  const std::unique_ptr<IoEngine> engine = Make();
  Bytes out(4096);
  IoRequest request{
      .op = IoRequest::Op::kWrite, .fd = full->get(), .data = out.data(), .length = out.size()};
  Run(engine.get(), &request);
  EXPECT_EQ(request.error_number, ENOSPC);
}

TEST_P(IoEngineOn, FilesOpenedNonBlockingAreReadWhole) {
  const Bytes bytes = RandomBytes(8 << 20, 6);
  ASSERT_TRUE(ReplaceFile(folder_.File("a"), bytes).ok());
  const UniqueFd file = Open("a", O_RDONLY | O_NONBLOCK);
  ASSERT_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED), 0);  // out of the page cache
  const std::unique_ptr<IoEngine> engine = Make();
  Bytes out(bytes.size());
  IoRequest request{.fd = file.get(), .data = out.data(), .length = out.size()};
  Run(engine.get(), &request);
  EXPECT_EQ(request.error_number, 0);
  EXPECT_EQ(out, bytes);
}

TEST_P(IoEngineOn, WaitReturnsAtOnceWithNothingInFlight) {
  const std::unique_ptr<IoEngine> engine = Make();
  std::vector<IoRequest*> done;
  ASSERT_TRUE(engine->Wait(10, &done).ok());
  EXPECT_TRUE(done.empty());
}

TEST_P(IoEngineOn, WaitForNoneStartsTheWorkAndReturns) {
  ASSERT_TRUE(ReplaceFile(folder_.File("a"), RandomBytes(4096, 7)).ok());
  const UniqueFd file = Open("a", O_RDONLY);
  const std::unique_ptr<IoEngine> engine = Make();
  Bytes out(4096);
  IoRequest request{.fd = file.get(), .data = out.data(), .length = out.size()};
  ASSERT_TRUE(engine->Submit(&request).ok());
  std::vector<IoRequest*> done;
  while (done.empty()) {
    ASSERT_TRUE(engine->Wait(0, &done).ok());
  }
  EXPECT_EQ(request.transferred, 4096u);
}

TEST_P(IoEngineOn, EmptyRequestsComplete) {
  const UniqueFd file = Open("a", O_RDWR | O_CREAT);
  const std::unique_ptr<IoEngine> engine = Make(1);
  uint8_t byte = 0;
  for (const IoRequest::Op op : {IoRequest::Op::kRead, IoRequest::Op::kWrite}) {
    IoRequest request{.op = op, .fd = file.get(), .data = &byte, .length = 0};
    Run(engine.get(), &request);
    EXPECT_EQ(request.error_number, 0);
  }
}

TEST_P(IoEngineOn, RangesThatNoFileHasAreRefused) {
  const UniqueFd file = Open("a", O_RDWR | O_CREAT);
  const std::unique_ptr<IoEngine> engine = Make();
  uint8_t byte = 0;
  IoRequest request{.fd = file.get(), .offset = ~uint64_t{0}, .data = &byte, .length = 1};
  EXPECT_TRUE(engine->Submit(&request).Is(StatusCode::kInvalidArgument));
  EXPECT_EQ(engine->in_flight(), 0u);
}

TEST_P(IoEngineOn, SubmittingBeyondTheDepthIsABug) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto submit_two_to_one = [this] {
    const std::unique_ptr<IoEngine> engine = Make(1);
    uint8_t byte = 0;
    IoRequest requests[2];
    for (IoRequest& request : requests) {
      request.fd = 0;
      request.data = &byte;
      (void)engine->Submit(&request);
    }
  };
  EXPECT_DEATH(submit_two_to_one(), "check failed");
}

INSTANTIATE_TEST_SUITE_P(Backends, IoEngineOn,
                         testing::Values(IoBackend::kUring, IoBackend::kThreads),
                         [](const auto& suite) {
                           return suite.param == IoBackend::kUring ? "Uring" : "Threads";
                         });

TEST(IoEngineChoice, DefaultsToIoUringWhereItWorks) {
  ::unsetenv("SNAPSTORE_IO");
  const Result<std::unique_ptr<IoEngine>> engine = IoEngine::Create({});
  ASSERT_TRUE(engine.ok());
  const Status probe = ProbeIoUring();
  EXPECT_EQ((*engine)->backend(), probe.ok() ? IoBackend::kUring : IoBackend::kThreads);
  EXPECT_EQ((*engine)->backend_reason(), probe.message());
}

TEST(IoEngineChoice, FollowsTheEnvironmentUnlessTold) {
  ::setenv("SNAPSTORE_IO", "threads", 1);
  EXPECT_EQ((*IoEngine::Create({}))->backend(), IoBackend::kThreads);
  EXPECT_EQ((*IoEngine::Create({}))->backend_reason(), "");
  ::setenv("SNAPSTORE_IO", "magic", 1);
  EXPECT_TRUE(IoEngine::Create({}).status().Is(StatusCode::kInvalidArgument));
  EXPECT_TRUE(IoEngine::Create({.backend = IoBackend::kThreads}).ok());
  ::unsetenv("SNAPSTORE_IO");
}

TEST(IoEngineChoice, RefusesSenselessSizes) {
  EXPECT_FALSE(IoEngine::Create({.depth = 0}).ok());
  EXPECT_FALSE(IoEngine::Create({.depth = 1u << 30}).ok());
  EXPECT_FALSE(IoEngine::Create({.threads = 0}).ok());
}

TEST(IoEngineChoice, ExplainsWhyIoUringIsNotToBeHad) {
  constexpr std::string_view kFree = "Name:\tx\nSeccomp:\t0\n";
  constexpr std::string_view kFiltered = "Name:\tx\nSeccomp:\t2\n";
  EXPECT_EQ(internal::ExplainUringFailure(EPERM, "2\n", kFree),
            "io_uring is forbidden by kernel.io_uring_disabled=2");
  EXPECT_EQ(internal::ExplainUringFailure(EPERM, "0\n", kFiltered),
            "io_uring is forbidden by a seccomp filter, as in many containers");
  EXPECT_EQ(internal::ExplainUringFailure(ENOSYS, "", kFree),
            "io_uring is not built into this kernel");
  EXPECT_EQ(internal::ExplainUringFailure(EMFILE, "0\n", kFiltered),
            "io_uring cannot be set up: Too many open files");
}

// As container runtimes do it: the named system call answers EPERM.
bool Forbid(uint32_t system_call) {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, system_call, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{.len = 4, .filter = rules};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(IoEngineChoice, FallsBackToThreadsUnderASeccompFilter) {
  ::unsetenv("SNAPSTORE_IO");
  for (const uint32_t call : {SYS_io_uring_setup, SYS_io_uring_enter}) {
    const std::string verdict = RunInChild([&]() -> std::string {
      if (!Forbid(call)) return "no seccomp";
      const Result<std::unique_ptr<IoEngine>> engine = IoEngine::Create({});
      if (!engine.ok()) return engine.status().ToString();
      if ((*engine)->backend() != IoBackend::kThreads) return "io_uring was taken";
      if (!IoEngine::Create({.backend = IoBackend::kUring}).status().Is(StatusCode::kUnsupported)) {
        return "a demand for io_uring was not refused";
      }
      return (*engine)->backend_reason();
    });
    if (verdict == "no seccomp") GTEST_SKIP() << verdict;
    EXPECT_EQ(verdict, "io_uring is forbidden by a seccomp filter, as in many containers");
  }
}

}  // namespace
}  // namespace snapstore
