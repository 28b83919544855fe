#include "index/internal/record.h"

#include <gtest/gtest.h>

#include "tests/index/index_testlib.h"

namespace snapstore::internal {
namespace {

TEST(ChunkRecord, SurvivesCodingAtItsExtremes) {
  for (const ChunkRecord& record :
       {ChunkRecord{}, ChunkRecord{~uint64_t{0}, ~uint32_t{0}, ~uint32_t{0}, 0xffff},
        ChunkRecord{1, 127, 128, 300}}) {
    Bytes bytes;
    EncodeChunkRecord(record, &bytes);
    const auto decoded = DecodeChunkRecord(AsText(bytes));
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(decoded->pack_number, record.pack_number);
    EXPECT_EQ(decoded->frame_offset, record.frame_offset);
    EXPECT_EQ(decoded->frame_length, record.frame_length);
    EXPECT_EQ(decoded->chunk_in_frame, record.chunk_in_frame);
  }
}

TEST(ChunkRecord, RefusesEveryTruncationAndTrailingBytes) {
  Bytes bytes;
  EncodeChunkRecord({300, 1 << 20, 70'000, 200}, &bytes);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_TRUE(
        DecodeChunkRecord(AsText(bytes).substr(0, size)).status().Is(StatusCode::kCorruption));
  }
  bytes.push_back(0);
  EXPECT_FALSE(DecodeChunkRecord(AsText(bytes)).ok());
}

TEST(ChunkRecord, RefusesFieldsThatDoNotFit) {
  Bytes bytes;
  ByteWriter writer(&bytes);
  writer.Varint(1);
  writer.Varint(uint64_t{1} << 32);
  writer.Varint(1);
  writer.Varint(1);
  EXPECT_FALSE(DecodeChunkRecord(AsText(bytes)).ok());
}

TEST(PackKeys, SortByNumber) {
  EXPECT_LT(EncodePackNumberKey(255), EncodePackNumberKey(256));
  EXPECT_LT(EncodePackNumberKey(~uint64_t{0}), EncodePackIdKey(Digest{}));
  EXPECT_EQ(DecodePackNumberKey(EncodePackNumberKey(0x0102030405060708)).value(),
            0x0102030405060708u);
  EXPECT_FALSE(DecodePackNumberKey("n123").ok());
}

TEST(PackRecord, SurvivesCodingAndRefusesDamage) {
  const std::string coded = EncodePackRecord({77, true});
  EXPECT_EQ(DecodePackRecord(coded)->number, 77u);
  EXPECT_TRUE(DecodePackRecord(coded)->published);
  EXPECT_FALSE(DecodePackRecord(coded.substr(1)).ok());
  EXPECT_FALSE(DecodePackRecord(coded.substr(0, 8) + "\x02").ok());
  EXPECT_FALSE(DecodeDigest("short").ok());
}

}  // namespace
}  // namespace snapstore::internal
