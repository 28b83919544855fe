#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "orchestrator/model/ids.h"
#include "orchestrator/model/json.h"
#include "tests/orchestrator/model/bodies.h"

namespace snapstore::spot {
namespace {

using ::testing::HasSubstr;

std::string ProblemOf(const std::string& text) {
  const auto parsed = ParseJson(text);
  return parsed.ok() ? "" : parsed.status().message();
}

TEST(Json, EveryTruncationOfABodyIsRefused) {
  const std::string body = kDocumentedNode;
  const size_t end = body.rfind('}');
  for (size_t size = 0; size < end; ++size) {
    EXPECT_THAT(ProblemOf(body.substr(0, size)), HasSubstr("not valid JSON")) << size;
  }
  EXPECT_EQ(ProblemOf(body), "");
}

TEST(Json, TheDocumentationsRoleWithoutANameIsRefused) {
  EXPECT_THAT(ProblemOf(kUnrepairedRole), HasSubstr("not valid JSON"));
}

TEST(Json, NestingHasALimit) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(ProblemOf(nested(kJsonDepthMax)), "");
  EXPECT_THAT(ProblemOf(nested(kJsonDepthMax + 1)), HasSubstr("nested deeper than"));
  EXPECT_THAT(ProblemOf(nested(400'000)), HasSubstr("nested deeper than"));
  EXPECT_THAT(ProblemOf(std::string(400'000, '[')), ::testing::Not(""));
}

TEST(Json, MembersAreThereOnce) {
  EXPECT_THAT(ProblemOf(R"({"a": {"b": 1, "b": 2}})"), HasSubstr("'b' is there twice"));
  EXPECT_EQ(ProblemOf(R"({"a": {"b": 1}, "b": {"a": 1}})"), "");
}

TEST(Json, AnObjectOfManyMembersIsRefusedQuickly) {
  std::string text = "{";
  for (int i = 0; i < 60'000; ++i) text += "\"k" + std::to_string(i) + "\":1,";
  text.back() = '}';
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(ProblemOf(text), HasSubstr("more than"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Json, OtherEncodingsAreRefused) {
  EXPECT_THAT(ProblemOf("{\"a\": \"\xff\xfe\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ProblemOf(std::string("\xff\xfe{\0}\0", 6)), HasSubstr("not valid JSON"));
}

TEST(Ids, HaveTheirShapeAndAreAcceptedTolerantly) {
  const std::string id = NewId(IdPrefix::kNode);
  EXPECT_THAT(id, ::testing::MatchesRegex("smi-[0-9a-f]{8}"));
  EXPECT_NE(id, NewId(IdPrefix::kNode));
  EXPECT_TRUE(IsId(IdPrefix::kConfig, "apc-123456789"));
  EXPECT_TRUE(IsId(IdPrefix::kConfig, "apc-z"));
  for (const char* bad : {"apc-", "apc", "smi-1", "apc-1/2", "apc-A", "apc-1 ", ""}) {
    EXPECT_FALSE(IsId(IdPrefix::kConfig, bad)) << bad;
  }
  EXPECT_FALSE(IsId(IdPrefix::kConfig, "apc-" + std::string(100, '1')));
  EXPECT_THAT(NewUuid(),
              ::testing::MatchesRegex(
                  "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
}

}  // namespace
}  // namespace snapstore::spot
