#include "engine/extent_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "base/file.h"
#include "base/random.h"
#include "tests/base/temp_folder.h"

namespace snapstore {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

class ExtentReaderTest : public testing::TestWithParam<IoBackend> {
 protected:
  // A file whose pages are on the disk only, where the file system lets them go.
  UniqueFd MakeColdFile(ByteSpan content) {
    const std::string path = folder_.File("file");
    UniqueFd fd = std::move(OpenFile(path, O_RDWR | O_CREAT)).value();
    EXPECT_TRUE(WriteFull(fd.get(), content, path).ok());
    EXPECT_TRUE(SyncFd(fd.get(), path).ok());
    EXPECT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
    return std::move(OpenFile(path, O_RDONLY)).value();
  }

  // What the reader emits for it.
  Bytes Read(int fd, uint64_t size) {
    BufferPool pool(8, kBufferBytes);
    BoundedQueue<SourceEvent> queue(64);
    Bytes out;
    {
      EventSink sink(&queue, &pool);
      auto reader = std::move(ExtentReader::Create(GetParam(), &sink, 4)).value();
      std::thread thread([&] {
        const Result<uint64_t> got = reader->ReadFile(fd, size, "file");
        EXPECT_TRUE(got.ok()) << got.status().ToString();
        EXPECT_EQ(*got, size);
        queue.Close();
      });
      while (std::optional<SourceEvent> event = queue.Pop()) {
        if (event->kind == SourceEvent::Kind::kHole) {
          out.resize(out.size() + event->length);
        } else {
          out.insert(out.end(), event->data.begin(), event->data.end());
        }
      }
      thread.join();
      read_directly_ = reader->bytes_read_directly();
    }
    return out;
  }

  TempFolder folder_;
  uint64_t read_directly_ = 0;
};

// Also where the file does not end with a block.
TEST_P(ExtentReaderTest, ReadsColdLargeFilesPastThePageCache) {
  SplitMix64 random(1);
  Bytes content((65 << 20) + 1234);
  for (size_t at = 0; at + 8 <= content.size(); at += 8)
    StoreLe(content.data() + at, random.Next());
  const UniqueFd fd = MakeColdFile(content);
  EXPECT_TRUE(Read(fd.get(), content.size()) == content);
  if (read_directly_ == 0) GTEST_SKIP() << "the temporary folder has no direct reads";
  EXPECT_EQ(read_directly_, content.size());
  // Without asking the disk a second time when it is in memory.
  Bytes again(content.size());
  ASSERT_TRUE(PreadFull(fd.get(), again, 0, "file").ok());
  EXPECT_TRUE(Read(fd.get(), content.size()) == content);
  EXPECT_EQ(read_directly_, 0u);
}

TEST_P(ExtentReaderTest, ReadsSmallFilesThroughThePageCache) {
  const Bytes content(3 << 20, 'x');
  const UniqueFd fd = MakeColdFile(content);
  EXPECT_TRUE(Read(fd.get(), content.size()) == content);
  EXPECT_EQ(read_directly_, 0u);
}

INSTANTIATE_TEST_SUITE_P(Backends, ExtentReaderTest,
                         testing::Values(IoBackend::kAuto, IoBackend::kThreads),
                         [](const auto& param_info) {
                           return param_info.param == IoBackend::kAuto ? "Auto" : "Threads";
                         });

}  // namespace
}  // namespace snapstore
