// Reading entries and content by path.
#include "snapstore/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/random.h"
#include "engine/entry_list.h"
#include "tests/engine/fixture.h"
#include "uploader/counting_store.h"

namespace snapstore {
namespace {

class ReaderTest : public EngineFixture {
 protected:
  std::unique_ptr<SnapshotReader> Open(const std::string& id) {
    Result<std::unique_ptr<SnapshotReader>> reader = SnapshotReader::Open(repository(), id);
    EXPECT_TRUE(reader.ok()) << reader.status().ToString();
    return reader.ok() ? std::move(*reader) : nullptr;
  }

  static std::vector<std::string> Paths(const SnapshotReader& reader, const std::string& path) {
    std::vector<std::string> paths;
    const Status walked = reader.ForEachEntry(path, [&](const Entry& entry) {
      paths.push_back(entry.path);
      return Status();
    });
    EXPECT_TRUE(walked.ok()) << walked.ToString();
    return paths;
  }
};

TEST_F(ReaderTest, FindsAnyOfManyEntries) {
  for (int i = 0; i < 3000; ++i) {
    WriteFileAt(source("d" + std::to_string(i % 7) + "/f" + std::to_string(i)), std::to_string(i));
  }
  WriteFileAt(source("d1.x"), "sorts between names, not between paths");
  const std::unique_ptr<SnapshotReader> reader = Open(Snapshot());
  for (int i = 0; i < 3000; i += 37) {
    const std::string path = source("d" + std::to_string(i % 7) + "/f" + std::to_string(i));
    const Result<Entry> entry = reader->Lookup(path);
    ASSERT_TRUE(entry.ok()) << entry.status().ToString();
    EXPECT_EQ(entry->path, EntryPath(path));
    EXPECT_EQ(entry->size, std::to_string(i).size());
    EXPECT_EQ(reader->Lookup(path + "0000").status().code(), StatusCode::kNotFound);
  }
  const std::vector<std::string> all = Paths(*reader, "");
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end(),
                             [](const auto& a, const auto& b) { return ComparePaths(a, b) < 0; }));
  for (const char* folder : {"d0", "d1", "d6"}) {
    const std::string path = EntryPath(source(folder));
    std::vector<std::string> expected;
    for (const std::string& entry : all) {
      if (PathIsWithin(entry, path)) expected.push_back(entry);
    }
    EXPECT_GT(expected.size(), 400u);
    EXPECT_EQ(Paths(*reader, source(folder)), expected);
  }
  EXPECT_EQ(Paths(*reader, source("d1.x")).size(), 1u);
  const Status missing =
      reader->ForEachEntry(source("d7"), [](const Entry&) { return Status::Internal("no"); });
  EXPECT_EQ(missing.code(), StatusCode::kNotFound);
}

TEST_F(ReaderTest, ReadsAnyRangeLikeTheFileItself) {
  SplitMix64 random(11);
  std::string content = RandomBytes(3 * kMiB, 1);
  content += std::string(2 * kMiB, '\0');
  content += std::string(2 * kMiB, '\7');
  content += RandomBytes(9 * kMiB + 123, 2);
  WriteFileAt(source("file"), content);
  ASSERT_EQ(::link(source("file").c_str(), source("link").c_str()), 0);
  const std::unique_ptr<SnapshotReader> reader = Open(Snapshot());
  Result<std::unique_ptr<ContentReader>> opened = reader->OpenContent(source("link"));
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  ContentReader& file = **opened;
  ASSERT_EQ(file.size(), content.size());
  std::string got;
  const auto read = [&](uint64_t offset, size_t size) {
    got.assign(size, 'x');
    const Status status = file.ReadAt(offset, {reinterpret_cast<uint8_t*>(got.data()), got.size()});
    ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_EQ(got == content.substr(offset, size), true) << offset << " " << size;
  };
  for (int i = 0; i < 300; ++i) {
    const uint64_t offset = random.Below(content.size());
    read(offset, random.Below(std::min<uint64_t>(content.size() - offset, 2 * kMiB)));
  }
  for (uint64_t offset = 0; offset < content.size(); offset += 50'000) {
    read(offset, std::min<size_t>(50'000, content.size() - offset));
  }
  read(0, content.size());
  read(content.size(), 0);
  uint8_t byte = 0;
  EXPECT_EQ(file.ReadAt(content.size(), {&byte, 1}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file.ReadAt(UINT64_MAX, {&byte, 1}).code(), StatusCode::kInvalidArgument);
}

TEST_F(ReaderTest, VisitsWhatComesAlongWithAByte) {
  std::string content = RandomBytes(4 * kMiB, 1);
  content.replace(kMiB, kMiB, kMiB, '\0');
  WriteFileAt(source("file"), content);
  (void)Snapshot();
  // One byte in the middle: its chunk lies in a frame of a later snapshot.
  content[3 * kMiB] ^= 1;
  WriteFileAt(source("file"), content);
  const std::unique_ptr<SnapshotReader> reader = Open(Snapshot());
  const std::unique_ptr<ContentReader> own = reader->OpenContent(source("file")).value();
  uint64_t position = 0;
  while (reader->EntryAt(position).value().entry.type != EntryType::kFile) ++position;
  const std::unique_ptr<ContentReader> shared = reader->OpenShared(position).value();
  for (ContentReader* const file : {own.get(), shared.get()}) {
    const auto visited = [&](uint64_t at, uint64_t offset, uint64_t length) {
      uint64_t bytes = 0;
      bool found = false;
      const Status status = file->VisitAlong(at, offset, length, [&](const ContentPart& part) {
        EXPECT_GE(part.offset, offset);
        EXPECT_LE(part.offset + part.length, offset + length);
        const std::string wanted = content.substr(part.offset, part.length);
        EXPECT_TRUE(part.bytes.empty() ? wanted == std::string(part.length, '\0')
                                       : AsText(part.bytes) == wanted);
        bytes += part.length;
        found = found || (at >= part.offset && at < part.offset + part.length);
        return Status();
      });
      EXPECT_TRUE(status.ok()) << status.ToString();
      EXPECT_TRUE(found) << at;
      return bytes;
    };
    const uint64_t changed = visited(3 * kMiB, 0, content.size());
    EXPECT_GE(changed, kMiB / 2) << "the hole";
    EXPECT_LT(changed, kMiB + kMiB / 4);
    EXPECT_GT(visited(2 * kMiB + 1, 0, content.size()), changed);
    EXPECT_EQ(visited(kMiB + kMiB / 2, kMiB + kMiB / 2, 4096), 4096u) << "in the hole";
    EXPECT_EQ(visited(0, 0, 1), 1u);
    const PartVisitor any = [](const ContentPart&) { return Status(); };
    EXPECT_EQ(file->VisitAlong(4096, 0, 4096, any).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(file->VisitAlong(0, 1, 4096, any).code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(file->VisitAlong(9, 0, UINT64_MAX, any).code(), StatusCode::kInvalidArgument);
  }
}

TEST_F(ReaderTest, VisitsEachByteOnceHolesAmongThem) {
  SplitMix64 random(12);
  std::string content = RandomBytes(3 * kMiB, 1) + std::string(2 * kMiB, '\0') +
                        std::string(2 * kMiB, '\7') + RandomBytes(5 * kMiB + 123, 2);
  WriteFileAt(source("file"), content);
  const std::unique_ptr<SnapshotReader> reader = Open(Snapshot());
  Result<std::unique_ptr<ContentReader>> file = reader->OpenContent(source("file"));
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  uint64_t holes = 0;
  size_t parts = 0;
  const auto visit = [&](uint64_t offset, uint64_t length) {
    std::string got(length, 'x');
    uint64_t visited = 0;
    const Status status = (*file)->Visit(offset, length, [&](const ContentPart& part) {
      EXPECT_GE(part.offset, offset);
      EXPECT_LE(part.offset + part.length, offset + length);
      EXPECT_TRUE(part.bytes.empty() || part.bytes.size() == part.length);
      if (part.bytes.empty()) {
        got.replace(part.offset - offset, part.length, part.length, '\0');
        holes += part.length;
      } else {
        got.replace(part.offset - offset, part.length, AsText(part.bytes));
      }
      visited += part.length;
      ++parts;
      return Status();
    });
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(visited, length);
    EXPECT_TRUE(got == content.substr(offset, length)) << offset << " " << length;
  };
  visit(0, content.size());
  EXPECT_GT(holes, kMiB) << "but for zeros in chunks with others";
  EXPECT_LE(holes, 2 * kMiB);
  EXPECT_LT(parts, 100u) << "neighbours come as one";
  for (int i = 0; i < 100; ++i) {
    const uint64_t offset = random.Below(content.size());
    visit(offset, random.Below(std::min<uint64_t>(content.size() - offset, 4 * kMiB)));
  }
  visit(content.size(), 0);
  const PartVisitor refuse = [](const ContentPart&) { return Status::Unsupported("enough"); };
  EXPECT_EQ((*file)->Visit(0, kMiB, refuse).code(), StatusCode::kUnsupported);
  EXPECT_EQ((*file)->Visit(4 * kMiB, kMiB / 2, refuse).code(), StatusCode::kUnsupported);
  EXPECT_EQ((*file)->Visit(content.size(), 1, refuse).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ((*file)->Visit(1, UINT64_MAX, refuse).code(), StatusCode::kInvalidArgument);
}

TEST_F(ReaderTest, SaysWhereDataIs) {
  std::string content(4 * kMiB, '\0');
  content += RandomBytes(kMiB, 1);
  content += std::string(4 * kMiB, '\0');
  WriteFileAt(source("file"), content);
  const std::unique_ptr<SnapshotReader> reader = Open(Snapshot());
  Result<std::unique_ptr<ContentReader>> file = reader->OpenContent(source("file"));
  ASSERT_TRUE(file.ok());
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t covered = 0;
  for (uint64_t at = 0; at < content.size(); at = end) {
    ASSERT_TRUE((*file)->NextData(at, &begin, &end).ok());
    ASSERT_GE(begin, at);
    ASSERT_GE(end, begin);
    EXPECT_EQ(content.substr(at, begin - at).find_first_not_of('\0'), std::string::npos);
    covered += end - begin;
    if (begin == content.size()) break;
  }
  EXPECT_GE(covered, kMiB);
  EXPECT_LT(covered, 2 * kMiB);
  ASSERT_TRUE((*file)->NextData(4 * kMiB + 5, &begin, &end).ok());
  EXPECT_EQ(begin, 4 * kMiB + 5);
  ASSERT_TRUE((*file)->NextData(content.size() + 100, &begin, &end).ok());
  EXPECT_EQ(begin, content.size());
}

TEST_F(ReaderTest, RefusesContentOfOtherTypes) {
  ASSERT_EQ(::symlink("x", source("symlink").c_str()), 0);
  const std::unique_ptr<SnapshotReader> reader = Open(Snapshot());
  EXPECT_EQ(reader->OpenContent(source("symlink")).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(reader->OpenContent(source()).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(reader->OpenContent(source("none")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(SnapshotReader::Open(repository(), std::string(64, '0')).status().code(),
            StatusCode::kNotFound);
}

TEST_F(ReaderTest, FetchesEachFrameOnceForSequentialReaders) {
  const std::string content = RandomBytes(16 * kMiB, 4);
  WriteFileAt(source("file"), content);
  const std::string id = Snapshot();
  auto counting =
      std::make_unique<CountingStore>(store_, std::vector<std::string>{std::string(kDataPrefix)});
  CountingStore* const counts = counting.get();
  repository_ = OpenRepository(std::move(counting), "cold");
  const std::unique_ptr<SnapshotReader> reader = Open(id);
  Result<std::unique_ptr<ContentReader>> file = reader->OpenContent(source("file"));
  ASSERT_TRUE(file.ok());
  Bytes piece(64 << 10);
  for (uint64_t offset = 0; offset < content.size(); offset += piece.size()) {
    ASSERT_TRUE((*file)->ReadAt(offset, piece).ok());
  }
  const StoreCounts data = counts->Counts(StoreOp::kGetRange, kDataPrefix);
  EXPECT_LT(data.requests, 20u);
  EXPECT_LT(data.bytes, content.size() * 5 / 4);
}

}  // namespace
}  // namespace snapstore
