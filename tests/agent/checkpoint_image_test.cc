#include "agent/checkpoint_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <random>
#include <set>
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

TEST_F(CheckpointImageTest, UnchangedPagesAreNotLookedAtWhetherTheyWereCapturedOrLetGo) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SplitMix64 random(seed);
  for (int round = 0; round < 40; ++round) {
    std::vector<PageRun> runs;
    AddressSet unchanged;
    Bytes all;
    uint64_t address = kWindowBytes - 30 * kPageBytes;
    for (int i = 0; i < 30; ++i) {
      address += kPageBytes * (1 + random.Below(4));
      const uint64_t count = 1 + random.Below(5);
      runs.push_back({address, count * kPageBytes});
      for (uint64_t page = 0; page < count; ++page, address += kPageBytes) {
        all.insert(all.end(), kPageBytes, static_cast<uint8_t>(random.Next()));
        // Not only pages that were dumped are unchanged.
        const uint64_t kept = random.Below(3);
        unchanged.Append(address, address + kept * kPageBytes);
      }
    }
    Bytes changed;
    Bytes expected;  // with 0xee for what is unchanged
    size_t offset = 0;
    for (const PageRun& run : runs) {
      for (uint64_t at = run.address; at < run.address + run.bytes; at += kPageBytes) {
        AddressSet page;
        page.Append(at, at + kPageBytes);
        const bool kept = !page.Intersect(unchanged).empty();
        const auto begin = all.begin() + static_cast<ptrdiff_t>(offset);
        if (!kept) changed.insert(changed.end(), begin, begin + kPageBytes);
        if (kept) expected.insert(expected.end(), kPageBytes, 0xee);
        if (!kept) expected.insert(expected.end(), begin, begin + kPageBytes);
        offset += kPageBytes;
      }
    }
    arena_->Clear();
    const Bytes map_image = PagemapImage(3, runs);
    const ArenaFile map_file = Store("pagemap-2.img", map_image);
    ArenaFile let_go = Store("pages-3.img", changed);
    let_go.size = all.size();
    let_go.only_changed = true;
    const PagesByMap known{{"pagemap-2.img", unchanged}};
    for (const ArenaFile& pages : {Store("pages-3.img", all), let_go}) {
      PagesByMap placed;
      auto sources = ImageSources({map_file, pages}, known, &placed);
      ASSERT_TRUE(sources.ok()) << sources.status().ToString();
      EXPECT_EQ(placed["pagemap-2.img"].bytes(), all.size());
      const Bytes marked(kWindowBytes, 0xee);
      for (MemorySource& source : *sources) {
        for (MemorySource::Extent& extent : source.extents) {
          ASSERT_TRUE(extent.bytes.empty() || extent.unchanged == 0);
          if (extent.unchanged != 0) extent.bytes = ByteSpan(marked).first(extent.unchanged);
        }
      }
      EXPECT_EQ(RegeneratePages(*Pagemap::Parse(map_image), "pagemap-2.img", *sources), expected);
    }
    EXPECT_EQ(ImageSources({map_file, let_go}).status().code(), StatusCode::kInternal)
        << "what was let go is nowhere";
  }
}

TEST(AddressSetTest, AgreesWithASetOfAddresses) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SplitMix64 random(seed);
  for (int round = 0; round < 200; ++round) {
    AddressSet sets[2];
    std::set<uint64_t> model[2];
    for (int i = 0; i < 2; ++i) {
      for (uint64_t at = 0; at < 60;) {
        const uint64_t begin = at + random.Below(4);
        at = begin + random.Below(8);
        sets[i].Append(begin, at);
        for (uint64_t address = begin; address < at; ++address) model[i].insert(address);
      }
    }
    auto flat = [](const AddressSet& set) {
      std::set<uint64_t> addresses;
      uint64_t end = 0;
      for (const AddressRange& range : set.ranges()) {
        EXPECT_TRUE(range.begin < range.end && (range.begin > end || addresses.empty()));
        end = range.end;
        for (uint64_t at = range.begin; at < range.end; ++at) addresses.insert(at);
      }
      EXPECT_EQ(set.bytes(), addresses.size());
      return addresses;
    };
    std::set<uint64_t> both;
    std::set<uint64_t> rest;
    for (const uint64_t address : model[0]) {
      (model[1].contains(address) ? both : rest).insert(address);
    }
    EXPECT_EQ(flat(sets[0]), model[0]);
    EXPECT_EQ(flat(sets[0].Intersect(sets[1])), both);
    EXPECT_EQ(flat(sets[0].Subtract(sets[1])), rest);
  }
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
