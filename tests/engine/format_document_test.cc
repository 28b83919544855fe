// docs/format.md, proved by read_format.py, which was written from it.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/random.h"
#include "engine/manifest.h"
#include "snapstore/claim.h"
#include "snapstore/keys.h"
#include "tests/base/run_command.h"
#include "tests/engine/fixture.h"

namespace snapstore {
namespace {

// Each once plain, once encrypted.
class FormatDocument : public EngineFixture, public testing::WithParamInterface<bool> {
 protected:
  FormatDocument() : EngineFixture(std::filesystem::temp_directory_path(), GetParam()) {
    if (!GetParam()) return;
    WriteFileAt(folder_.File("key"), std::string(credential_->secret.view()));
    ::setenv("SNAPSTORE_KEY_FILE", folder_.File("key").c_str(), 1);
  }
  void TearDown() override { ::unsetenv("SNAPSTORE_KEY_FILE"); }

  // Every object as a file, as a directory store keeps them.
  void WriteRepository() const {
    std::filesystem::remove_all(folder_.File("repo"));
    for (const auto& [key, bytes] : Objects()) {
      WriteFileAt(folder_.File("repo/" + key), std::string(AsText(bytes)));
    }
  }
  // What the independent reader writes; its failure fails the test.
  std::string Read(const std::string& command, const std::string& id,
                   const std::string& path = "") const {
    const CommandResult result = RunCommand(
        {SNAPSTORE_PYTHON, "-B", SNAPSTORE_READ_FORMAT, folder_.File("repo"), command, id, path});
    EXPECT_EQ(result.wait_status, 0) << command << " " << id << " " << path;
    return result.output;
  }
};

INSTANTIATE_TEST_SUITE_P(Repository, FormatDocument, testing::Bool(),
                         [](const auto& chosen) { return chosen.param ? "Encrypted" : "Plain"; });

TEST_P(FormatDocument, IsEnoughToReadATree) {
  const std::string large = RandomBytes(6 << 20, 1) + std::string(3 << 20, '\0') +
                            RandomBytes(100001, 2) + std::string(1 << 20, 'r') + "end";
  WriteSource("small", "a few bytes\n");
  WriteSource("empty", "");
  WriteSource("large", large);
  for (int i = 0; i < 2000; ++i) {
    WriteSource("many/" + std::to_string(i), "content " + std::to_string(i % 100));
  }
  ASSERT_EQ(::symlink("small", source("symlink").c_str()), 0);
  ASSERT_EQ(::link(source("large").c_str(), source("zz-other-name").c_str()), 0);
  const std::string first = Snapshot();
  const std::string changed = large.substr(0, 1 << 20) + "inserted" + large.substr(1 << 20);
  std::filesystem::remove(source("large"));
  WriteSource("large", changed);
  const std::string second = Snapshot();
  WriteRepository();

  for (const std::string& id : {first, second}) {
    const std::string list = Read("list", id);
    EXPECT_NE(list.find("1 12 " + SourceEntry("small") + "\n"), std::string::npos);
    EXPECT_NE(list.find("2 0 " + SourceEntry("many") + "\n"), std::string::npos);
    EXPECT_NE(list.find("3 0 " + SourceEntry("symlink") + "\n"), std::string::npos) << list;
    EXPECT_GE(std::count(list.begin(), list.end(), '\n'), 2000);
    EXPECT_EQ(Read("extract", id, SourceEntry("small")), "a few bytes\n");
    EXPECT_EQ(Read("extract", id, SourceEntry("empty")), "");
    EXPECT_EQ(Read("extract", id, SourceEntry("many/1234")), "content 34");
    EXPECT_TRUE(Read("extract", id, SourceEntry("zz-other-name")) == large);
  }
  EXPECT_TRUE(Read("extract", first, SourceEntry("large")) == large);
  EXPECT_TRUE(Read("extract", second, SourceEntry("large")) == changed);

  // The lists were long enough to have leaves of their own.
  const Bytes bytes = Objects().at("snapshots/" + first);
  const auto manifest = DecodeManifest(repository().sealer(), *Digest::FromHex(first), bytes);
  ASSERT_TRUE(manifest.ok());
  EXPECT_GE(manifest->tree().depth(), 1u);
}

TEST_P(FormatDocument, IsEnoughToReadALongPackTable) {
  // Each snapshot adds a pack at least.
  Bytes image(64 << 10);
  std::string id;
  for (size_t i = 0; i < kPackTableLeafEntries + 10; ++i) {
    StoreLe<uint64_t>(image.data() + i % 16 * 4096, i + 1);
    SnapshotRequest request;
    request.images.push_back({.name = "image", .size = image.size(), .extents = {{0, image}}});
    id = Snapshot(request);
  }
  const auto manifest =
      DecodeManifest(repository().sealer(), *Digest::FromHex(id), Objects().at("snapshots/" + id));
  ASSERT_TRUE(manifest.ok());
  ASSERT_GE(manifest->pack_table_size(), 1);
  WriteRepository();
  const std::string read = Read("extract", id, "image");
  EXPECT_TRUE(std::equal(image.begin(), image.end(), read.begin(), read.end(),
                         [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); }));
  EXPECT_EQ(Describe(Check({.read_data = true})), "");
}

TEST_P(FormatDocument, IsEnoughToReadLeavesBasedOnOthers) {
  SplitMix64 random(9);
  Bytes image(16 << 20);
  const auto write_page = [&](size_t page) {
    StoreLe<uint64_t>(image.data() + page * 4096, 1 + random.Next());
  };
  const size_t pages = image.size() / 4096;
  for (size_t page = 0; page < pages; ++page) write_page(page);
  std::string id;
  uint64_t meta_bytes = 0;
  for (int generation = 0; generation < 4; ++generation) {
    SnapshotRequest request;
    request.images.push_back({.name = "image", .size = image.size(), .extents = {{0, image}}});
    id = Snapshot(request);
    uint64_t bytes = 0;
    for (const std::string& key : KeysBelow("meta/")) bytes += Objects().at(key).size();
    if (generation > 0) {
      EXPECT_LT(bytes - meta_bytes, pages * 18 / 4) << "leaves were written anew";
    }
    meta_bytes = bytes;
    for (size_t i = 0; i < pages / 100; ++i) write_page(random.Below(pages));
    std::fill_n(image.begin() + static_cast<ptrdiff_t>(random.Below(pages) * 4096), 4096, 0);
  }
  const Bytes now = image;
  SnapshotRequest request;
  request.images.push_back({.name = "image", .size = now.size(), .extents = {{0, now}}});
  id = Snapshot(request);
  WriteRepository();
  const std::string read = Read("extract", id, "image");
  EXPECT_TRUE(std::equal(now.begin(), now.end(), read.begin(), read.end(),
                         [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); }));
  EXPECT_EQ(Describe(Check({.read_data = true})), "");
}

TEST_P(FormatDocument, IsEnoughToReadClaims) {
  WriteSource("file", "content");
  const std::string id = Snapshot();
  const auto first = TakeClaim(repository(), {.name = "db \xc3\xa9"});
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  ASSERT_TRUE(RecordClaimBase(repository(), *first, {}).ok());
  const auto second = TakeClaim(repository(), {.name = "db \xc3\xa9"});
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  ASSERT_TRUE(RecordClaimBase(repository(), *second, {id}).ok());
  WriteRepository();
  const std::string who = fmt::format("{} {}", second->host, second->process);
  EXPECT_EQ(Read("claims", "db \xc3\xa9"), fmt::format("1 {}\n1\n2 {}\n2 {}\n", who, who, id));
}

TEST_P(FormatDocument, IsEnoughToOpenWithAPassword) {
  if (!GetParam()) GTEST_SKIP() << "it needs none";
  WriteSource("file", "content");
  const std::string id = Snapshot();
  const Credential password{Credential::Kind::kPassword, Secret("correct horse \xc3\xa9")};
  ASSERT_TRUE(AddKey(repository(), password, "").ok());
  WriteRepository();
  ::unsetenv("SNAPSTORE_KEY_FILE");
  ::setenv("SNAPSTORE_PASSWORD", std::string(password.secret.view()).c_str(), 1);
  EXPECT_EQ(Read("extract", id, SourceEntry("file")), "content");
  ::unsetenv("SNAPSTORE_PASSWORD");
}

}  // namespace
}  // namespace snapstore
