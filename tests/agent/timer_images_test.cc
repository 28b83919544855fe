#include "agent/timer_images.h"

#include <gtest/gtest.h>

#include <string>

namespace snapstore::agent {
namespace {

void Field(ByteWriter* writer, uint64_t number, uint64_t value) {
  writer->Varint(number << 3);
  writer->Varint(value);
}

// A file_entry: type 17 (a timer), an id, and the timer; as CRIU writes it.
Bytes TimerEntry(uint64_t nanos_left, uint64_t interval) {
  Bytes timer;
  ByteWriter fields(&timer);
  for (const auto& [number, value] : {std::pair<uint64_t, uint64_t>{1, 5},
                                      {4, 1},
                                      {5, 1},
                                      {6, 0},
                                      {7, 0},
                                      {8, nanos_left},
                                      {9, 0},
                                      {10, interval}}) {
    Field(&fields, number, value);
  }
  Bytes entry;
  ByteWriter writer(&entry);
  Field(&writer, 1, 17);
  Field(&writer, 2, 5);
  writer.Varint(12 << 3 | 2);
  writer.Varint(timer.size());
  writer.Raw(timer);
  return entry;
}

Bytes Image(const std::vector<Bytes>& entries) {
  Bytes image;
  ByteWriter writer(&image);
  writer.U32(0x54564319);
  writer.U32(0x56303138);
  for (const Bytes& entry : entries) {
    writer.U32(static_cast<uint32_t>(entry.size()));
    writer.Raw(entry);
  }
  return image;
}

TEST(TimerImagesTest, OnlyATimerThatWouldNeverExpireAgainIsChanged) {
  const Bytes armed = TimerEntry(400, 20'000'000);
  const Bytes idle = TimerEntry(0, 0);
  const auto mended = RearmTimers(Image({armed, TimerEntry(0, 20'000'000), idle}));
  ASSERT_TRUE(mended.ok()) << mended.status().ToString();
  ByteReader reader(*mended);
  EXPECT_EQ(reader.U32(), 0x54564319u);
  EXPECT_EQ(reader.U32(), 0x56303138u);
  std::vector<Bytes> entries;
  while (!reader.empty()) {
    const ByteSpan entry = reader.Raw(reader.U32());
    entries.emplace_back(entry.begin(), entry.end());
  }
  ASSERT_TRUE(reader.ok());
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0], armed);
  EXPECT_EQ(entries[2], idle);
  // The same fields, in whatever order.
  EXPECT_EQ(entries[1].size(), TimerEntry(1, 20'000'000).size());
  EXPECT_NE(entries[1], TimerEntry(0, 20'000'000));
  const auto again = RearmTimers(*mended);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(*again, *mended) << "it is armed now";
}

TEST(TimerImagesTest, ADamagedImageIsAnError) {
  Bytes image = Image({TimerEntry(0, 5)});
  image.pop_back();
  EXPECT_EQ(RearmTimers(image).status().code(), StatusCode::kCorruption);
  EXPECT_EQ(RearmTimers({}).status().code(), StatusCode::kCorruption);
}

}  // namespace
}  // namespace snapstore::agent
