// What of external files is read while the application is frozen. This process is the application.
#include "agent/external_capture.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <thread>

#include "base/file.h"
#include "tests/base/run_command.h"
#include "tests/base/temp_folder.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

constexpr size_t kFileMiB = 1 << 20;

std::string Noise(size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

class ExternalCaptureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto arena = Arena::Create(64 * kFileMiB);
    ASSERT_TRUE(arena.ok());
    arena_ = std::move(*arena);
    UseFolder(folder_.path());
  }

  void UseFolder(const std::string& folder) {
    path_ = folder + "/log";
    capture_ = std::make_unique<ExternalCapture>(std::vector<std::string>{path_}, folder);
    log_.Reset(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    ASSERT_TRUE(log_.valid());
  }

  void Append(const std::string& text) {
    ASSERT_TRUE(WriteFull(log_.get(), AsBytes(text), path_).ok());
    text_ += text;
  }
  // The only file, as of a capture with this parent.
  CapturedFile Capture(const std::string& parent, bool exact = false) {
    arena_->Clear();
    auto files = capture_->Capture({getpid()}, parent, exact, arena_.get());
    EXPECT_TRUE(files.ok()) << files.status().ToString();
    return files.ok() ? std::move(files->front()) : CapturedFile();
  }
  Status Finish(CapturedFile* file) {
    std::vector<CapturedFile> files;
    files.push_back(std::move(*file));
    Status status = capture_->Finish(&files);
    *file = std::move(files.front());
    return status;
  }
  void Commit(CapturedFile file, const std::string& id) {
    std::vector<CapturedFile> files;
    files.push_back(std::move(file));
    capture_->Committed(files, id);
  }
  // A capture that is committed as `id`.
  CapturedFile Take(const std::string& parent, const std::string& id) {
    CapturedFile file = Capture(parent);
    EXPECT_TRUE(Finish(&file).ok());
    ExpectContent(file);
    const CaptureKind kind = file.kind;
    const uint64_t known = file.known;
    Commit(std::move(file), id);
    CapturedFile taken;
    taken.kind = kind;
    taken.known = known;
    return taken;
  }
  // What it holds behind `known` is what the file held at the capture.
  void ExpectContent(const CapturedFile& file) {
    ASSERT_EQ(file.info.size, text_.size());
    std::string content(text_.size() - file.known, '\0');
    CapturedFileReader reader(&file);
    ASSERT_TRUE(
        reader.ReadAt(file.known, {reinterpret_cast<uint8_t*>(content.data()), content.size()})
            .ok());
    EXPECT_TRUE(content == text_.substr(file.known));
  }

  const TempFolder folder_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<ExternalCapture> capture_;
  std::string path_;
  std::string text_;
  UniqueFd log_;
};

TEST_F(ExternalCaptureTest, OfALogThatGrowsOnlyTheTailIsRead) {
  Append(Noise(3 * kFileMiB + 17, 1));
  CapturedFile first = Take("", "s1");
  if (first.kind == CaptureKind::kClone) GTEST_SKIP() << "files are cloned here";
  EXPECT_EQ(first.kind, CaptureKind::kWhole);
  std::string parent = "s1";
  for (unsigned i = 2; i < 6; ++i) {
    const uint64_t known = text_.size();
    Append(i == 4 ? "" : Noise(size_t{100'000} * i, i));
    EXPECT_EQ(capture_->Prepare(parent), text_.size() - known);
    const std::string id = "s" + std::to_string(i);
    const CapturedFile file = Take(parent, id);
    EXPECT_EQ(file.kind, CaptureKind::kTail);
    EXPECT_EQ(file.known, known);
    EXPECT_LE(arena_->used(), text_.size() - known + (64 << 10));
    parent = id;
  }
  Append("more");
  EXPECT_EQ(Take("another", "s9").kind, CaptureKind::kWhole) << "it is known of one parent only";
}

TEST_F(ExternalCaptureTest, ALogWrittenAnewIsFoundOut) {
  Append(Noise(2 * kFileMiB, 1));
  if (Take("", "s1").kind == CaptureKind::kClone) GTEST_SKIP() << "files are cloned here";
  // As rotation by copying and truncating does, and then it grew past its former length.
  ASSERT_EQ(ftruncate(log_.get(), 0), 0);
  text_.clear();
  Append(Noise(5 * kFileMiB, 2));
  CapturedFile file = Capture("s1");
  EXPECT_EQ(file.kind, CaptureKind::kTail);
  const Status found = Finish(&file);
  EXPECT_EQ(found.code(), StatusCode::kConflict);
  EXPECT_EQ(found.message(), "external file " + path_ + ": is not what it was before its end");
  EXPECT_EQ(Take("s1", "s2").kind, CaptureKind::kWhole);
  Append("more");
  EXPECT_EQ(Take("s2", "s3").kind, CaptureKind::kWhole) << "it is not tried again at once";
}

TEST_F(ExternalCaptureTest, AFileOpenedBeforeItWasComparedIsNotTrusted) {
  Append(Noise(2 * kFileMiB, 1));
  if (Take("", "s1").kind == CaptureKind::kClone) GTEST_SKIP() << "files are cloned here";
  Append("more");
  CapturedFile file = Capture("s1");
  EXPECT_EQ(file.kind, CaptureKind::kTail);
  { const UniqueFd other(open(path_.c_str(), O_RDWR | O_CLOEXEC)); }
  EXPECT_THAT(Finish(&file).message(), HasSubstr("was opened while it was compared"));
}

TEST_F(ExternalCaptureTest, WhatIsComparedInTheFreezeIsExactAtOnce) {
  Append(Noise(2 * kFileMiB, 1));
  if (Take("", "s1").kind == CaptureKind::kClone) GTEST_SKIP() << "files are cloned here";
  Append("more");
  CapturedFile file = Capture("s1", /*exact=*/true);
  EXPECT_EQ(file.kind, CaptureKind::kTail);
  { const UniqueFd other(open(path_.c_str(), O_RDWR | O_CLOEXEC)); }
  EXPECT_TRUE(Finish(&file).ok());
  ExpectContent(file);
  Commit(std::move(file), "s2");
  ASSERT_EQ(ftruncate(log_.get(), 0), 0);
  text_.clear();
  Append(Noise(3 * kFileMiB, 2));
  file = Capture("s2", /*exact=*/true);
  EXPECT_EQ(file.kind, CaptureKind::kWhole);
  EXPECT_TRUE(Finish(&file).ok());
  ExpectContent(file);
}

TEST_F(ExternalCaptureTest, WhoeverCanWriteAnywhereHasItReadWhole) {
  Append(Noise(2 * kFileMiB, 1));
  if (Take("", "s1").kind == CaptureKind::kClone) GTEST_SKIP() << "files are cloned here";
  UniqueFd anywhere(open(path_.c_str(), O_RDWR | O_CLOEXEC));
  Append("more");
  EXPECT_EQ(Take("s1", "s2").kind, CaptureKind::kWhole);
  void* mapped = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, anywhere.get(), 0);
  ASSERT_NE(mapped, MAP_FAILED);
  anywhere.Reset();
  EXPECT_EQ(Take("s2", "s3").kind, CaptureKind::kWhole);
  munmap(mapped, 4096);
  EXPECT_EQ(Take("s3", "s4").kind, CaptureKind::kTail);
}

TEST_F(ExternalCaptureTest, AFileThatIsAsItWasIsNotRead) {
  Append(Noise(2 * kFileMiB, 1));
  // Until its last change is old enough to be told from a later one.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::string parent;
  for (int i = 0; std::chrono::steady_clock::now() < deadline; ++i) {
    CapturedFile file = Capture(parent);
    ASSERT_TRUE(Finish(&file).ok());
    const bool lasting = file.lasting;
    parent = std::to_string(i);
    Commit(std::move(file), parent);
    if (lasting) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  CapturedFile file = Take(parent, "next");
  EXPECT_EQ(file.kind, CaptureKind::kUnchanged);
  EXPECT_EQ(arena_->used(), 0u);
  // A byte in its middle, of the same size.
  const UniqueFd anywhere(open(path_.c_str(), O_RDWR | O_CLOEXEC));
  text_[kFileMiB] = static_cast<char>(text_[kFileMiB] + 1);
  ASSERT_TRUE(
      PwriteFull(anywhere.get(), AsBytes(text_).subspan(kFileMiB, 1), kFileMiB, path_).ok());
  EXPECT_NE(Take("next", "after").kind, CaptureKind::kUnchanged);
}

class SharedBlocksTest : public ExternalCaptureTest,
                         public ::testing::WithParamInterface<const char*> {};

TEST_P(SharedBlocksTest, NothingIsReadInTheFreeze) {
  struct Mount {
    ~Mount() { (void)umount2(path.c_str(), MNT_DETACH); }
    std::string path;
  };
  const std::string image = folder_.path() + "/image";
  const std::string point = folder_.path() + "/mounted";
  ASSERT_EQ(mkdir(point.c_str(), 0700), 0);
  ASSERT_TRUE(ReplaceFile(image, {}).ok());
  ASSERT_EQ(truncate(image.c_str(), off_t{400} << 20), 0);
  if (unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      RunCommand({std::string("/sbin/mkfs.") + GetParam(), "-q", image}).wait_status != 0 ||
      RunCommand({"mount", "-o", "loop", image, point}).wait_status != 0) {
    GTEST_SKIP() << "no " << GetParam() << " here";
  }
  const Mount mounted{point};
  UseFolder(point);
  Append(Noise(2 * kFileMiB, 1));
  EXPECT_EQ(Take("", "s1").kind, CaptureKind::kClone);
  Append(Noise(kFileMiB, 2));
  CapturedFile file = Capture("s1");
  EXPECT_EQ(file.kind, CaptureKind::kClone);
  EXPECT_EQ(arena_->used(), 0u);
  // It runs on, and changes all of it before that is read.
  ASSERT_EQ(ftruncate(log_.get(), 0), 0);
  ASSERT_TRUE(WriteFull(log_.get(), AsBytes(Noise(4 * kFileMiB, 3)), path_).ok());
  ASSERT_TRUE(Finish(&file).ok());
  EXPECT_EQ(file.known, 2 * kFileMiB) << "this much is as the parent has it";
  ExpectContent(file);
  Commit(std::move(file), "s2");
  text_ = Noise(4 * kFileMiB, 3);
  EXPECT_EQ(Take("s2", "s3").known, 0u) << "all is new";
  file = CapturedFile();
  log_.Reset();
}

INSTANTIATE_TEST_SUITE_P(FileSystems, SharedBlocksTest, ::testing::Values("xfs", "btrfs"),
                         [](const auto& one) { return std::string(one.param); });

}  // namespace
}  // namespace snapstore::agent
