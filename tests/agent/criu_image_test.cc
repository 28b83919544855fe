#include "agent/criu_image.h"

#include <gtest/gtest.h>

#include <random>

#include "agent/criu_log.h"
#include "base/random.h"

namespace snapstore::agent {
namespace {

// Writes protobuf by hand, so that a wrong field number in the .proto shows.
class ImageBuilder {
 public:
  ImageBuilder(uint32_t first, uint32_t second) {
    ByteWriter(&bytes_).U32(first);
    ByteWriter(&bytes_).U32(second);
  }
  ImageBuilder& Record(std::initializer_list<std::pair<int, uint64_t>> fields) {
    Bytes message;
    ByteWriter writer(&message);
    for (const auto& [number, value] : fields) {
      writer.Varint(static_cast<uint64_t>(number) << 3);
      writer.Varint(value);
    }
    ByteWriter(&bytes_).U32(static_cast<uint32_t>(message.size()));
    ByteWriter(&bytes_).Raw(message);
    return *this;
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

ImageBuilder PagemapImage() { return ImageBuilder(0x54564319, 0x56084025); }

TEST(PagemapTest, KeepsPresentPagesOnlyAndJoinsNeighbours) {
  const auto map = Pagemap::Parse(PagemapImage()
                                      .Record({{1, 7}})
                                      .Record({{1, 0x1000}, {2, 2}, {4, 4}})
                                      .Record({{1, 0x3000}, {2, 1}, {4, 4}})
                                      .Record({{1, 0x8000}, {2, 1}, {4, 1}})
                                      .Record({{1, 0x9000}, {2, 0}, {4, 4}, {5, 3}})
                                      .bytes());
  ASSERT_TRUE(map.ok()) << map.status().ToString();
  EXPECT_EQ(map->pages_id, 7u);
  ASSERT_EQ(map->runs.size(), 2u);
  EXPECT_EQ(map->runs[0].address, 0x1000u);
  EXPECT_EQ(map->runs[0].bytes, 0x3000u);
  EXPECT_EQ(map->runs[1].address, 0x9000u);
  EXPECT_EQ(map->runs[1].bytes, 0x3000u);
  EXPECT_EQ(map->bytes, 0x6000u);
  EXPECT_TRUE(map->ascending);
}

TEST(PagemapTest, TellsPagesApartThatMayComeLater) {
  const auto map = Pagemap::Parse(PagemapImage()
                                      .Record({{1, 7}})
                                      .Record({{1, 0x1000}, {2, 2}, {4, 4}})
                                      .Record({{1, 0x3000}, {2, 1}, {4, 6}})
                                      .Record({{1, 0x4000}, {2, 3}, {4, 6}})
                                      .bytes());
  ASSERT_TRUE(map.ok()) << map.status().ToString();
  ASSERT_EQ(map->runs.size(), 2u);
  EXPECT_FALSE(map->runs[0].lazy);
  EXPECT_TRUE(map->runs[1].lazy);
  EXPECT_EQ(map->runs[1].bytes, 0x4000u);
  EXPECT_EQ(map->lazy_bytes, 0x4000u);
}

// A record of files.img with the socket's fields, packed by hand.
void AddSocket(uint32_t family, uint32_t type, uint32_t state, const std::vector<uint32_t>& local,
               const std::vector<uint32_t>& remote, Bytes* image) {
  Bytes socket;
  ByteWriter fields(&socket);
  const auto number = [&](uint64_t field, uint64_t value) {
    fields.Varint(field << 3);
    fields.Varint(value);
  };
  number(3, family);
  number(4, type);
  number(5, 6);
  number(6, state);
  for (const uint32_t word : local) number(11, word);
  for (const uint32_t word : remote) number(12, word);
  Bytes message;
  ByteWriter entry(&message);
  entry.Varint(1 << 3);
  entry.Varint(4);
  entry.Varint(4 << 3 | 2);
  entry.Varint(socket.size());
  entry.Raw(socket);
  ByteWriter(image).U32(static_cast<uint32_t>(message.size()));
  ByteWriter(image).Raw(message);
}

TEST(TcpConnectionsTest, NamesThoseThatHaveAPeer) {
  constexpr uint32_t kStream = 1;
  constexpr uint32_t kDatagram = 2;
  constexpr uint32_t kEstablished = 1;
  constexpr uint32_t kListen = 10;
  Bytes image = ImageBuilder(0x54564319, 0x56303138).bytes();
  AddSocket(2, kStream, kListen, {0}, {0}, &image);
  AddSocket(2, kDatagram, kEstablished, {0x0100000a}, {0x0200000a}, &image);
  AddSocket(2, kStream, kEstablished, {0x0100000a}, {0x0200000a}, &image);
  AddSocket(10, kStream, kEstablished, {0x000000fd, 0, 0, 0x01000000}, {0, 0, 0, 0x01000000},
            &image);
  const auto connections = ParseTcpConnections(image);
  ASSERT_TRUE(connections.ok()) << connections.status().ToString();
  ASSERT_EQ(connections->size(), 2u);
  EXPECT_EQ((*connections)[0].local, "10.0.0.1");
  EXPECT_EQ((*connections)[0].remote, "10.0.0.2");
  EXPECT_EQ((*connections)[1].local, "fd00::1");
  EXPECT_EQ((*connections)[1].remote, "::1");

  Bytes damaged = ImageBuilder(0x54564319, 0x56303138).bytes();
  AddSocket(10, kStream, kEstablished, {1}, {1}, &damaged);
  EXPECT_EQ(ParseTcpConnections(damaged).status().code(), StatusCode::kCorruption);
}

TEST(PagemapTest, SaysWhenAddressesDoNotAscend) {
  const auto map = Pagemap::Parse(PagemapImage()
                                      .Record({{1, 1}})
                                      .Record({{1, 0x5000}, {2, 1}, {4, 4}})
                                      .Record({{1, 0x1000}, {2, 1}, {4, 4}})
                                      .bytes());
  ASSERT_TRUE(map.ok());
  EXPECT_FALSE(map->ascending);
}

TEST(PagemapTest, RefusesImpossibleAddresses) {
  for (const auto& [address, pages] : std::initializer_list<std::pair<uint64_t, uint64_t>>{
           {0x1001, 1}, {UINT64_MAX - 4095, 1}, {0x1000, UINT64_MAX / 2}, {0, 1ull << 52}}) {
    const auto map = Pagemap::Parse(
        PagemapImage().Record({{1, 1}}).Record({{1, address}, {2, 0}, {4, 4}, {5, pages}}).bytes());
    ASSERT_FALSE(map.ok()) << address << " " << pages;
    EXPECT_EQ(map.status().code(), StatusCode::kCorruption);
  }
}

TEST(CriuImageTest, DamagedBytesNeverCrashAParser) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SplitMix64 random(seed);
  const Bytes good = PagemapImage().Record({{1, 7}}).Record({{1, 0x1000}, {2, 2}, {4, 4}}).bytes();
  for (int i = 0; i < 20000; ++i) {
    Bytes bad = good;
    for (uint64_t flips = 1 + random.Below(3); flips > 0; --flips) {
      bad[random.Below(bad.size())] = static_cast<uint8_t>(random.Next());
    }
    bad.resize(random.Below(bad.size() + 1));
    (void)Pagemap::Parse(bad);
    (void)ProcessTree::Parse(bad);
    (void)DumpStats::Parse(bad);
  }
}

TEST(ProcessTreeTest, LeavesPidsOfTheImagesFree) {
  const auto tree = ProcessTree::Parse(ImageBuilder(0x54564319, 0x50273030)
                                           .Record({{1, 2}, {2, 1}, {3, 2}, {4, 2}, {5, 2}, {5, 9}})
                                           .Record({{1, 30000}, {2, 2}, {3, 2}, {4, 2}})
                                           .bytes());
  ASSERT_TRUE(tree.ok()) << tree.status().ToString();
  EXPECT_EQ(tree->root_pid, 2);
  EXPECT_EQ(tree->processes, 2u);
  EXPECT_EQ(tree->pids, (std::vector<int>{2, 9, 30000}));
  EXPECT_EQ(tree->FreePidsAfter(4194304, 4096), 30000);
  EXPECT_EQ(tree->FreePidsAfter(32768, 4096), 9) << "the largest gap when the top is taken";
}

TEST(ProcessTreeTest, AnEndedProcessHasNoThreadWhateverItsRecordSays) {
  const auto tree = ProcessTree::Parse(
      ImageBuilder(0x54564319, 0x50273030)
          .Record({{1, 2}, {2, 1}, {3, 2}, {4, 2}, {5, 2}})
          .Record({{1, 3}, {2, 2}, {3, 2}, {4, 2}, {5, 2319250368}, {5, 700'000'000}})
          .bytes());
  ASSERT_TRUE(tree.ok()) << tree.status().ToString();
  EXPECT_EQ(tree->pids, (std::vector<int>{2, 3}));
}

TEST(DumpStatsTest, ReadsFrozenTime) {
  Bytes inner;
  ByteWriter writer(&inner);
  for (const uint8_t number : {1, 2, 3, 4, 5, 6, 7}) {
    writer.Varint(static_cast<uint64_t>(number) << 3);
    writer.Varint(uint64_t{number} * 1000);
  }
  Bytes image;
  ByteWriter out(&image);
  out.U32(0x55105940);
  out.U32(0x57093306);
  out.U32(static_cast<uint32_t>(inner.size() + 2));
  out.U8(0x0a);
  out.U8(static_cast<uint8_t>(inner.size()));
  out.Raw(inner);
  const auto stats = DumpStats::Parse(image);
  ASSERT_TRUE(stats.ok()) << stats.status().ToString();
  EXPECT_EQ(stats->frozen_us, 2000u);
  EXPECT_EQ(stats->pages_written, 7000u);
}

TEST(CriuLogTest, TakesTheFirstErrorThatMatters) {
  EXPECT_EQ(
      FirstCriuError("(00.000100) Warn  (criu/a.c:1): x\n"
                     "(00.000101) Error (criu/rlimit.c:40): rlimit: Can't setup RLIMIT_NOFILE "
                     "for self\n"
                     "(00.011535) Error (criu/sk-unix.c:712): sk unix: Can't dump half of "
                     "stream unix connection.\n"
                     "(00.011600) Error (criu/cr-dump.c:2128): Dumping FAILED.\n"),
      "sk unix: Can't dump half of stream unix connection.");
  EXPECT_EQ(FirstCriuError("all is well\n"), "");
  EXPECT_EQ(FirstCriuError(""), "");
}

TEST(PagemapTest, WhatMayComeLaterIsToldByMappings) {
  Pagemap map;
  map.pages_id = 3;
  map.Append({0x1000, 0x3000, false});
  map.Append({0x8000, 0x4000, false});
  const std::vector<MappedArea> areas{{0x2000, 0x3000, true},
                                      {0x3000, 0x5000, false},
                                      {0x7000, 0xa000, true},
                                      {0xb000, 0xc000, true}};
  const Pagemap told = WithLazyOf(map, areas);
  EXPECT_EQ(told.pages_id, 3u);
  EXPECT_EQ(told.bytes, map.bytes);
  EXPECT_EQ(told.lazy_bytes, 0x4000u);
  const std::vector<std::tuple<uint64_t, uint64_t, bool>> wanted{
      {0x1000, 0x1000, false}, {0x2000, 0x1000, true},  {0x3000, 0x1000, false},
      {0x8000, 0x2000, true},  {0xa000, 0x1000, false}, {0xb000, 0x1000, true}};
  ASSERT_EQ(told.runs.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(std::tuple(told.runs[i].address, told.runs[i].bytes, told.runs[i].lazy), wanted[i]);
  }
}

}  // namespace
}  // namespace snapstore::agent
