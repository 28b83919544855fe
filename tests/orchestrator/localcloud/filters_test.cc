#include "orchestrator/localcloud/filters.h"

#include <gtest/gtest.h>

namespace snapstore::localcloud {
namespace {

const Json kRecord = {
    {"status", "in-use"},
    {"size", 8},
    {"tagSet", Json::array({Json{{"key", "node"}, {"value", "smi-1"}}})},
    {"attachmentSet", Json::array({Json{{"instanceId", "i-1"}}, Json{{"instanceId", "i-2"}}})}};
const FilterTable kTable = {{"status", "status"},
                            {"size", "size"},
                            {"attachment.instance-id", "attachmentSet.*.instanceId"}};

ApiResult<bool> Holds(std::map<std::string, std::string> parameters) {
  return FiltersHold(Parameters(std::move(parameters)), kTable, kRecord);
}

TEST(FiltersTest, ValuesAreAlternativesAndFiltersMustAllHold) {
  EXPECT_TRUE(Holds({{"Filter.1.Name", "attachment.instance-id"},
                     {"Filter.1.Value.1", "i-9"},
                     {"Filter.1.Value.2", "i-2"}})
                  .value());
  EXPECT_FALSE(Holds({{"Filter.1.Name", "status"},
                      {"Filter.1.Value.1", "in-use"},
                      {"Filter.2.Name", "size"},
                      {"Filter.2.Value.1", "9"}})
                   .value());
}

TEST(FiltersTest, TagsAndWildCards) {
  EXPECT_TRUE(Holds({{"Filter.1.Name", "tag:node"}, {"Filter.1.Value.1", "smi-?"}}).value());
  EXPECT_TRUE(Holds({{"Filter.1.Name", "tag-key"}, {"Filter.1.Value.1", "n*"}}).value());
  EXPECT_FALSE(Holds({{"Filter.1.Name", "tag:other"}, {"Filter.1.Value.1", "*"}}).value());
}

TEST(FiltersTest, AFilterThatDoesNotExistIsAnError) {
  EXPECT_EQ(Holds({{"Filter.1.Name", "colour"}, {"Filter.1.Value.1", "red"}}).status().code,
            "InvalidParameterValue");
}

TEST(FiltersTest, PagesFollowEachOther) {
  Json all = Json::array();
  for (int n = 0; n < 12; ++n) all.push_back(n);
  Json seen = Json::array();
  std::string token;
  int pages = 0;
  do {
    Json page = all;
    std::map<std::string, std::string> asked = {{"MaxResults", "5"}};
    if (!token.empty()) asked["NextToken"] = token;
    auto next = CutPage(Parameters(std::move(asked)), &page);
    ASSERT_TRUE(next.ok());
    seen.insert(seen.end(), page.begin(), page.end());
    token = *next;
    ++pages;
  } while (!token.empty());
  EXPECT_EQ(seen, all);
  EXPECT_EQ(pages, 3);
  const std::map<std::string, std::string> beyond = {{"NextToken", "page-999"}};
  EXPECT_EQ(CutPage(Parameters(beyond), &all).status().code, "InvalidNextToken");
}

}  // namespace
}  // namespace snapstore::localcloud
