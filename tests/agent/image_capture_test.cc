#include "agent/image_capture.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>

#include "agent/stream_protocol.h"
#include "base/file.h"
#include "tests/agent/send_descriptor.h"
#include "tests/base/temp_folder.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

// Plays CRIU's side of a dump in a forked process.
class FakeCriu {
 public:
  explicit FakeCriu(std::string directory) : directory_(std::move(directory)) {}

  bool Connect() {
    socket_.Reset(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (directory_ + "/streamer-capture.sock").copy(address.sun_path, sizeof(address.sun_path) - 1);
    return connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  void SendRaw(const std::string& bytes) {
    (void)!write(socket_.get(), bytes.data(), bytes.size());
  }
  // The write end of a new file's pipe.
  UniqueFd OpenImage(const std::string& name) {
    std::string message = "\x0a";
    message += static_cast<char>(name.size());
    message += name;
    const auto length = static_cast<uint32_t>(message.size());
    SendRaw(std::string(reinterpret_cast<const char*>(&length), 4) + message);
    int ends[2];
    if (pipe(ends) != 0) _exit(90);
    SendDescriptor(socket_.get(), ends[0]);
    close(ends[0]);
    return UniqueFd(ends[1]);
  }
  int RunHook(const char* action) {
    setenv("CRTOOLS_SCRIPT_ACTION", action, 1);
    return system((directory_ + "/post-dump").c_str());
  }

 private:
  std::string directory_;
  UniqueFd socket_;
};

class ImageCaptureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    arena_ = std::move(*Arena::Create(8 << 20));
    auto capture = ImageCapture::Create(directory_, arena_.get());
    ASSERT_TRUE(capture.ok()) << capture.status().ToString();
    capture_ = std::move(*capture);
  }
  void TearDown() override {
    capture_.reset();
    EXPECT_TRUE(std::filesystem::is_empty(directory_)) << "the sockets and the hook must be gone";
  }

  // Runs `behaviour` as CRIU; its result is the exit code.
  Status RunAgainst(
      const std::function<int(FakeCriu*)>& behaviour,
      const std::function<Status()>& while_frozen = [] { return Status::Ok(); },
      std::chrono::milliseconds silence = std::chrono::seconds(20)) {
    const pid_t pid = fork();
    if (pid == 0) {
      signal(SIGPIPE, SIG_IGN);
      FakeCriu criu(directory_);
      _exit(criu.Connect() ? behaviour(&criu) : 99);
    }
    UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    Status status = capture_->Run(pidfd.get(), while_frozen, [pid] { kill(pid, SIGKILL); },
                                  {.silence = silence, .end = std::chrono::seconds(3)});
    int wait_status = 0;
    waitpid(pid, &wait_status, 0);
    exit_code_ = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    return status;
  }

  std::string TextOf(const std::string& name) const {
    std::string text;
    for (const ArenaFile& file : capture_->files()) {
      if (file.name != name) continue;
      for (const auto& part : file.parts) text.append(part.begin(), part.end());
    }
    return text;
  }

  // Short, for the names of sockets.
  const TempFolder folder_{"/tmp"};
  const std::string& directory_ = folder_.path();
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<ImageCapture> capture_;
  int exit_code_ = -1;
};

void Put(UniqueFd fd, const std::string& text) { (void)!write(fd.get(), text.data(), text.size()); }

TEST_F(ImageCaptureTest, TakesFilesThatAreOpenAtOnce) {
  bool frozen = false;
  const Status status = RunAgainst(
      [](FakeCriu* criu) {
        UniqueFd map = criu->OpenImage("pagemap-2.img");
        UniqueFd pages = criu->OpenImage("pages-1.img");
        Put(UniqueFd(dup(pages.get())), std::string(60'000, 'p'));
        Put(UniqueFd(dup(map.get())), "map");
        Put(std::move(pages), "end");
        Put(std::move(map), "2");
        Put(criu->OpenImage("inventory.img"), "inventory");
        if (criu->RunHook("network-lock") != 0) return 2;
        return criu->RunHook("post-dump") == 0 ? 0 : 1;
      },
      [&] {
        frozen = true;
        return Status::Ok();
      });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(exit_code_, 0);
  EXPECT_TRUE(frozen);
  EXPECT_EQ(TextOf("pagemap-2.img"), "map2");
  EXPECT_EQ(TextOf("pages-1.img"), std::string(60'000, 'p') + "end");
  EXPECT_EQ(TextOf("inventory.img"), "inventory");
}

TEST_F(ImageCaptureTest, TheFreezeLastsUntilEveryPipeIsReadToItsEnd) {
  // The pipe stays open beyond the hook's call: frozen must not be reported before it closes.
  std::string seen;
  const Status status = RunAgainst(
      [](FakeCriu* criu) {
        Put(criu->OpenImage("inventory.img"), "i");
        UniqueFd pages = criu->OpenImage("pages-1.img");
        const pid_t late = fork();
        if (late == 0) {
          usleep(200'000);
          Put(std::move(pages), "late");
          _exit(0);
        }
        pages.Reset();
        const int code = criu->RunHook("post-dump") == 0 ? 0 : 1;
        waitpid(late, nullptr, 0);
        return code;
      },
      [&] {
        seen = TextOf("pages-1.img");
        return Status::Ok();
      });
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_EQ(seen, "late");
}

TEST_F(ImageCaptureTest, AnErrorWhileFrozenFailsTheHook) {
  const Status status = RunAgainst(
      [](FakeCriu* criu) {
        Put(criu->OpenImage("inventory.img"), "i");
        return criu->RunHook("post-dump") == 0 ? 0 : 1;
      },
      [] { return Status::NotFound("external file /x"); });
  EXPECT_EQ(status.message(), "external file /x");
  EXPECT_EQ(exit_code_, 1);
}

TEST_F(ImageCaptureTest, AStreamWithoutInventoryIsNotTaken) {
  const Status status = RunAgainst([](FakeCriu* criu) {
    Put(criu->OpenImage("files.img"), "f");
    return criu->RunHook("post-dump") == 0 ? 0 : 1;
  });
  EXPECT_EQ(status.code(), StatusCode::kCorruption);
  EXPECT_EQ(exit_code_, 1);
}

TEST_F(ImageCaptureTest, CriuThatEndsEarlyIsToldApart) {
  const Status status = RunAgainst([](FakeCriu* criu) {
    Put(criu->OpenImage("inventory.img"), "i");
    return 3;
  });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
  EXPECT_EQ(exit_code_, 3);
}

TEST_F(ImageCaptureTest, MoreThanTheArenaHoldsMakesCriuGiveUp) {
  const Status status = RunAgainst([](FakeCriu* criu) {
    UniqueFd pages = criu->OpenImage("pages-1.img");
    const std::string block(1 << 16, 'x');
    for (int i = 0; i < 1024; ++i) {
      if (write(pages.get(), block.data(), block.size()) < 0) return errno == EPIPE ? 7 : 8;
    }
    return 0;
  });
  EXPECT_EQ(status.code(), StatusCode::kNoSpace);
  EXPECT_EQ(exit_code_, 7);
}

TEST_F(ImageCaptureTest, ASilentCriuIsGivenUpAndItsHookFails) {
  const Status status = RunAgainst(
      [](FakeCriu* criu) {
        UniqueFd pages = criu->OpenImage("pages-1.img");
        // Ends when the agent closes its end.
        const std::string byte = "x";
        for (int i = 0; i < 100; ++i) {
          usleep(100'000);
          if (i > 15 && write(pages.get(), byte.data(), 1) < 0) break;
        }
        return criu->RunHook("post-dump") == 0 ? 0 : 5;
      },
      [] { return Status::Ok(); }, std::chrono::seconds(1));
  EXPECT_EQ(status.code(), StatusCode::kTimeout);
  EXPECT_EQ(exit_code_, 5);
}

TEST_F(ImageCaptureTest, ACriuThatDoesNotEvenEndIsKilled) {
  const Status status = RunAgainst(
      [](FakeCriu* criu) {
        const UniqueFd pages = criu->OpenImage("pages-1.img");
        while (true) pause();
        return 0;
      },
      [] { return Status::Ok(); }, std::chrono::milliseconds(100));
  EXPECT_EQ(status.code(), StatusCode::kTimeout);
  EXPECT_EQ(exit_code_, -1);
}

TEST_F(ImageCaptureTest, AHookWhoseAgentIsGoneDoesNotWait) {
  // What a killed agent leaves: the files, and nobody at their other ends.
  const std::string kept = directory_ + "/kept";
  const std::string hook = capture_->hook_command();
  for (const std::string name : {"", ".request", ".answer"}) {
    std::filesystem::create_hard_link(hook + name, kept + name);
  }
  capture_.reset();
  for (const std::string name : {"", ".request", ".answer"}) {
    std::filesystem::rename(kept + name, hook + name);
  }
  const std::string command = "CRTOOLS_SCRIPT_ACTION=post-dump timeout 20 " + hook;
  const int wait_status = system(command.c_str());
  ASSERT_TRUE(WIFEXITED(wait_status));
  EXPECT_NE(WEXITSTATUS(wait_status), 0);
  EXPECT_NE(WEXITSTATUS(wait_status), 124) << "it waited";
  for (const std::string name : {"", ".request", ".answer"}) std::filesystem::remove(hook + name);
}

TEST_F(ImageCaptureTest, WhatIsNotTheProtocolIsRefused) {
  for (const std::string& bytes :
       {std::string("\xff\xff\xff\xff", 4), std::string("\0\0\0\0", 4),
        std::string("\x03\0\0\0\x0a\x05x", 7), std::string("\x05\0\0\0\x0a\x03../", 9)}) {
    capture_.reset();
    auto capture = ImageCapture::Create(directory_, arena_.get());
    ASSERT_TRUE(capture.ok());
    capture_ = std::move(*capture);
    const Status status = RunAgainst([&](FakeCriu* criu) {
      criu->SendRaw(bytes);
      return 4;
    });
    EXPECT_EQ(status.code(), StatusCode::kCorruption) << status.ToString();
  }
}

TEST(StreamProtocolTest, ASocketPathThatIsTooLongIsNamed) {
  const auto socket = ListenUnix("/tmp/" + std::string(200, 'x'));
  ASSERT_FALSE(socket.ok());
  EXPECT_THAT(socket.status().message(), HasSubstr("shorter state directory"));
}

}  // namespace
}  // namespace snapstore::agent
