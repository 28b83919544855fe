#include "index/internal/base_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/base/temp_folder.h"
#include "tests/index/index_testlib.h"

namespace snapstore::internal {
namespace {

std::vector<BaseRecord> SortedRecords(uint64_t count) {
  std::vector<BaseRecord> records(count);
  for (uint32_t n = 0; n < count; ++n) {
    const ChunkId id = test::NumberedChunk(n);
    records[n] = {id.hash, id.length, n, n + 1, n + 2, static_cast<uint16_t>(n % 1000), 0};
  }
  std::sort(records.begin(), records.end(),
            [](const BaseRecord& a, const BaseRecord& b) { return a.Id() < b.Id(); });
  return records;
}

class BaseTableTest : public testing::Test {
 protected:
  void Write(const std::vector<BaseRecord>& records, size_t directory_bytes) {
    auto writer = BaseTableWriter::Create(path(), records.size(), directory_bytes);
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    for (const BaseRecord& record : records) ASSERT_TRUE((*writer)->Add(record).ok());
    ASSERT_TRUE((*writer)->Finish().ok());
  }

  std::unique_ptr<BaseTable> Open(size_t directory_bytes) {
    auto table = BaseTable::Open(path(), directory_bytes);
    EXPECT_TRUE(table.ok()) << table.status().ToString();
    return std::move(table).value();
  }

  void FlipByte(size_t at) const {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char flipped = static_cast<char>(file.get() ^ 0x20);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(flipped);
    ASSERT_TRUE(file.flush().good());
  }

  std::string path() const { return folder_.File("table"); }

  TempFolder folder_;
};

TEST_F(BaseTableTest, FindsEverythingAtAnyDirectorySize) {
  constexpr uint64_t kCount = 15'000;
  const std::vector<BaseRecord> records = SortedRecords(kCount);
  std::vector<ChunkId> ids;
  for (uint64_t n = 0; n < 2 * kCount; ++n) ids.push_back(test::NumberedChunk(n));
  for (const size_t written : {size_t{1} << 20, size_t{40'000}, size_t{1}}) {
    Write(records, written);
    // As written, folded by odd numbers, and into one block, which is then read piecemeal.
    for (const size_t held : {size_t{1} << 20, size_t{20'000}, size_t{7'000}, size_t{64}}) {
      const auto table = Open(held);
      EXPECT_EQ(table->count(), kCount);
      EXPECT_LE(table->directory_bytes(), held + sizeof(DirectoryBlock));
      std::vector<int> hits(ids.size());
      const Status status = table->Find(ids, [&](size_t at, const BaseRecord& record) {
        ++hits[at];
        EXPECT_EQ(record.pack_number, at);
        EXPECT_TRUE(record.Id() == ids[at]);
        return Status();
      });
      ASSERT_TRUE(status.ok()) << status.ToString();
      for (uint64_t n = 0; n < ids.size(); ++n) ASSERT_EQ(hits[n], n < kCount ? 1 : 0) << n;
    }
  }
}

TEST_F(BaseTableTest, CursorGivesEachRecordOnceAndInOrder) {
  const std::vector<BaseRecord> records = SortedRecords(70'000);
  Write(records, 1 << 20);
  const auto table = Open(1 << 20);
  BaseCursor cursor(table.get());
  std::vector<BaseRecord> read;
  for (uint64_t part = 0; part < 16; ++part) {
    const uint64_t last = part << 60 | ((uint64_t{1} << 60) - 1);
    ASSERT_TRUE(cursor.TakeUpTo(last, &read).ok());
    ASSERT_TRUE(read.empty() || read.back().Prefix() <= last);
    ASSERT_TRUE(read.size() == records.size() || records[read.size()].Prefix() > last);
  }
  ASSERT_EQ(read.size(), records.size());
  for (size_t n = 0; n < read.size(); ++n) ASSERT_TRUE(read[n].Id() == records[n].Id());
  BaseCursor none(nullptr);
  read.clear();
  ASSERT_TRUE(none.TakeUpTo(~uint64_t{0}, &read).ok());
  EXPECT_TRUE(read.empty());
}

TEST_F(BaseTableTest, EmptyTableHoldsNothing) {
  Write({}, 1 << 20);
  const auto table = Open(1 << 20);
  const ChunkId id = test::NumberedChunk(1);
  int hits = 0;
  ASSERT_TRUE(table
                  ->Find({&id, 1},
                         [&hits](size_t, const BaseRecord&) {
                           ++hits;
                           return Status();
                         })
                  .ok());
  EXPECT_EQ(hits, 0);
}

TEST_F(BaseTableTest, OneErrorOfTheVisitorEndsTheSearch) {
  const std::vector<BaseRecord> records = SortedRecords(100);
  Write(records, 1 << 20);
  const auto table = Open(1 << 20);
  const std::vector<ChunkId> ids = {test::NumberedChunk(0), test::NumberedChunk(1)};
  int hits = 0;
  EXPECT_TRUE(table
                  ->Find(ids,
                         [&hits](size_t, const BaseRecord&) {
                           ++hits;
                           return Status::Cancelled("enough");
                         })
                  .Is(StatusCode::kCancelled));
  EXPECT_EQ(hits, 1);
}

TEST_F(BaseTableTest, DamageInARecordNeverHidesItsChunk) {
  const std::vector<BaseRecord> records = SortedRecords(3000);
  for (const size_t directory_bytes : {size_t{1} << 20, size_t{1}}) {
    Write(records, directory_bytes);
    const size_t records_at =
        std::filesystem::file_size(path()) - records.size() * sizeof(BaseRecord);
    for (size_t byte = 0; byte < sizeof(BaseRecord); ++byte) {
      constexpr size_t kDamaged = 1234;
      const size_t at = records_at + kDamaged * sizeof(BaseRecord) + byte;
      FlipByte(at);
      const auto table = Open(1 << 20);
      const ChunkId id = records[kDamaged].Id();
      EXPECT_TRUE(table->Find({&id, 1}, [](size_t, const BaseRecord&) { return Status(); })
                      .Is(StatusCode::kCorruption))
          << byte;
      FlipByte(at);
    }
  }
}

}  // namespace
}  // namespace snapstore::internal
