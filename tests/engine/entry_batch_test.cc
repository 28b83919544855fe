#include "engine/entry_batch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>

#include "engine/file_metadata.h"
#include "tests/base/temp_folder.h"

namespace snapstore {
namespace {

constexpr size_t kBatchBufferBytes = 1 << 20;

class EntryBatchTest : public testing::Test {
 protected:
  void Write(const std::string& name, const std::string& content,
             std::ios::openmode mode = std::ios::trunc) const {
    std::ofstream(folder_.File(name), std::ios::binary | std::ios::out | mode) << content;
  }

  // Adds a file as the walk would.
  void Add(EntryBatch* batch, const std::string& name) const {
    auto file = std::make_unique<SmallFile>();
    file->directory =
        std::make_shared<const UniqueFd>(::open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY));
    file->name = name;
    file->stat = StatAt(file->directory->get(), name).value();
    BatchedEntry entry;
    entry.entry = EntryFromStat(name, file->stat).value();
    entry.file = std::move(file);
    batch->Add(std::move(entry));
  }

  static std::string Content(const BatchedEntry& entry) {
    return std::string(AsText(entry.file->data));
  }

  TempFolder folder_;
  BufferPool pool_{4, kBatchBufferBytes};
};

TEST_F(EntryBatchTest, ReadsFilesWithWhatBelongsToThem) {
  Write("a", "first");
  Write("empty", "");
  Write("image", std::string(1080, '\0') + "\x53\xef" + std::string(100'000, 'x'));
  const bool xattrs = ::setxattr(folder_.File("a").c_str(), "user.colour", "blue", 4, 0) == 0;
  EntryBatch batch;
  batch.SetBuffer(pool_.Take(), kBatchBufferBytes);
  for (const char* name : {"a", "empty", "image"}) Add(&batch, name);
  batch.Read();
  batch.Wait();
  const std::vector<BatchedEntry>& entries = batch.entries();
  ASSERT_EQ(entries.size(), 3u);
  for (const BatchedEntry& entry : entries) {
    EXPECT_TRUE(entry.file->status.ok()) << entry.file->status.ToString();
    EXPECT_FALSE(entry.entry.changed_while_read());
    EXPECT_EQ(entry.entry.size(), entry.file->data.size());
  }
  EXPECT_EQ(Content(entries[0]), "first");
  EXPECT_EQ(entries[0].file->cut, CutRule::kCdc);
  EXPECT_EQ(Content(entries[1]), "");
  EXPECT_EQ(entries[2].file->cut, CutRule::kAlignedGroups);
  if (xattrs) {
    ASSERT_EQ(entries[0].entry.xattrs_size(), 1);
    EXPECT_EQ(entries[0].entry.xattrs(0).value(), "blue");
  }
}

TEST_F(EntryBatchTest, TakesAFileAsItIsWhenItIsOpened) {
  for (const char* name : {"grown", "shrunk", "gone", "replaced", "link"})
    Write(name, "1234567890");
  EntryBatch batch;
  batch.SetBuffer(pool_.Take(), kBatchBufferBytes);
  for (const char* name : {"grown", "shrunk", "gone", "replaced", "link"}) Add(&batch, name);
  Write("grown", std::string(300'000, 'g'), std::ios::app);
  Write("shrunk", "123");
  ::unlink(folder_.File("gone").c_str());
  Write("other", "another file");
  ::rename(folder_.File("other").c_str(), folder_.File("replaced").c_str());
  ::unlink(folder_.File("link").c_str());
  ASSERT_EQ(::symlink("shrunk", folder_.File("link").c_str()), 0);
  batch.Read();
  const std::vector<BatchedEntry>& entries = batch.entries();
  EXPECT_EQ(Content(entries[0]), "1234567890" + std::string(300'000, 'g'));
  EXPECT_EQ(entries[0].entry.size(), 300'010u);
  EXPECT_FALSE(entries[0].entry.changed_while_read());
  EXPECT_EQ(Content(entries[1]), "123");
  EXPECT_EQ(entries[1].entry.size(), 3u);
  EXPECT_TRUE(entries[2].file->status.Is(StatusCode::kNotFound));
  EXPECT_TRUE(entries[3].file->status.Is(StatusCode::kIo));
  EXPECT_FALSE(entries[4].file->status.ok());
}

TEST_F(EntryBatchTest, IsFullBeforeItsBufferIs) {
  Write("a", std::string(kBatchBufferBytes - 1, 'a'));
  Write("b", "b");
  EntryBatch batch;
  EXPECT_FALSE(batch.HasRoom(0));
  batch.SetBuffer(pool_.Take(), kBatchBufferBytes);
  EXPECT_TRUE(batch.HasRoom(kBatchBufferBytes - 1));
  EXPECT_FALSE(batch.HasRoom(kBatchBufferBytes));
  Add(&batch, "a");
  EXPECT_FALSE(batch.HasRoom(0));
}

TEST_F(EntryBatchTest, WorkersReadEveryBatch) {
  constexpr int kBatches = 40;
  Write("a", "content");
  BufferPool pool(kBatches, 4096);
  std::vector<std::shared_ptr<EntryBatch>> batches;
  {
    BatchReaders readers;
    for (int i = 0; i < kBatches; ++i) {
      batches.push_back(std::make_shared<EntryBatch>());
      batches.back()->SetBuffer(pool.Take(), 4096);
      Add(batches.back().get(), "a");
      readers.Submit(batches.back());
    }
    batches.back()->Wait();
  }
  for (const auto& batch : batches) EXPECT_EQ(Content(batch->entries()[0]), "content");
}

}  // namespace
}  // namespace snapstore
