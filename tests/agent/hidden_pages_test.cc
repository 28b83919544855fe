#include "agent/hidden_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "agent/criu_image.h"

namespace snapstore::agent {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS;

// Protobuf by hand, so that a wrong field number in the .proto shows.
Bytes Message(std::initializer_list<std::pair<int, uint64_t>> fields) {
  Bytes message;
  for (const auto& [number, value] : fields) {
    ByteWriter(&message).Varint(static_cast<uint64_t>(number) << 3);
    ByteWriter(&message).Varint(value);
  }
  return message;
}
void AddMessage(int number, const Bytes& inner, Bytes* message) {
  ByteWriter(message).Varint(static_cast<uint64_t>(number) << 3 | 2);
  ByteWriter(message).Varint(inner.size());
  ByteWriter(message).Raw(inner);
}
Bytes RecordImage(uint32_t magic, const std::vector<Bytes>& records) {
  Bytes image;
  ByteWriter(&image).U32(0x54564319);
  ByteWriter(&image).U32(magic);
  for (const Bytes& record : records) {
    ByteWriter(&image).U32(static_cast<uint32_t>(record.size()));
    ByteWriter(&image).Raw(record);
  }
  return image;
}
Bytes CoreImage(uint64_t stack_pointer) {
  Bytes info;
  AddMessage(2, Message({{20, stack_pointer}}), &info);
  Bytes core = Message({{1, 1}});
  AddMessage(2, info, &core);
  return RecordImage(0x55053847, {core});
}

// Process 5 with threads 5 and 6, of which pages 3 and 8 were dumped.
class HiddenPagesTest : public ::testing::Test {
 protected:
  HiddenPagesTest() : arena_(std::move(*Arena::Create(1 << 20))) {
    Bytes memory = Message({{1, 0x400000}});
    AddMessage(14, Message({{1, 0x1000}, {2, 0x5000}, {6, kAnonymous}, {7, 1}}), &memory);
    AddMessage(14, Message({{1, 0x5000}, {2, 0x6000}, {6, kAnonymous | MAP_LOCKED}}), &memory);
    AddMessage(14, Message({{1, 0x6000}, {2, 0x7000}, {6, MAP_PRIVATE}}), &memory);
    AddMessage(14, Message({{1, 0x7000}, {2, 0x9000}, {6, kAnonymous}, {7, 1}}), &memory);
    AddMessage(14, Message({{1, 0x9000}, {2, 0xa000}, {6, kAnonymous}, {7, 1 << 3}}), &memory);
    Store("mm-5.img", RecordImage(0x57492820, {memory}));
    Bytes tree = Message({{1, 5}, {2, 0}, {3, 5}, {4, 5}, {5, 5}, {5, 6}});
    Store("pstree.img", RecordImage(0x50273030, {tree}));
    Store("core-5.img", CoreImage(0x7ff8));
    Store("core-6.img", CoreImage(0x7010));
    Pagemap map;
    map.pages_id = 2;
    map.Append({0x3000, 0x1000, true});
    map.Append({0x8000, 0x1000, true});
    Store("pagemap-5.img", map.ToImage());
    Store("pages-2.img", Bytes(0x2000, 1));
  }

  void Store(const std::string& name, Bytes bytes) {
    images_[name] = std::move(bytes);
    std::erase_if(files_, [&](const ArenaFile& file) { return file.name == name; });
    files_.push_back({name, images_[name].size(), {std::span(images_[name])}});
  }
  Status Add(std::initializer_list<AddressRange> ranges) {
    PagesByProcess hidden;
    for (const AddressRange& range : ranges) hidden[5].Append(range.begin, range.end);
    return AddHiddenPages(hidden, arena_.get(), &files_, &unchanged_);
  }
  const ArenaFile& File(const std::string& name) const {
    return *std::find_if(files_.begin(), files_.end(),
                         [&](const ArenaFile& file) { return file.name == name; });
  }

  std::unique_ptr<Arena> arena_;
  std::map<std::string, Bytes> images_;
  std::vector<ArenaFile> files_;
  PagesByMap unchanged_;
};

TEST_F(HiddenPagesTest, AreAddedAsCriuWouldHaveWrittenThem) {
  const Status added = Add({{0x1000, 0x3000}, {0x4000, 0x8000}, {0x9000, 0xa000}});
  ASSERT_TRUE(added.ok()) << added.ToString();
  const auto map = Pagemap::Parse(Flatten(File("pagemap-5.img")));
  ASSERT_TRUE(map.ok()) << map.status().ToString();
  EXPECT_EQ(map->pages_id, 2u);
  EXPECT_TRUE(map->ascending);
  EXPECT_EQ(map->bytes, 0x9000u);
  ASSERT_EQ(map->runs.size(), 4u);
  const std::vector<std::pair<uint64_t, bool>> wanted{
      {0x1000, true}, {0x5000, false}, {0x7000, true}, {0x9000, false}};
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(map->runs[i].address, wanted[i].first);
    EXPECT_EQ(map->runs[i].lazy, wanted[i].second);
  }
  EXPECT_EQ(File("pages-2.img").size, 0x9000u);
  EXPECT_TRUE(File("pages-2.img").only_changed);
  EXPECT_EQ(unchanged_["pagemap-5.img"].bytes(), 0x7000u);
  // And so the engine takes them over.
  const auto sources = ImageSources(files_, unchanged_);
  EXPECT_TRUE(sources.ok()) << sources.status().ToString();
}

TEST_F(HiddenPagesTest, OfAThreadWhoseStackPointerIsAtAPageNoneMayComeLater) {
  Store("core-6.img", CoreImage(0x8000));
  ASSERT_TRUE(Add({{0x1000, 0x3000}}).ok());
  const auto map = Pagemap::Parse(Flatten(File("pagemap-5.img")));
  ASSERT_TRUE(map.ok());
  EXPECT_FALSE(map->runs.front().lazy);
}

TEST_F(HiddenPagesTest, ThatCannotBeRightAreRefused) {
  EXPECT_THAT(Add({{0x3000, 0x4000}}).message(), HasSubstr("were dumped all the same"));
  EXPECT_THAT(Add({{0x9000, 0xb000}}).message(), HasSubstr("hidden page a000 is not mapped"));
  Store("pages-2.img", Bytes(0x1000, 1));
  EXPECT_THAT(Add({{0x1000, 0x2000}}).message(), HasSubstr("does not describe pages-2.img"));
  Store("core-6.img", Bytes(20));
  EXPECT_FALSE(Add({{0x1000, 0x2000}}).ok());
  EXPECT_TRUE(Add({}).ok());
}

}  // namespace
}  // namespace snapstore::agent
