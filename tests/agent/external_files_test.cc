#include "agent/external_files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/external_capture.h"
#include "base/file.h"
#include "tests/base/temp_folder.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ExternalFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto arena = Arena::Create(16 << 20);
    ASSERT_TRUE(arena.ok());
    arena_ = std::move(*arena);
  }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(directory_ + "/" + name) << text;
    return directory_ + "/" + name;
  }
  static std::string Read(const std::string& path) {
    std::ifstream in(path);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  Result<std::vector<CapturedFile>> Capture(const std::vector<std::string>& paths) {
    ExternalCapture capture(paths, directory_);
    auto files = capture.Capture({}, "", /*exact=*/false, arena_.get());
    EXPECT_TRUE(!files.ok() || capture.Finish(&*files).ok());
    return files;
  }
  static Status PutBack(const CapturedFile& file) {
    return PutBackExternalFile(file.info, [&](int fd) {
      Bytes content(file.info.size);
      Status status = CapturedFileReader(&file).ReadAt(0, content);
      return status.ok() ? WriteFull(fd, content, file.info.path) : status;
    });
  }

  const TempFolder folder_;
  const std::string& directory_ = folder_.path();
  std::unique_ptr<Arena> arena_;
};

TEST_F(ExternalFilesTest, ContentModeOwnerAndTimesComeBack) {
  std::string text(3'000'000, 'x');
  for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i * 7 % 26);
  const std::string path = Write("log", text);
  ASSERT_EQ(chmod(path.c_str(), 0604), 0);
  const timespec times[2] = {{1'600'000'000, 5}, {1'500'000'000, 123'456'789}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  auto captured = Capture({path});
  ASSERT_TRUE(captured.ok()) << captured.status().ToString();

  std::filesystem::remove_all(directory_);
  const Status put_back = PutBack(captured->front());
  ASSERT_TRUE(put_back.ok()) << put_back.ToString();
  EXPECT_EQ(Read(path), text);
  struct stat info {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0604u);
  EXPECT_EQ(info.st_mtim.tv_sec, 1'500'000'000);
  EXPECT_EQ(info.st_mtim.tv_nsec, 123'456'789);
}

TEST_F(ExternalFilesTest, AnEmptyFileAndALinkComeBack) {
  const std::string target = Write("target", "");
  const std::string link = directory_ + "/link";
  std::filesystem::create_symlink(target, link);
  auto captured = Capture({link});
  ASSERT_TRUE(captured.ok());
  std::filesystem::remove(link);
  std::filesystem::remove(target);
  ASSERT_TRUE(PutBack(captured->front()).ok());
  EXPECT_EQ(std::filesystem::read_symlink(link), target);
  EXPECT_TRUE(std::filesystem::is_regular_file(target));
}

TEST_F(ExternalFilesTest, WhatIsMissingOrNoFileIsNamed) {
  const std::string good = Write("good", "x");
  const auto missing = Capture({good, directory_ + "/gone"});
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(), StartsWith("external file " + directory_ + "/gone: "));
  const auto folder = Capture({directory_});
  EXPECT_THAT(folder.status().message(), HasSubstr("is not a regular file"));
  const std::string fifo = directory_ + "/fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(Capture({fifo}).status().message(), HasSubstr("is not a regular file"));
}

TEST_F(ExternalFilesTest, AFileTooLargeForTheArenaIsRefused) {
  const std::string path = Write("large", "");
  ASSERT_EQ(truncate(path.c_str(), 64 << 20), 0);
  const auto captured = Capture({path});
  ASSERT_FALSE(captured.ok());
  EXPECT_EQ(captured.status().code(), StatusCode::kNoSpace);
}

TEST_F(ExternalFilesTest, AFailedPutBackLeavesTheOldFileAndNothingElse) {
  const std::string path = Write("log", "old");
  const auto captured = Capture({path});
  ASSERT_TRUE(captured.ok());
  const Status failed = PutBackExternalFile(
      captured->front().info, [](int) { return Status::Corruption("chunk is damaged"); });
  EXPECT_EQ(failed.code(), StatusCode::kCorruption);
  EXPECT_EQ(Read(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_),
                          std::filesystem::directory_iterator()),
            1);
}

TEST(ArenaTest, PreparedMemoryIsNotCountedAsGrown) {
  auto arena = Arena::Create(64 << 20);
  ASSERT_TRUE(arena.ok());
  ASSERT_TRUE((*arena)->Prepare(8 << 20).ok());
  EXPECT_EQ((*arena)->Take(8 << 20).size(), 8u << 20);
  EXPECT_EQ((*arena)->grown(), 0u);
  EXPECT_EQ((*arena)->Take(4 << 20).size(), 4u << 20);
  EXPECT_EQ((*arena)->grown(), 4u << 20);
  EXPECT_TRUE((*arena)->Take(64 << 20).empty()) << "the limit holds";
  (*arena)->Clear();
  EXPECT_EQ((*arena)->used(), 0u);
  EXPECT_EQ((*arena)->ready(), 12u << 20);
}

TEST(ArenaTest, InterleavedWritersKeepTheirBytesApart) {
  auto arena = Arena::Create(64 << 20);
  ASSERT_TRUE(arena.ok());
  std::vector<ArenaWriter> writers;
  writers.reserve(3);
  for (int i = 0; i < 3; ++i) writers.emplace_back(arena->get(), std::to_string(i));
  for (int round = 0; round < 700; ++round) {
    for (size_t i = 0; i < writers.size(); ++i) {
      uint64_t left = 4096 * (i + 1);
      while (left > 0) {
        const auto space = writers[i].Space();
        const uint64_t length = std::min<uint64_t>(left, space.size());
        std::fill_n(space.data(), length, static_cast<uint8_t>('0' + i));
        writers[i].Advance(length);
        left -= length;
      }
    }
  }
  for (size_t i = 0; i < writers.size(); ++i) {
    const ArenaFile file = writers[i].Finish();
    EXPECT_EQ(file.size, uint64_t{700} * 4096 * (i + 1));
    uint64_t seen = 0;
    for (const auto& part : file.parts) {
      for (const uint8_t byte : part) ASSERT_EQ(byte, '0' + i);
      if (&part != &file.parts.back()) {
        EXPECT_EQ(part.size() % 4096, 0u);
      }
      seen += part.size();
    }
    EXPECT_EQ(seen, file.size);
  }
}

}  // namespace
}  // namespace snapstore::agent
