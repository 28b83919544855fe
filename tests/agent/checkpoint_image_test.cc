#include "agent/checkpoint_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <random>
#include <thread>

#include "agent/checkpoint_metadata.h"
#include "base/file.h"
#include "base/random.h"
#include "tests/agent/sparse_source.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

void PutRecord(Bytes* out, std::initializer_list<std::pair<int, uint64_t>> fields) {
  Bytes message;
  for (const auto& [number, value] : fields) {
    ByteWriter(&message).Varint(static_cast<uint64_t>(number) << 3);
    ByteWriter(&message).Varint(value);
  }
  ByteWriter(out).U32(static_cast<uint32_t>(message.size()));
  ByteWriter(out).Raw(message);
}

Bytes PagemapImage(uint32_t pages_id, const std::vector<PageRun>& runs) {
  Bytes image;
  ByteWriter(&image).U32(0x54564319);
  ByteWriter(&image).U32(0x56084025);
  PutRecord(&image, {{1, pages_id}});
  for (const PageRun& run : runs) {
    PutRecord(&image, {{1, run.address}, {2, run.bytes / kPageBytes}, {4, 4}});
  }
  return image;
}

class CheckpointImageTest : public ::testing::Test {
 protected:
  CheckpointImageTest() : arena_(std::move(*Arena::Create(64 << 20))) {}

  ArenaFile Store(const std::string& name, ByteSpan bytes) {
    ArenaWriter writer(arena_.get(), name);
    while (!bytes.empty()) {
      const auto space = writer.Space();
      const size_t length = std::min({space.size(), bytes.size(), size_t{5000}});
      std::copy_n(bytes.data(), length, space.data());
      writer.Advance(length);
      bytes = bytes.subspan(length);
    }
    return writer.Finish();
  }

  std::unique_ptr<Arena> arena_;
};

TEST_F(CheckpointImageTest, PagesLieAtTheirAddressesAndComeBackByteForByte) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SplitMix64 random(seed);
  for (int round = 0; round < 20; ++round) {
    std::vector<PageRun> runs;
    uint64_t address = 0x550000000000;
    uint64_t total = 0;
    for (uint64_t i = 0; i < 1 + random.Below(50); ++i) {
      address += kPageBytes * random.Below(1 << 20);
      const uint64_t bytes = kPageBytes * (1 + random.Below(40));
      runs.push_back({address, bytes});
      address += bytes;
      total += bytes;
    }
    Bytes pages(total);
    for (uint8_t& byte : pages) byte = static_cast<uint8_t>(random.Next());
    const Bytes map_image = PagemapImage(3, runs);
    arena_->Clear();
    const std::vector<ArenaFile> files{Store("pages-3.img", pages),
                                       Store("pagemap-2.img", map_image)};
    const auto sources = ImageSources(files);
    ASSERT_TRUE(sources.ok()) << sources.status().ToString();
    const MemorySource& memory = sources->front();
    EXPECT_EQ(memory.name, MemoryFileName("pagemap-2.img", runs[0].address));
    EXPECT_EQ(ReadSparse(memory, runs[0].address % kWindowBytes, kPageBytes),
              Bytes(pages.begin(), pages.begin() + kPageBytes));
    for (const MemorySource& source : *sources) EXPECT_LE(source.size, kWindowBytes);
    const auto map = Pagemap::Parse(map_image);
    ASSERT_TRUE(map.ok());
    EXPECT_EQ(RegeneratePages(*map, "pagemap-2.img", *sources), pages);
  }
}

TEST_F(CheckpointImageTest, ARunThatCrossesAWindowIsSplitThere) {
  Bytes pages(4 * kPageBytes);
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<uint8_t>(i / kPageBytes + 1);
  const Bytes map_image = PagemapImage(1, {{3 * kWindowBytes - 2 * kPageBytes, 4 * kPageBytes}});
  const auto sources =
      ImageSources({Store("pages-1.img", pages), Store("pagemap-9.img", map_image)});
  ASSERT_TRUE(sources.ok());
  ASSERT_EQ(sources->size(), 3u);
  EXPECT_EQ((*sources)[0].name, "memory/pagemap-9.img/0000000008000000");
  EXPECT_EQ((*sources)[0].size, kWindowBytes);
  EXPECT_EQ((*sources)[1].name, "memory/pagemap-9.img/000000000c000000");
  EXPECT_EQ((*sources)[1].size, 2 * kPageBytes);
  EXPECT_EQ(RegeneratePages(*Pagemap::Parse(map_image), "pagemap-9.img", *sources), pages);
}

TEST_F(CheckpointImageTest, APagesImageNoMapDescribesStaysAsItIs) {
  const Bytes pages(3 * kPageBytes, 7);
  const std::vector<ArenaFile> files{
      Store("pages-1.img", pages),
      Store("pagemap-2.img", PagemapImage(1, {{0x1000, 2 * kPageBytes}}))};
  const auto sources = ImageSources(files);
  ASSERT_TRUE(sources.ok());
  std::map<std::string, uint64_t> sizes;
  for (const MemorySource& source : *sources) sizes[source.name] = source.size;
  EXPECT_EQ(sizes.size(), 2u) << "no memory file";
  EXPECT_EQ(sizes["criu/pages-1.img"], pages.size());
}

TEST_F(CheckpointImageTest, ADamagedPageMapIsRefused) {
  const auto sources = ImageSources({Store("pagemap-2.img", Bytes{1, 2, 3})});
  ASSERT_FALSE(sources.ok());
  EXPECT_EQ(sources.status().code(), StatusCode::kCorruption);
  EXPECT_THAT(sources.status().message(), HasSubstr("pagemap-2.img"));
}

TEST(CheckpointMetadataTest, ComesBackAsItWas) {
  CheckpointMetadata metadata;
  metadata.app = "BI";
  metadata.run_cmd = "python3 /srv/app.py";
  metadata.time_ns = 1'700'000'000'123'456'789;
  metadata.criu_version = "4.2.1";
  metadata.platform = Platform::OfThisMachine();
  metadata.frozen_ms = 12.5;
  metadata.root_pid = 2;
  metadata.log_path = "/var/log/app.log";
  metadata.external_files = {
      {"/srv/log", "/data/log", 0640, 1, 2, -5, 1'700'000'000'000'000'001, 42}};
  const auto back = CheckpointMetadata::FromJson(metadata.ToJson());
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->ToJson(), metadata.ToJson());
  EXPECT_EQ(back->external_files[0].mtime_ns, 1'700'000'000'000'000'001);
  EXPECT_EQ(back->platform.cpu_features, metadata.platform.cpu_features);
}

TEST(CheckpointMetadataTest, DamagedTextIsCorruption) {
  for (const char* text : {"", "{", "[]", "{}", R"({"version":1})", R"({"version":"x"})"}) {
    const auto metadata = CheckpointMetadata::FromJson(text);
    ASSERT_FALSE(metadata.ok()) << text;
    EXPECT_EQ(metadata.status().code(), StatusCode::kCorruption) << text;
  }
  EXPECT_EQ(CheckpointMetadata::FromJson(R"({"version":99})").status().code(),
            StatusCode::kUnsupported);
}

TEST(PlatformTest, ACpuThatLacksAFeatureIsRefusedByName) {
  const Platform newer = Platform::FromCpuInfo(
      "processor\t: 0\nmodel name\t: New CPU\nflags\t\t: fpu sse2 avx2 avx512f hypervisor\n\n");
  const Platform older = Platform::FromCpuInfo("model name\t: Old CPU\nflags\t\t: fpu sse2 avx2\n");
  EXPECT_TRUE(CheckCanResume(older, newer).ok());
  const Status refused = CheckCanResume(newer, older);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.code(), StatusCode::kUnsupported);
  EXPECT_EQ(refused.message(), "the checkpoint is of a New CPU; this CPU (Old CPU) lacks avx512f");
}

}  // namespace
}  // namespace snapstore::agent
