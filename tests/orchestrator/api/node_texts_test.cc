#include "orchestrator/api/node_texts.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace snapstore::spot {
namespace {

class NodeTextsTest : public ::testing::Test {
 protected:
  NodeTexts Texts(size_t bytes_max) {
    return NodeTexts(
        [this](const NodeRecord& node) -> Result<Json> {
          ++made_;
          return Json{{"id", node.id}, {"fill", std::string(500, 'x')}};
        },
        bytes_max);
  }
  static StateEntry Entry(int number, uint64_t revision) {
    NodeRecord node;
    node.id = fmt::format("smi-{}", number);
    node.account_id = "act-1";
    node.spec.name = "a";
    node.spec.region = "us-east-1";
    return {"node/act-1/" + node.id, EncodeRecord(node), revision};
  }

  int made_ = 0;
};

TEST_F(NodeTextsTest, EachVersionIsPrintedOnce) {
  NodeTexts texts = Texts(1 << 20);
  const auto first = texts.Of(Entry(1, 5));
  ASSERT_TRUE(first.ok()) << first.status().ToString();
  EXPECT_TRUE((*first)->starts_with(R"({"id":"smi-1",)")) << **first;
  EXPECT_EQ(*texts.Of(Entry(1, 5)), *first);
  EXPECT_EQ(made_, 1);
  EXPECT_NE(*texts.Of(Entry(1, 6)), *first);
  EXPECT_EQ(made_, 2);
}

TEST_F(NodeTextsTest, WhatIsAskedForIsKeptLongest) {
  // Some fourteen of them.
  NodeTexts texts = Texts(10'000);
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(texts.Of(Entry(i, 1)).ok());
    ASSERT_TRUE(texts.Of(Entry(0, 1)).ok());
  }
  EXPECT_EQ(made_, 200);
  ASSERT_TRUE(texts.Of(Entry(1, 1)).ok());
  EXPECT_EQ(made_, 201) << "it is long gone";
}

TEST_F(NodeTextsTest, ADamagedRecordIsAnError) {
  NodeTexts texts = Texts(1 << 20);
  EXPECT_TRUE(texts.Of({"node/act-1/smi-1", "{", 1}).status().Is(StatusCode::kCorruption));
}

}  // namespace
}  // namespace snapstore::spot
